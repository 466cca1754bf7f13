"""Drawing a child: a composition of random morphisms that is new and inside the search space."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from spnas_core.configuration import Count, Few, Table
from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError
from spnas_core.morphisms import Morphism, Narrow, Rewrite, Swap, Widen, identity, morphism
from spnas_core.space import SearchSpace
from spnas_search.archive import Archive, Candidate
from spnas_search.strategies.chance import draw_index

Odds = Annotated[float, Field(ge=0)]
Mutations = Annotated[int, Field(ge=1, le=100)]
"""Morphisms in one child: each costs time, and whatever grows by more lies outside the space."""
DEFAULT_ODDS = {"swap": 1.0, "expand": 0.4, "add-stage": 0.1}
"""Relative weights of the morphisms, the same for every strategy: so strategies differ in what they choose alone."""


def weighted_morphisms(odds: Mapping[str, float], max_step: int) -> dict[Morphism, float]:
    """Look up the morphisms that settings name.

    Args:
        odds: relative weight of each, by name.
        max_step: most blocks by which a swap moves a border, and widen and narrow a doubling.

    Raises:
        PluginError: the odds name an unknown morphism.
        ConfigError: all odds are zero.
    """
    if not any(odds.values()):
        raise ConfigError("strategy.odds are all zero: at least one morphism must have odds above zero")
    named = ((morphism(name), weight) for name, weight in odds.items())
    movers = (Swap, Widen, Narrow)
    return {
        replace(found, max_step=max_step) if isinstance(found, movers) else found: weight for found, weight in named
    }


def draw_rewrite(
    architecture: Architecture,
    odds: Mapping[Morphism, float],
    max_mutations: int,
    rng: np.random.Generator,
    min_mutations: int = 1,
) -> Rewrite:
    """Compose min_mutations … max_mutations random morphisms, their number uniform.

    Each step draws a morphism by its odds among those that apply, then one of its applications uniformly. The bounds
    of a search space are not looked at: a composition may pass outside and come back.

    Args:
        architecture: the parent.
        odds: relative weight of each morphism; zero never draws it.
        max_mutations: most morphisms in one child.
        rng: source of chance.
        min_mutations: fewest of them.

    Returns:
        The rewrite; the identity where nothing applies before there are ``min_mutations``.
    """
    rewrite = identity(architecture)
    for _ in range(int(rng.integers(min_mutations, max_mutations + 1))):
        applicable = [
            (weight, options)
            for morphism, weight in odds.items()
            if weight > 0 and (options := _options(morphism, rewrite.child))
        ]
        if not applicable:
            break
        options = applicable[draw_index([weight for weight, _ in applicable], rng)][1]
        rewrite = rewrite.then(options[int(rng.integers(len(options)))])
    return rewrite if len(rewrite.steps) >= min_mutations else identity(architecture)


@lru_cache(maxsize=4096)
def _options(morphism: Morphism, architecture: Architecture) -> Sequence[Rewrite]:
    """Return the options of an architecture: walks from the same few parents meet the same ones again and again."""
    return morphism.options(architecture)


def draw_round(
    count: int,
    draw_parent: Callable[[], Candidate],
    mutate: Callable[[Architecture], Rewrite],
    archive: Archive,
    space: SearchSpace,
    max_redraws: int,
    taken: Collection[Architecture] = (),
) -> list[tuple[Candidate, Rewrite]]:
    """Draw parents and morphisms until a round of children is new and inside the space.

    Args:
        count: children wanted.
        draw_parent: gives a random parent.
        mutate: gives a random rewrite of an architecture.
        archive: knows what has been proposed before.
        space: bounds of the search.
        max_redraws: tries for each child.
        taken: other children of the same round.

    Returns:
        Parents and rewrites to different children; fewer than ``count`` where no new architecture was found.
    """
    drawn: dict[Architecture, tuple[Candidate, Rewrite]] = {}
    for _ in range(count):
        for _ in range(max_redraws):
            parent = draw_parent()
            rewrite = mutate(parent.architecture)
            child = rewrite.child
            if child not in drawn and child not in taken and not archive.contains(child) and child in space:
                drawn[child] = parent, rewrite
                break
        else:
            break
    return list(drawn.values())


def finds(
    draw: Callable[[np.random.Generator], Architecture], start: Architecture, space: SearchSpace, tries: int
) -> bool:
    """Whether as many draws as a child may take find one that is not the start, inside the space.

    Bounds that are measured are not asked; the draws are the same each time.

    Args:
        draw: gives a random child.
        start: of the search.
        space: bounds of the search.
        tries: draws.
    """
    rng, quick = np.random.default_rng(0), space.quick
    return any(child != start and child in quick for child in (draw(rng) for _ in range(tries)))


class MutationSettings(Table):
    """What the ``[strategy]`` tables of all strategies have that mutate earlier candidates.

    Attributes:
        round: children per round; a round sees only what earlier rounds have found.
        epochs: that a child is trained after inheriting; 0 scores what it inherits.
        min_mutations: fewest morphisms in one child.
        max_mutations: most morphisms in one child.
        max_step: most blocks by which a swap moves a border, and widen and narrow a doubling.
        odds: relative weight of each morphism; what a table of one's own does not name is never drawn, while
            ``--set strategy.odds.swap=2`` changes this one.
        max_redraws: tries to find a new architecture before the strategy says that it is exhausted.
    """

    round: Few = Field(2, ge=1)
    epochs: Count = Field(4, ge=0)
    min_mutations: Mutations = 1
    max_mutations: Mutations = 1
    max_step: Count = Field(2, ge=1)
    odds: dict[str, Odds] = Field(default=DEFAULT_ODDS, min_length=1)
    max_redraws: Count = Field(500, ge=1)

    @model_validator(mode="after")
    def _check_mutations(self) -> Self:
        if self.min_mutations > self.max_mutations:
            raise ValueError(
                f"min_mutations is {self.min_mutations}, above max_mutations = {self.max_mutations}: raise the latter"
            )
        return self


class Mutator:
    """Draws children by mutation, as settings say.

    Args:
        settings: of the strategy.
        space: bounds of the search.

    Raises:
        PluginError: the odds name an unknown morphism.
        ConfigError: all odds are zero.
    """

    def __init__(self, settings: MutationSettings, space: SearchSpace) -> None:
        self._settings = settings
        self._space = space
        self._odds = weighted_morphisms(settings.odds, settings.max_step)

    def children(
        self,
        count: int,
        draw_parent: Callable[[], Candidate],
        archive: Archive,
        rng: np.random.Generator,
        taken: Collection[Architecture] = (),
    ) -> list[tuple[Candidate, Rewrite]]:
        """Draw up to ``count`` children that are new and inside the space; see ``draw_round``."""

        def mutate(architecture: Architecture) -> Rewrite:
            return self.draw(architecture, rng)

        return draw_round(count, draw_parent, mutate, archive, self._space, self._settings.max_redraws, taken)

    def reaches(self, architecture: Architecture) -> bool:
        """Whether some draws find a child of an architecture inside the space; see ``finds``."""
        tries = self._settings.max_redraws
        return finds(lambda rng: self.draw(architecture, rng).child, architecture, self._space, tries)

    def draw(self, architecture: Architecture, rng: np.random.Generator) -> Rewrite:
        """Draw one child, whatever the bounds; see ``draw_rewrite``."""
        settings = self._settings
        return draw_rewrite(architecture, self._odds, settings.max_mutations, rng, settings.min_mutations)
