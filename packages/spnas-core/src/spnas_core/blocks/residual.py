"""Basic, bottleneck, ResNeXt and dilated blocks, all from one description.

He et al., "Deep Residual Learning for Image Recognition"; Xie et al., "Aggregated Residual Transformations for Deep
Neural Networks"; Li et al., "DetNet: Design Backbone for Object Detection". The stride sits on the first 3×3
convolution, as in torchvision.
"""

from dataclasses import dataclass

from spnas_core.blocks._base import PROJECTION, ConvLayer
from spnas_core.blocks.module import ResidualBlock, projects
from spnas_core.errors import CodeError


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
        dilation: of the 3×3 convolution of a bottleneck.
        aliases: other spellings.
    """

    name: str
    summary: str
    expansion: int = 1
    bottleneck: bool = False
    groups: int = 1
    group_width: int = 64
    dilation: int = 1
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
                ConvLayer("conv2", width, width, 3, stride, self.groups, self.dilation),
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
DILATED = ResidualSpec(
    "d", "bottleneck residual block, expansion 4, its 3x3 of dilation 2 (DetNet)", 4, bottleneck=True, dilation=2
)
