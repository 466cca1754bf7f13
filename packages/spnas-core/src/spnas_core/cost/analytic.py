"""Exact parameters, multiply-adds and activation memory from the layers' description alone.

A multiply-add counts once (half of what FLOP counters report). Only convolutions count: batch norm, ReLU and pooling
fuse into them at inference. Activations are the elements of all convolution outputs, the measure that predicts run time
in Dollár et al., "Fast and Accurate Model Scaling" (2021), here in bytes of float32.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from spnas_core.blocks import PROJECTION, ConvLayer, described_layers
from spnas_core.encoding import Architecture
from spnas_core.networks.layout import stage_placements
from spnas_core.stems import stem_spec

if TYPE_CHECKING:
    from spnas_core.backbones import AnyNetwork, FixedNetwork
    from spnas_core.backbones.network import Composition

BYTES_PER_ACTIVATION = 4
NORM_PARAMETERS_PER_CHANNEL = 2


@dataclass(frozen=True)
class StageCost:
    """Cost of the stem or of one stage, its rows and fusions included, for one image.

    Attributes:
        name: ``stem``, ``s1``, …; ``trunk`` for the whole of a network that is no code.
        blocks: residual blocks of the main path; 0 for the stem.
        rows: extra rows beside it.
        channels: channels that leave.
        width: feature width in pixels.
        height: feature height in pixels.
        parameters: trainable numbers, norm layers included.
        multiply_adds: of all convolutions, for one image.
        activation_bytes: float32 outputs of all convolutions, for one image.
    """

    name: str
    blocks: int
    rows: int
    channels: int
    width: int
    height: int
    parameters: int
    multiply_adds: int
    activation_bytes: int


@dataclass(frozen=True)
class Cost:
    """Cost of a backbone at one input size, in total and per stage."""

    stages: tuple[StageCost, ...]

    @property
    def parameters(self) -> int:
        """Trainable numbers."""
        return sum(stage.parameters for stage in self.stages)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one image."""
        return sum(stage.multiply_adds for stage in self.stages)

    @property
    def activation_bytes(self) -> int:
        """Bytes of convolution outputs of one image."""
        return sum(stage.activation_bytes for stage in self.stages)

    def as_dict(self) -> dict[str, float]:
        """Return the totals, as the archive stores them."""
        return {
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "activation_bytes": self.activation_bytes,
        }


class _Counter:
    """Adds up layers while it follows the feature size."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.parameters = self.multiply_adds = self.activations = 0

    def add(self, layers: Iterable[ConvLayer], *, is_stored: bool = True) -> None:
        """Count a chain of layers; a projection starts from the size at which the chain began, a gate leaves it.

        Args:
            layers: in order.
            is_stored: whether their parameters count, or are those of another place.
        """
        start = self.width, self.height
        width, height = start
        for layer in layers:
            inputs = start if layer.name == PROJECTION else (width, height)
            out_width, out_height = layer.out_size(inputs[0]), layer.out_size(inputs[1])
            pixels = out_width * out_height
            if is_stored:
                per_channel = NORM_PARAMETERS_PER_CHANNEL * layer.has_norm + layer.has_bias
                self.parameters += layer.weights + per_channel * layer.out_channels
            self.multiply_adds += layer.weights * pixels
            self.activations += layer.out_channels * pixels
            if not layer.is_pooled:
                width, height = out_width, out_height
        self.width, self.height = width, height

    def stage(self, name: str, channels: int, blocks: int = 0, rows: int = 0) -> StageCost:
        """Close a stage and begin the next one."""
        closed = StageCost(
            name,
            blocks,
            rows,
            channels,
            self.width,
            self.height,
            self.parameters,
            self.multiply_adds,
            self.activations * BYTES_PER_ACTIVATION,
        )
        self.parameters = self.multiply_adds = self.activations = 0
        return closed


def chain_multiply_adds(layers: Iterable[ConvLayer], width: int, height: int) -> tuple[int, tuple[int, int]]:
    """Count a chain of layers, such as a block's, for one image.

    Args:
        layers: in order, the projection last.
        width: of what enters, in pixels.
        height: likewise.

    Returns:
        Multiply-adds, and (width, height) of what leaves.
    """
    counter = _Counter(width, height)
    counter.add(layers)
    return counter.multiply_adds, (counter.width, counter.height)


@lru_cache(maxsize=4096)
def backbone_cost(architecture: "AnyNetwork", width: int, height: int) -> Cost:
    """Count an architecture, rows included, for one image of ``width`` × ``height`` pixels.

    A row costs what its stage costs, and its fusion besides; where rows share the main path's weights, only one fusion
    of each stage adds parameters. A network that is no code is counted while it runs on the meta device: its
    convolutions and matrix products, in one piece.
    """
    if not isinstance(architecture, Architecture):
        return _counted(architecture, width, height)
    counter = _Counter(width, height)
    stem = stem_spec(architecture.stem)
    counter.add(described_layers(stem, architecture.base))
    if stem.pools:
        counter.width, counter.height = (counter.width - 1) // 2 + 1, (counter.height - 1) // 2 + 1
    stages = [counter.stage("stem", architecture.base)]
    for stage in stage_placements(architecture):
        start = counter.width, counter.height
        for row in range(stage.rows, -1, -1):  # 0 is the main path
            counter.width, counter.height = start
            for block in stage.blocks:
                counter.add(block.layers, is_stored=row == 0 or not architecture.shares_rows)
            if row > 0:
                counter.add([stage.fusion], is_stored=row == 1 or not architecture.shares_rows)
        stages.append(counter.stage(f"s{stage.number}", stage.out_channels, len(stage.blocks), stage.rows))
    return Cost(tuple(stages))


def _counted(network: "FixedNetwork | Composition", width: int, height: int) -> Cost:
    from spnas_core.backbones.counting import counted

    parameters, multiply_adds, elements = counted(network, width, height)
    last = network.feature_info.stages[-1]
    size = -(-width // last.reduction), -(-height // last.reduction)
    activations = elements * BYTES_PER_ACTIVATION
    return Cost((StageCost("trunk", 0, 0, last.channels, *size, parameters, multiply_adds, activations),))


def row_costs(architecture: Architecture, width: int, height: int) -> tuple[Cost, ...]:
    """Count, for each stage, the architecture with one more row beside that stage.

    What the row itself costs is the difference to ``backbone_cost(architecture, …)``.
    """
    rows = architecture.rows or (0,) * len(architecture.stages)
    return tuple(
        backbone_cost(replace(architecture, rows=(*rows[:at], rows[at] + 1, *rows[at + 1 :])), width, height)
        for at in range(len(rows))
    )
