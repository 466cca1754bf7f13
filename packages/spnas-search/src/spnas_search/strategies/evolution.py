"""Evolution by tournaments: who is drawn, and who leaves the population.

- ``survival = "loser"``: two are drawn, the better one is the parent, the worse one leaves; Real et al., "Large-Scale
  Evolution of Image Classifiers", ICML 2017.
- ``survival = "all"``: nobody leaves; Liu et al., "Hierarchical Representations for Efficient Architecture Search",
  ICLR 2018, with tournaments of 5 % of the population.

Where the oldest leaves, that is ``regularized-evolution``.

The papers' own spaces of cells and motifs are replaced by the serial space, and their mutations by morphisms.
"""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Literal

import numpy as np
from pydantic import Field

from spnas_core.configuration import Count
from spnas_core.encoding import Architecture
from spnas_core.morphisms import Rewrite
from spnas_core.space import SearchSpace
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Candidate, Inherit, Proposal
from spnas_search.strategies.initial import has_failed, initial_left
from spnas_search.strategies.mutation import MutationSettings, Mutator
from spnas_search.strategies.sampling import draw_samples, reaches_samples

PAIR = 2


class EvolutionSettings(MutationSettings):
    """The ``[strategy]`` table of an evolution; see ``MutationSettings`` for the rest of it.

    Attributes:
        name: the strategy's name.
        population: P, members above which losers leave, or that are drawn at first; the papers have 1000 (``loser``)
            and 200 (``all``).
        survival: who leaves when a child comes and there are as many: ``loser``, the worse one of the pair that was
            drawn; or nobody, where ``all`` stay.
        share: of the population, that a tournament draws where nobody leaves; two at least. A pair where the loser
            leaves.
        initial: children are drawn from the whole space until so many have a score, and twice as many at most; None for
            as many as the population; 0 lets all descend from the start step by step.
        max_redraws: tries to find a new architecture inside the space before the strategy says that it is exhausted.
    """

    name: Literal["evolution"] = "evolution"
    population: Count = Field(8, ge=2)
    survival: Literal["loser", "all"] = "loser"
    share: float = Field(0.05, gt=0, le=1)
    initial: Count | None = Field(None, ge=0)
    max_redraws: Count = Field(2000, ge=1)


