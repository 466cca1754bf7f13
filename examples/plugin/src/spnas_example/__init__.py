"""A block type, a search strategy and a preset, registered through the hooks of spnas."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

import spnas_core
from spnas_core.blocks import ConvLayer, ResidualBlock
from spnas_core.blocks.residual import PROJECTION, projects
from spnas_core.configuration import Table
from spnas_core.hookspecs import Register
from spnas_core.morphisms import morphisms
from spnas_core.presets import presets_in
from spnas_core.space import SearchSpace
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Proposal
from spnas_search.strategies import StrategyPlugin
from spnas_search.strategies.mutation import draw_rewrite, draw_round


@dataclass(frozen=True)
class WideKernels:
    """A basic residual block with 5×5 kernels: a list of layers is all that a block type needs."""

    name: str = "w"
    aliases: tuple[str, ...] = ()
    summary: str = "basic residual block with 5x5 kernels"
    silent_norm: str = "bn2"

    def check(self, base: int) -> None:
        """Any base does."""

    def out_channels(self, planes: int) -> int:
        """No expansion."""
        return planes

    def layers(self, in_channels: int, planes: int, stride: int) -> tuple[ConvLayer, ...]:
        """Two 5×5 convolutions, and a projection where shapes change."""
        branch = (ConvLayer("conv1", in_channels, planes, 5, stride), ConvLayer("conv2", planes, planes, 5))
        if projects(in_channels, planes, stride):
            return (*branch, ConvLayer(PROJECTION, in_channels, planes, 1, stride))
        return branch

    def build(self, in_channels: int, planes: int, stride: int) -> ResidualBlock:
        """Build the module."""
        return ResidualBlock(self.layers(in_channels, planes, stride))


class ClimbSettings(Table):
    """The ``[strategy]`` table."""

    name: Literal["climb"] = "climb"
    round: int = Field(2, ge=1)
    epochs: int = Field(4, ge=1)
    max_redraws: int = Field(200, ge=1)


class Climb:
    """Mutates the best candidate so far by one morphism, and ends at a local optimum."""

    def __init__(self, settings: ClimbSettings, space: SearchSpace) -> None:
        self.settings = settings
        self.space = space

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Draw neighbours of the best candidate that are new."""
        best = archive.best(1)
        drawn = draw_round(
            self.settings.round if best else 0,
            lambda: best[0],
            lambda architecture: draw_rewrite(architecture, dict.fromkeys(morphisms().values(), 1.0), 1, rng),
            archive,
            self.space,
            self.settings.max_redraws,
        )
        return [Proposal("child", parent.id, rewrite, Fidelity(self.settings.epochs)) for parent, rewrite in drawn]

    def stuck(self, archive: Archive) -> str | None:
        """Never before the neighbours are used up."""
        return None

    def may_use(self, archive: Archive) -> frozenset[int]:
        """The best candidate only."""
        return frozenset(candidate.id for candidate in archive.best(1))


@spnas_core.hookimpl
def spnas_register_blocks(register: Register) -> None:
    """Add ``w``."""
    register("w", WideKernels())


@spnas_core.hookimpl
def spnas_register_strategies(register: Register) -> None:
    """Add ``climb``."""
    register("climb", StrategyPlugin("mutate the best candidate only", ClimbSettings, Climb))


@spnas_core.hookimpl
def spnas_register_presets(register: Register) -> None:
    """Add ``wide-climb``, and whatever else lies in ``presets/``."""
    for name, preset in presets_in("spnas_example"):
        register(name, preset)
