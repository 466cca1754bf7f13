"""The contract of a block type."""

from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

from torch import nn

from spnas_core.errors import PluginError

PROJECTION = "projection"


@dataclass(frozen=True)
class ConvLayer:
    """One convolution with square kernel and padding that keeps the size at stride 1, followed by batch norm.

    A block that inherits has its tensors under the names ``module`` and ``norm``.

    Attributes:
        name: inside the block; ``conv1``, ``conv2``, … on its way, ``projection`` on its shortcut.
        in_channels: that enter.
        out_channels: that leave.
        kernel: pixels of each side; odd.
        stride: pixels from one position to the next.
        groups: of channels that are convolved apart from one another.
        dilation: pixels from one tap of the kernel to the next.
        has_norm: whether batch norm follows.
        has_bias: whether the convolution adds a bias.
        is_pooled: whether it reads the mean over all pixels, as one pixel; see ``BlockSpec.layers``.
    """

    name: str
    in_channels: int
    out_channels: int
    kernel: int
    stride: int = 1
    groups: int = 1
    dilation: int = 1
    has_norm: bool = True
    has_bias: bool = False
    is_pooled: bool = False

    @property
    def module(self) -> str:
        """Name of the convolution inside the block: the layer's own, ``projection.conv`` of the projection."""
        return f"{PROJECTION}.conv" if self.name == PROJECTION else self.name

    @property
    def norm(self) -> str | None:
        """Name of the batch norm behind it: ``bn1`` for ``conv1``, ``projection.bn`` for the projection, or None."""
        if not self.has_norm:
            return None
        return f"{PROJECTION}.bn" if self.name == PROJECTION else self.name.replace("conv", "bn")

    @property
    def group_width(self) -> int:
        """Channels that each group reads."""
        return self.in_channels // self.groups

    @property
    def padding(self) -> int:
        """Zeros added on each side."""
        return self.dilation * (self.kernel // 2)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the weight: output channels, input channels of a group, and the kernel's sides."""
        return self.out_channels, self.in_channels // self.groups, self.kernel, self.kernel

    @property
    def weights(self) -> int:
        """Number of weights, without biases."""
        return prod(self.shape)

    def out_size(self, size: int) -> int:
        """Output width or height for an input width or height, in pixels."""
        if self.is_pooled:
            return 1
        return (size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1


class BlockSpec(Protocol):
    """A block type as the plugins register it.

    A block maps Tensor[N, in_channels, H, W] to Tensor[N, out_channels(planes), ceil(H / stride), ceil(W / stride)].
    The layers describe it exactly: parameters and multiply-adds are counted from them, and they say which channels a
    tensor of the module reads and gives.

    Where the shape stays, the block adds its residual branch to its input, and what follows the addition leaves the
    block's own outputs as they are: f(f(x)) = f(x). ReLU does, and so does nothing at all. Then a block whose branch is
    silent can be inserted behind another one, and changes no output. Where the shape changes, a projection carries the
    input past the branch, or nothing does.
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
        """Return the residual branch in order, then the projection (named ``projection``) where the block has one.

        Pooled layers in a row are a gate, squeeze-and-excitation: the first reads the mean over all pixels of what the
        layer before them gives, and the last one's outputs, as many, scale that channel by channel.
        """

    def build(self, in_channels: int, planes: int, stride: int) -> nn.Module:
        """Build the module on the meta device, where it is called; an inheritance plan gives the first values.

        One call for each combination of sizes: networks get copies of the module, as ``copy.deepcopy`` makes them.
        """

    @property
    def silent_norm(self) -> str:
        """Name, inside the block, of the norm layer whose zero γ and β silence the residual branch."""


def described_layers(spec: Any, *sizes: int) -> tuple[ConvLayer, ...]:
    """Return the layers by which a block type or a stem describes itself.

    Args:
        spec: a ``BlockSpec`` or ``StemSpec``.
        sizes: as its ``layers`` takes them.

    Raises:
        PluginError: it answers something else.
    """
    layers = spec.layers(*sizes)
    if not isinstance(layers, tuple | list) or not all(isinstance(one, ConvLayer) for one in layers):
        raise PluginError(
            f"{spec.name!r} describes itself by {layers!r:.80} at sizes {', '.join(map(str, sizes))}: it must be a "
            "tuple of ConvLayer"
        )
    return tuple(layers)
