"""Where every block of an architecture stands and which channels it connects."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from spnas_core.blocks import PROJECTION, ConvLayer, block_spec, described_layers
from spnas_core.encoding import Architecture

STEM_STREAM = -1

Shortcut = Literal["identity", "projection", "none"]


@dataclass(frozen=True)
class BlockPlacement:
    """One block of the main path. The rows of a stage have blocks of the same sizes at the same positions.

    Attributes:
        index: block index along the whole sequence, from 0.
        stage: stage number, from 1.
        position: inside the stage, from 0.
        stride: 2 for the first block of every stage but the first, else 1.
        in_channels: channels that enter.
        planes: channels before the block type's expansion.
        out_channels: channels that leave.
        in_stream: run of equal channels that enters: ``STEM_STREAM``, or the number of doublings so far.
        out_stream: run of equal channels that leaves.
        layers: the convolutions, projection included.
    """

    index: int
    stage: int
    position: int
    stride: int
    in_channels: int
    planes: int
    out_channels: int
    in_stream: int
    out_stream: int
    layers: tuple[ConvLayer, ...]

    @property
    def branch(self) -> tuple[ConvLayer, ...]:
        """The residual branch, in order."""
        return tuple(layer for layer in self.layers if layer.name != PROJECTION)

    @property
    def projection(self) -> ConvLayer | None:
        """The convolution of the shortcut; None where that is the identity."""
        return next((layer for layer in self.layers if layer.name == PROJECTION), None)

    @property
    def shortcut(self) -> Shortcut:
        """What carries the input past the branch: itself where the shape stays, a projection, or nothing."""
        if self.projection is not None:
            return "projection"
        return "identity" if self.stride == 1 and self.in_channels == self.out_channels else "none"


@lru_cache(maxsize=1024)
def block_placements(architecture: Architecture) -> tuple[BlockPlacement, ...]:
    """List the blocks of the main path in order; placement i has index i."""
    spec = block_spec(architecture.block)
    placements: list[BlockPlacement] = []
    channels = planes = architecture.base
    stream, doublings = STEM_STREAM, 0
    for number, stage in enumerate(architecture.stages, 1):
        for position, digit in enumerate(stage):
            if digit == "2":
                planes *= 2
                doublings += 1
            stride = 2 if position == 0 and number > 1 else 1
            out_channels = spec.out_channels(planes)
            placements.append(
                BlockPlacement(
                    index=len(placements),
                    stage=number,
                    position=position,
                    stride=stride,
                    in_channels=channels,
                    planes=planes,
                    out_channels=out_channels,
                    in_stream=stream,
                    out_stream=doublings,
                    layers=described_layers(spec, channels, planes, stride),
                )
            )
            channels, stream = out_channels, doublings
    return tuple(placements)


@dataclass(frozen=True)
class StagePlacement:
    """One stage: its blocks, and the rows beside them.

    Attributes:
        number: from 1.
        blocks: of the main path.
        rows: how many run beside it.
        sources: per row, from row 1: the row of the previous stage whose output it continues from; 0 is the main path.
    """

    number: int
    blocks: tuple[BlockPlacement, ...]
    rows: int
    sources: tuple[int, ...]

    @property
    def in_channels(self) -> int:
        """Channels that enter the stage, and that its fusions give."""
        return self.blocks[0].in_channels

    @property
    def out_channels(self) -> int:
        """Channels that leave the stage."""
        return self.blocks[-1].out_channels

    @property
    def fusion(self) -> ConvLayer:
        """The convolution from the end of a row to the input of the next row down."""
        return ConvLayer("conv", self.out_channels, self.in_channels, 1)


def stage_placements(architecture: Architecture) -> tuple[StagePlacement, ...]:
    """List the stages in order.

    A row continues from its own output of the previous stage where it existed there, otherwise from the highest row
    that did, otherwise from the main path.
    """
    placements = block_placements(architecture)
    counts = architecture.rows or (0,) * len(architecture.stages)
    stages: list[StagePlacement] = []
    first, before = 0, 0
    for number, (digits, rows) in enumerate(zip(architecture.stages, counts, strict=True), 1):
        blocks = placements[first : first + len(digits)]
        sources = tuple(min(row, before) for row in range(1, rows + 1))
        stages.append(StagePlacement(number, blocks, rows, sources))
        first, before = first + len(digits), rows
    return tuple(stages)