class Evolution:
    """Mutates the winners of tournaments.

    Members are candidates with a finite score; the start is the first of them. Scores are compared as they are, as in
    the papers, where all networks are trained alike: see ``RegularizedEvolution`` for what that means where children
    inherit.

    Who has lost is stored nowhere: which pair was drawn for the n-th child follows from the run's seed and n, so that
    the population follows from the archive. Where the loser leaves, whole rounds are compared.

    A winner without an untried child cedes to the other members, the best first, and these to a code from the whole
    space; nothing is proposed only where there is none either. Where the space is too small for the initial children,
    members of equal odds are mutated instead.

    Example: a population of three, members 0 (score 0.5), 1 (0.7) and 2 (0.6). The pair (0, 2) is drawn: 2 is mutated,
    and 0 leaves. With the child, 3, there are three members again: 1, 2 and 3.

    Args:
        settings: the ``[strategy]`` table.
        space: bounds of the search.

    Raises:
        PluginError: the odds name an unknown morphism.
        ConfigError: all odds are zero.
    """

    def __init__(self, settings: EvolutionSettings, space: SearchSpace) -> None:
        self.settings = settings
        self.space = space
        self._mutator = Mutator(settings, space)
        self._initial = settings.population if settings.initial is None else settings.initial

    @property
    def meaningful_from(self) -> int:
        """As many children of tournaments as are drawn before, where none of these fails."""
        return 2 * self._initial

    @property
    def by_rounds(self) -> bool:
        """Whether it cannot propose one child after the other."""
        return self.settings.survival == "loser"

    @property
    def by_place(self) -> bool:
        """Whether the n-th child is that of the n-th pair."""
        return self.settings.survival == "loser"

    def population(self, archive: Archive) -> list[Candidate]:
        """The candidates that may become parents, oldest first."""
        is_member = archive.start_may_win and math.isfinite(archive.score(archive.start))
        members = [archive.start] if is_member else []
        place = failed = 0
        for _, group in groupby(archive.of_kind("child"), key=lambda child: child.round):
            born = list(group)
            if self.settings.survival == "loser":
                for coming in range(initial_left(self._initial, place, failed), len(born)):
                    self._fight(members, archive, place + coming, coming)
            members += [child for child in born if math.isfinite(archive.score(child))]
            place += len(born)
            failed += sum(has_failed(archive, child) for child in born)
        return members

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Draw the initial children from the space, all others from tournaments."""
        settings, members = self.settings, self.population(archive)
        failed = sum(has_failed(archive, child) for child in archive.of_kind("child"))
        initial = initial_left(self._initial, archive.children, failed)
        samples = draw_samples(min(settings.round, initial), archive, self.space, settings.max_redraws, rng)
        drawn = [(archive.start, rewrite) for rewrite in samples]
        for coming in range(len(samples), settings.round):
            found = self._bred(
                members, archive, coming, rng, [rewrite.child for _, rewrite in drawn], is_initial=coming < initial
            )
            if not found:
                break
            drawn += found
        return [Proposal("child", parent.id, rewrite, Fidelity(settings.epochs)) for parent, rewrite in drawn]

    def reaches(self, start: Architecture, inherit: Inherit) -> bool:
        """Whether some draws find a child of the start inside the space; see ``Strategy``."""
        draws = self.settings.max_redraws
        return self._mutator.reaches(start) or reaches_samples(start, self.space, draws, inherit)

    def stuck(self, archive: Archive) -> str | None:
        """Never: the population turns over, or grows."""
        return None

    def may_use(self, archive: Archive) -> frozenset[int]:
        """The population; and the start, with which codes from the whole space begin."""
        start = [archive.start.id] if archive.start.status == "done" else []
        return frozenset([*(one.id for one in self.population(archive)), *start])

    def _bred(
        self,
        members: list[Candidate],
        archive: Archive,
        coming: int,
        rng: np.random.Generator,
        taken: Sequence[Architecture],
        *,
        is_initial: bool,
    ) -> list[tuple[Candidate, Rewrite]]:
        """A new child, behind so many of this round; nothing where there is none. Who loses a pair may leave the list.

        It has the winner of a tournament for its parent, unless that has no untried child.
        """
        fights = self.settings.survival == "loser" and not is_initial
        winner = self._fight(members, archive, archive.children + coming, coming) if fights else None
        others = sorted((one for one in members if one is not winner), key=lambda one: (-archive.score(one), one.id))

        def draw_parent() -> Candidate:
            if winner is not None:
                return winner
            return self._drawn_winner(members, archive, rng, luck=is_initial)

        drawings = [draw_parent, *((lambda one=one: one) for one in others)]
        rounds = (self._mutator.children(1, drawing, archive, rng, taken) for drawing in drawings if members)
        found = next(filter(None, rounds), [])
        return found or [
            (archive.start, rewrite)
            for rewrite in draw_samples(1, archive, self.space, self.settings.max_redraws, rng)
            if rewrite.child not in taken
        ]

    def _drawn_winner(
        self, members: list[Candidate], archive: Archive, rng: np.random.Generator, *, luck: bool
    ) -> Candidate:
        """The winner of a tournament that nobody leaves; of one alone where luck decides."""
        count = 1 if luck else max(PAIR, math.ceil(self.settings.share * len(members)))
        places: list[int] = rng.choice(len(members), min(count, len(members)), replace=False).tolist()
        return max((members[one] for one in sorted(places)), key=archive.score)

    def _fight(self, members: list[Candidate], archive: Archive, place: int, coming: int) -> Candidate | None:
        """Draw the pair for the n-th child, and return the winner; initial children have no pair, and ask for none.

        The loser is removed, unless there are fewer members than there may be, those that are coming included.
        """
        if not members:
            return None
        if len(members) < PAIR:
            return members[0]
        rng = np.random.default_rng([archive.run_seed, place])
        pair: list[int] = rng.choice(len(members), PAIR, replace=False).tolist()
        one, other = sorted(pair)
        loses = one if archive.score(members[other]) > archive.score(members[one]) else other
        winner = members[one + other - loses]
        if len(members) + coming >= self.settings.population:
            del members[loses]
        return winner
