"""Regularized evolution: tournaments in a population of which the oldest dies, however good it is.

Real, Aggarwal, Huang & Le, "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019, algorithm 1.
"""

from typing import Literal

import numpy as np
from pydantic import Field

from spnas_core.configuration import Count
from spnas_core.encoding import Architecture
from spnas_core.space import SearchSpace
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Candidate, Inherit, Proposal
from spnas_search.strategies.initial import has_failed, initial_left
from spnas_search.strategies.mutation import MutationSettings, Mutator
from spnas_search.strategies.sampling import draw_samples, reaches_samples


class RegularizedEvolutionSettings(MutationSettings):
    """The ``[strategy]`` table of a regularized evolution; see ``MutationSettings`` for the rest of it.

    The paper has a population of 100 and samples of 25 for 20 000 candidates; these defaults are for tens of them.

    Attributes:
        name: the strategy's name.
        population: P, candidates that may become parents: the youngest so many that have a score.
        sample: S, members drawn for a tournament, with replacement; 1 ignores the scores.
        initial: children are drawn from the whole space, as those of ``random`` are, until so many have a score, and
            twice as many at most; None for as many as the population, as in the paper; 0 lets all descend from the
            start step by step.
        max_redraws: tries to find a new architecture inside the space before the strategy says that it is exhausted.
    """

    name: Literal["regularized-evolution"] = "regularized-evolution"
    population: Count = Field(10, ge=1)
    sample: Count = Field(5, ge=1)
    initial: Count | None = Field(None, ge=0)
    max_redraws: Count = Field(2000, ge=1)


class RegularizedEvolution:
    """Mutates the winners of tournaments among the youngest candidates.

    The population follows from the archive: the youngest ``population`` of the candidates with a finite score, by their
    numbers; the start counts as the oldest. So each scored child adds itself and removes the oldest member, and a child
    that failed does neither. A tournament draws ``sample`` members, each from the whole population, and the one of the
    highest score becomes the parent, the oldest among equals. Where no member has an untried child, codes are drawn
    from the whole space.

    Example: population 3, and the start (0) and children 1, 2, 3, 4 scored 0.9, 0.5, failed, 0.7, 0.6: members are 1, 3
    and 4; the start is too old, though it is the best.

    Scores are compared as they are, as in the paper, where all networks are trained alike from fresh weights. Where
    children inherit from their parents (``inherit = "parent"``), those of a longer lineage are trained for longer and
    win tournaments for that, too; ``"warm-start"`` and ``"none"`` compare at equal ages.

    Args:
        settings: the ``[strategy]`` table.
        space: bounds of the search.

    Raises:
        PluginError: the odds name an unknown morphism.
        ConfigError: all odds are zero.
    """

    def __init__(self, settings: RegularizedEvolutionSettings, space: SearchSpace) -> None:
        self.settings = settings
        self.space = space
        self._mutator = Mutator(settings, space)
        self._initial = settings.population if settings.initial is None else settings.initial

    @property
    def meaningful_from(self) -> int:
        """As many children of tournaments as are drawn before, where none of these fails."""
        return 2 * self._initial

    def population(self, archive: Archive) -> tuple[Candidate, ...]:
        """The candidates that may become parents, oldest first."""
        scored = [
            candidate
            for candidate in ((archive.start,) if archive.start_may_win else ()) + archive.of_kind("child")
            if candidate.status == "done" and np.isfinite(archive.score(candidate))
        ]
        return tuple(scored[-self.settings.population :])

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Draw the initial children from the space, all others from tournaments."""
        settings, population = self.settings, self.population(archive)
        failed = sum(has_failed(archive, child) for child in archive.of_kind("child"))
        wanted = min(settings.round, initial_left(self._initial, archive.children, failed))
        samples = draw_samples(wanted, archive, self.space, settings.max_redraws, rng)
        bred = self._mutator.children(
            settings.round - len(samples) if population else 0,
            lambda: self._tournament(archive, population, rng),
            archive,
            rng,
            taken=[rewrite.child for rewrite in samples],
        )
        if not samples and not bred:
            samples = draw_samples(settings.round, archive, self.space, settings.max_redraws, rng)
        drawn = [*((archive.start, rewrite) for rewrite in samples), *bred]
        return [Proposal("child", parent.id, rewrite, Fidelity(settings.epochs)) for parent, rewrite in drawn]

    def _tournament(self, archive: Archive, population: tuple[Candidate, ...], rng: np.random.Generator) -> Candidate:
        """Draw members with replacement, and return the best, the oldest among equals."""
        places: list[int] = rng.integers(len(population), size=self.settings.sample).tolist()
        return max((population[place] for place in sorted(places)), key=archive.score)

    def reaches(self, start: Architecture, inherit: Inherit) -> bool:
        """Whether some draws find a child of the start inside the space; see ``Strategy``."""
        draws = self.settings.max_redraws
        return self._mutator.reaches(start) or reaches_samples(start, self.space, draws, inherit)

    def stuck(self, archive: Archive) -> str | None:
        """Never: the population always turns over."""
        return None

    def may_use(self, archive: Archive) -> frozenset[int]:
        """The population, whose later members are its own children; and the start, with which samples begin."""
        start = [archive.start.id] if archive.start.status == "done" else []
        return frozenset([*(member.id for member in self.population(archive)), *start])
