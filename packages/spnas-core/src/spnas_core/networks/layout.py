"""Where every block of an architecture stands and which channels it connects."""

from dataclasses import dataclass

from spnas_core.blocks import ConvLayer, block_spec
from spnas_core.encoding import Architecture


@dataclass(frozen=True)
class BlockPlacement:
    """One block of the main path.

    Attributes:
        index: block index along the whole sequence, from 0.
        stage: stage number, from 1.
        stride: 2 for the first block of every stage but the first, else 1.
        in_channels: channels that enter.
        planes: channels before the block type's expansion.
        out_channels: channels that leave.
        layers: the convolutions, projection included.
    """

    index: int
    stage: int
    stride: int
    in_channels: int
    planes: int
    out_channels: int
    layers: tuple[ConvLayer, ...]


def block_placements(architecture: Architecture) -> tuple[BlockPlacement, ...]:
    """List the blocks of the main path in order; placement i has index i."""
    spec = block_spec(architecture.block)
    placements: list[BlockPlacement] = []
    channels = planes = architecture.base
    for number, stage in enumerate(architecture.stages, 1):
        for position, digit in enumerate(stage):
            if digit == "2":
                planes *= 2
            stride = 2 if position == 0 and number > 1 else 1
            out_channels = spec.out_channels(planes)
            layers = spec.layers(channels, planes, stride)
            placements.append(BlockPlacement(len(placements), number, stride, channels, planes, out_channels, layers))
            channels = out_channels
    return tuple(placements)
