"""Evolution by generations: mutants and crossings of the best ever, and some that are drawn at random.

Chen et al., "DetNAS: Backbone Search for Object Detection", NeurIPS 2019: 20 generations of 50, of which 20 are
mutants, 20 are crossings and 10 are random; parents are drawn from the best 10. Its space of block choices is replaced
by the serial space.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from spnas_core.configuration import Count, Few
from spnas_core.encoding import Architecture
from spnas_core.morphisms import Rewrite, align
from spnas_core.space import SearchSpace
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Candidate, Inherit, Proposal
from spnas_search.strategies.crossover import cross
from spnas_search.strategies.mutation import MutationSettings, Mutator
from spnas_search.strategies.sampling import draw_samples, reaches_samples

TRIES = 10
"""Tries for each crossing that is new and inside the space; where none is, a random code takes its place."""


class GenerationsSettings(MutationSettings):
    """The ``[strategy]`` table of an evolution by generations; see ``MutationSettings`` for the rest of it.

    Attributes:
        name: the strategy's name.
        generation: children in a generation; the first one is random.
        mutants: of a generation.
        crossings: of a generation; what is left is random.
        best: so many of the best of earlier generations are parents, with equal odds.
        max_redraws: tries to find a new architecture inside the space before the strategy says that it is exhausted.
    """

    name: Literal["generations"] = "generations"
    generation: Few = Field(8, ge=1)
    mutants: Few = Field(3, ge=0)
    crossings: Few = Field(3, ge=0, validate_default=True)
    best: Count = Field(4, ge=1)
    max_redraws: Count = Field(2000, ge=1)

    @field_validator("crossings")
    @classmethod
    def _fit(cls, crossings: int, info: ValidationInfo) -> int:
        generation, mutants = info.data.get("generation"), info.data.get("mutants")
        if generation is not None and mutants is not None and mutants + crossings > generation:
            raise ValueError(
                f"with mutants = {mutants} that is more than a generation of {generation}: lower them, or raise "
                "generation"
            )
        return crossings


class Generations:
    """Draws generations of children; what a child is follows from its place in its generation.

    Of each generation the first ``mutants`` are mutations of one of the best, the next ``crossings`` come from two of
    them and inherit from the better one by ``align``, and the rest is drawn from the space. Parents are the best of all
    earlier generations, the start among them, by their scores as they are; a round may be smaller than a generation.
    Where no crossing is new it is a random code, and where no random code is, a mutation.

    Args:
        settings: the ``[strategy]`` table.
        space: bounds of the search.

    Raises:
        PluginError: the odds name an unknown morphism.
        ConfigError: all odds are zero.
    """

    by_place = True

    def __init__(self, settings: GenerationsSettings, space: SearchSpace) -> None:
        self.settings = settings
        self.space = space
        self._mutator = Mutator(settings, space)

    @property
    def meaningful_from(self) -> int:
        """A generation of the best, behind the first one, which is random."""
        return 2 * self.settings.generation

    def parents(self, archive: Archive) -> list[Candidate]:
        """The best of all generations before the present one, best first, the older first among equals."""
        size = self.settings.generation
        return self._best(archive, archive.of_kind("child")[: archive.children // size * size])

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Draw the next children of the present generation; a round does not reach into the next one."""
        settings, parents = self.settings, self.parents(archive)
        if not parents:
            return []
        place = archive.children % settings.generation
        drawn: list[tuple[Candidate, Rewrite]] = []
        for number in range(place, min(place + settings.round, settings.generation)):
            found = self._child(number, parents, archive, rng, [rewrite.child for _, rewrite in drawn])
            if found is None:
                break
            drawn.append(found)
        return [Proposal("child", parent.id, rewrite, Fidelity(settings.epochs)) for parent, rewrite in drawn]

    def reaches(self, start: Architecture, inherit: Inherit) -> bool:
        """Whether some draws find a child of the start inside the space; see ``Strategy``."""
        draws = self.settings.max_redraws
        return self._mutator.reaches(start) or reaches_samples(start, self.space, draws, inherit)

    def stuck(self, archive: Archive) -> str | None:
        """Never: some of each generation are random."""
        return None

    def may_use(self, archive: Archive) -> frozenset[int]:
        """The parents of this generation and of the next, and the start, which random codes begin with."""
        following = self._best(archive, archive.of_kind("child"))
        start = [archive.start] if archive.start.status == "done" else []
        return frozenset(one.id for one in (*self.parents(archive), *following, *start))

    def _best(self, archive: Archive, children: Sequence[Candidate]) -> list[Candidate]:
        known = [one for one in children if math.isfinite(archive.score(one))]
        if (archive.start_may_win or not known) and math.isfinite(archive.score(archive.start)):
            known = [archive.start, *known]
        return sorted(known, key=lambda one: (-archive.score(one), one.id))[: self.settings.best]

    def _child(
        self,
        number: int,
        parents: list[Candidate],
        archive: Archive,
        rng: np.random.Generator,
        taken: list[Architecture],
    ) -> tuple[Candidate, Rewrite] | None:
        """Draw the child of a place in the generation."""
        settings = self.settings
        is_first = archive.children < settings.generation

        def draw_parent() -> Candidate:
            return parents[int(rng.integers(len(parents)))]

        if not is_first and number < settings.mutants:
            found = self._mutator.children(1, draw_parent, archive, rng, taken=taken)
            if found:
                return found[0]
        elif not is_first and number < settings.mutants + settings.crossings:
            crossed = self._crossing(draw_parent, archive, rng, taken)
            if crossed is not None:
                return crossed
        for _ in range(TRIES):
            samples = draw_samples(1, archive, self.space, settings.max_redraws, rng)
            if not samples:
                break
            if samples[0].child not in taken:
                return archive.start, samples[0]
        # Mutations reach more than samples where these are what grows from the start.
        return next(iter(self._mutator.children(1, draw_parent, archive, rng, taken=taken)), None)

    def _crossing(
        self,
        draw_parent: Callable[[], Candidate],
        archive: Archive,
        rng: np.random.Generator,
        taken: list[Architecture],
    ) -> tuple[Candidate, Rewrite] | None:
        """Cross two of the best, and inherit from the better one."""
        for _ in range(TRIES):
            one, other = draw_parent(), draw_parent()
            child = cross(one.architecture, other.architecture, rng)
            if child in taken or archive.contains(child) or child not in self.space:
                continue
            better = max((one, other), key=lambda parent: (archive.score(parent), -parent.id))
            return better, align(better.architecture, child)
        return None
