"""Basic, bottleneck and ResNeXt blocks, all from one description.

He et al., "Deep Residual Learning for Image Recognition"; Xie et al., "Aggregated Residual Transformations for Deep
Neural Networks". The stride sits on the first 3×3 convolution, as in torchvision.
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from spnas_core.blocks._base import PROJECTION, ConvLayer
from spnas_core.blocks.layers import Convolution, Norm
from spnas_core.errors import CodeError


def projects(in_channels: int, out_channels: int, stride: int) -> bool:
    """Say whether the shortcut needs a 1×1 projection: the shape changes."""
    return stride != 1 or in_channels != out_channels


class ResidualBlock(nn.Module):
    """``relu(residual(x) + shortcut(x))`` for the layers of a spec; batch norm follows every convolution.

    Modules are named as in torchvision (``conv1``, ``bn1``, …), the projection ``projection.conv`` and ``.bn``.
    """

    def __init__(self, layers: tuple[ConvLayer, ...]) -> None:
        super().__init__()
        self.depth = sum(layer.name != PROJECTION for layer in layers)
        self.projection: nn.Module | None = None
        for layer in layers:
            convolution = Convolution(
                layer.in_channels,
                layer.out_channels,
                layer.kernel,
                layer.stride,
                layer.padding,
                groups=layer.groups,
                bias=False,
            )
            norm = Norm(layer.out_channels)
            if layer.name == PROJECTION:
                self.projection = nn.Sequential(OrderedDict(conv=convolution, bn=norm))
            else:
                self.add_module(layer.module, convolution)
                self.add_module(layer.norm, norm)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map Tensor[N, C, H, W] to the non-negative output of the block."""
        residual = x
        for number in range(1, self.depth + 1):
            residual = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(residual))
            if number < self.depth:
                residual = self.relu(residual)
        shortcut = x if self.projection is None else self.projection(x)
        output: Tensor = self.relu(residual + shortcut)
        return output


@dataclass(frozen=True)
class ResidualSpec:
    """A residual block of two 3×3 convolutions, or of a bottleneck with groups.

    Attributes:
        name: text in front of a code.
        summary: one line for listings.
        expansion: output channels per plane.
        bottleneck: 1×1, 3×3, 1×1 instead of two 3×3.
        groups: groups of the 3×3 convolution of a bottleneck.
        group_width: channels per group at 64 planes.
        aliases: other spellings.
    """

    name: str
    summary: str
    expansion: int = 1
    bottleneck: bool = False
    groups: int = 1
    group_width: int = 64
    aliases: tuple[str, ...] = ()

    def check(self, base: int) -> None:
        """Refuse a base for which a bottleneck has no channel in a group."""
        if self._width(base) < 1:
            least = -(-64 // self.group_width)
            raise CodeError(
                f"{self.name}@{base} gives the 3x3 convolution no channel: the base must be at least {least}"
            )

    def out_channels(self, planes: int) -> int:
        """Channels that leave the block."""
        return planes * self.expansion

    def layers(self, in_channels: int, planes: int, stride: int) -> tuple[ConvLayer, ...]:
        """Describe the residual branch and, where shapes change, the projection."""
        out_channels = self.out_channels(planes)
        if self.bottleneck:
            width = self._width(planes)
            branch: tuple[ConvLayer, ...] = (
                ConvLayer("conv1", in_channels, width, 1),
                ConvLayer("conv2", width, width, 3, stride, self.groups),
                ConvLayer("conv3", width, out_channels, 1),
            )
        else:
            branch = (
                ConvLayer("conv1", in_channels, planes, 3, stride),
                ConvLayer("conv2", planes, planes, 3),
            )
        if projects(in_channels, out_channels, stride):
            return (*branch, ConvLayer(PROJECTION, in_channels, out_channels, 1, stride))
        return branch

    def build(self, in_channels: int, planes: int, stride: int) -> ResidualBlock:
        """Build the module for these layers."""
        return ResidualBlock(self.layers(in_channels, planes, stride))

    @property
    def silent_norm(self) -> str:
        """The last norm of the residual branch."""
        return "bn3" if self.bottleneck else "bn2"

    def _width(self, planes: int) -> int:
        return planes * self.group_width // 64 * self.groups


def resnext(groups: int, group_width: int) -> ResidualSpec:
    """Return the ResNeXt bottleneck of ``groups`` groups, ``group_width`` channels each at 64 planes."""
    size = f"{groups}x{group_width}d"
    return ResidualSpec(
        f"x{size}",
        f"ResNeXt bottleneck, {groups} groups of {group_width} channels",
        expansion=4,
        bottleneck=True,
        groups=groups,
        group_width=group_width,
        aliases=(f"x({size})",),
    )


BASIC = ResidualSpec("b", "basic residual block, two 3x3 convolutions")
BOTTLENECK = ResidualSpec("r", "bottleneck residual block, expansion 4", expansion=4, bottleneck=True)
