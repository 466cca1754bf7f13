"""Exact parameters, multiply-adds and activation memory from the layers' description alone.

A multiply-add counts once (half of what FLOP counters report). Only convolutions count: batch norm, ReLU and pooling
fuse into them at inference. Activations are the elements of all convolution outputs, the measure that predicts run time
in Dollár et al., "Fast and Accurate Model Scaling" (2021), here in bytes of float32.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from spnas_core.blocks import ConvLayer
from spnas_core.blocks.residual import PROJECTION
from spnas_core.encoding import Architecture
from spnas_core.networks.layout import block_placements
from spnas_core.stems import stem_spec

BYTES_PER_ACTIVATION = 4
NORM_PARAMETERS_PER_CHANNEL = 2


@dataclass(frozen=True)
class StageCost:
    """Cost of the stem or of one stage for one image.

    Attributes:
        name: ``stem``, ``s1``, ….
        blocks: residual blocks; 0 for the stem.
        channels: channels that leave.
        width: feature width in pixels.
        height: feature height in pixels.
        parameters: trainable numbers, norm layers included.
        multiply_adds: of all convolutions, for one image.
        activation_bytes: float32 outputs of all convolutions, for one image.
    """

    name: str
    blocks: int
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

    def add(self, layers: Iterable[ConvLayer]) -> None:
        """Count a chain of layers; a projection starts from the size at which the chain began."""
        start = self.width, self.height
        width, height = start
        for layer in layers:
            inputs = start if layer.name == PROJECTION else (width, height)
            out_width, out_height = layer.out_size(inputs[0]), layer.out_size(inputs[1])
            pixels = out_width * out_height
            self.parameters += layer.weights + NORM_PARAMETERS_PER_CHANNEL * layer.out_channels
            self.multiply_adds += layer.weights * pixels
            self.activations += layer.out_channels * pixels
            width, height = out_width, out_height
        self.width, self.height = width, height

    def stage(self, name: str, blocks: int, channels: int) -> StageCost:
        """Close a stage and begin the next one."""
        closed = StageCost(
            name,
            blocks,
            channels,
            self.width,
            self.height,
            self.parameters,
            self.multiply_adds,
            self.activations * BYTES_PER_ACTIVATION,
        )
        self.parameters = self.multiply_adds = self.activations = 0
        return closed


@lru_cache(maxsize=4096)
def backbone_cost(architecture: Architecture, width: int, height: int) -> Cost:
    """Count the main path of an architecture for one image of ``width`` × ``height`` pixels."""
    counter = _Counter(width, height)
    stem = stem_spec(architecture.stem)
    counter.add(stem.layers(architecture.base))
    if stem.pools:
        counter.width, counter.height = (counter.width - 1) // 2 + 1, (counter.height - 1) // 2 + 1
    stages = [counter.stage("stem", 0, architecture.base)]
    placements = block_placements(architecture)
    for number, digits in enumerate(architecture.stages, 1):
        for placement in placements:
            if placement.stage == number:
                counter.add(placement.layers)
                channels = placement.out_channels
        stages.append(counter.stage(f"s{number}", len(digits), channels))
    return Cost(tuple(stages))
