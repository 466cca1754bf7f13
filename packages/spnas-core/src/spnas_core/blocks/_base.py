"""The contract of a block type."""

from dataclasses import dataclass
from math import prod
from typing import Protocol

from torch import nn

PROJECTION = "projection"


@dataclass(frozen=True)
class ConvLayer:
    """One convolution with square kernel and padding that keeps the size at stride 1, followed by batch norm.

    A block that inherits has its tensors under the names ``module`` and ``norm``.
    """

    name: str
    in_channels: int
    out_channels: int
    kernel: int
    stride: int = 1
    groups: int = 1

    @property
    def module(self) -> str:
        """Name of the convolution inside the block: the layer's own, ``projection.conv`` of the projection."""
        return f"{PROJECTION}.conv" if self.name == PROJECTION else self.name

    @property
    def norm(self) -> str:
        """Name of the batch norm behind it: ``bn1`` for ``conv1``, ``projection.bn`` for the projection."""
        return f"{PROJECTION}.bn" if self.name == PROJECTION else self.name.replace("conv", "bn")

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel is convolved by itself."""
        return self.groups == self.in_channels == self.out_channels and self.groups > 1

    @property
    def padding(self) -> int:
        """Zeros added on each side."""
        return self.kernel // 2

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the weight: output channels, input channels of a group, and the kernel's sides."""
        return self.out_channels, self.in_channels // self.groups, self.kernel, self.kernel

    @property
    def weights(self) -> int:
        """Number of weights; the convolution has no bias."""
        return prod(self.shape)

    def out_size(self, size: int) -> int:
        """Output width or height for an input width or height, in pixels."""
        return (size + 2 * self.padding - self.kernel) // self.stride + 1


class BlockSpec(Protocol):
    """A block type as the plugins register it.

    A block maps Tensor[N, in_channels, H, W] to Tensor[N, out_channels(planes), ceil(H / stride), ceil(W / stride)],
    non-negative. The layers describe it exactly: parameters and multiply-adds are counted from them, and they say which
    channels a tensor of the module reads and gives.
    """

    @property
    def name(self) -> str:
        """The text in front of a code; lower-case letters and digits."""

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other spellings that parsing accepts."""

    @property
    def summary(self) -> str:
        """One line for listings."""

    def check(self, base: int) -> None:
        """Raise CodeError where ``base`` channels would leave some layer without any."""

    def out_channels(self, planes: int) -> int:
        """Channels that leave a block of ``planes`` channels before expansion."""

    def layers(self, in_channels: int, planes: int, stride: int) -> tuple[ConvLayer, ...]:
        """Return the residual branch in order, then the projection (named ``projection``) where the block has one."""

    def build(self, in_channels: int, planes: int, stride: int) -> nn.Module:
        """Build the module on the meta device, where it is called; an inheritance plan gives the first values.

        One call for each combination of sizes: networks get copies of the module, as ``copy.deepcopy`` makes them.
        """

    @property
    def silent_norm(self) -> str:
        """Name, inside the block, of the norm layer whose zero γ and β silence the residual branch."""
