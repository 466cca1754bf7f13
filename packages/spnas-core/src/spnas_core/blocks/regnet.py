"""Blocks of RegNet, ``g<width>[s]``: bottlenecks that keep their width, in groups of one width everywhere.

Radosavovic et al., "Designing Network Design Spaces", blocks X and Y.
"""

import re
from dataclasses import dataclass

from spnas_core.blocks._base import PROJECTION, ConvLayer
from spnas_core.blocks.families import BlockFamily
from spnas_core.blocks.module import ResidualBlock, gate_layers, projects, squeezed_channels
from spnas_core.errors import CodeError

_NAME = re.compile(r"g([1-9]\d{0,8})(s?)")


@dataclass(frozen=True)
class RegNetSpec:
    """1×1, 3×3 in groups, 1×1, all of as many channels as leave the block; the stride sits on the 3×3.

    Attributes:
        group_width: channels of a group of the 3×3, at any width of the block.
        squeezes: whether a gate stands behind the 3×3 (block Y); it squeezes to a quarter of the channels that enter.
        aliases: none.
    """

    group_width: int
    squeezes: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The text in front of a code."""
        return f"g{self.group_width}{'s' * self.squeezes}"

    @property
    def summary(self) -> str:
        """One line for listings."""
        return f"RegNet's block {'Y' if self.squeezes else 'X'}, groups of {self.group_width} channels"

    def check(self, base: int) -> None:
        """Refuse a base that is not made of whole groups; all other widths are multiples of it."""
        if base % self.group_width:
            raise CodeError(
                f"{self.name}@{base} has no whole number of groups of {self.group_width} channels: the base must be a "
                f"multiple of {self.group_width}"
            )

    def out_channels(self, planes: int) -> int:
        """Channels that leave the block."""
        return planes

    def layers(self, in_channels: int, planes: int, stride: int) -> tuple[ConvLayer, ...]:
        """Describe the residual branch and, where shapes change, the projection."""
        gate = gate_layers(planes, squeezed_channels(in_channels)) if self.squeezes else ()
        branch = (
            ConvLayer("conv1", in_channels, planes, 1),
            ConvLayer("conv2", planes, planes, 3, stride, planes // self.group_width),
            *gate,
            ConvLayer("conv3", planes, planes, 1),
        )
        if projects(in_channels, planes, stride):
            return (*branch, ConvLayer(PROJECTION, in_channels, planes, 1, stride))
        return branch

    def build(self, in_channels: int, planes: int, stride: int) -> ResidualBlock:
        """Build the module for these layers."""
        return ResidualBlock(self.layers(in_channels, planes, stride))

    @property
    def silent_norm(self) -> str:
        """The last norm of the residual branch."""
        return "bn3"


def _read(name: str) -> RegNetSpec | None:
    match = _NAME.fullmatch(name)
    return None if match is None else RegNetSpec(int(match[1]), match[2] == "s")


REGNET_BLOCKS = BlockFamily(
    "g<width>[s]",
    "RegNet's bottleneck in groups of <width> channels, which must divide the base; s for squeeze-and-excitation",
    ("g4", "g8s", "g1"),
    _read,
)
