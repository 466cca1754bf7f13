"""Parents drawn from the best candidates so far, and when that leads nowhere."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from spnas_core.configuration import Count, Table
from spnas_search.archive import Archive, Candidate
from spnas_search.strategies.chance import draw_index
from spnas_search.strategies.progress import why_stuck


class PoolSettings(Table):
    """What the ``[strategy]`` tables of both phases have: how parents are drawn, and when a search is stuck.

    Attributes:
        pool: how many of the best candidates may become parents; twice as many, and so on, once these have no untried
            child left, unless children inherit their weights.
        parents: which these are: ``merit``, those of the highest merit; ``pareto``, those nearest to the Pareto front
            of merit and everything in ``pareto`` (non-dominated sorting).
        merit_power: how steeply a parent's odds fall with its rank by merit.
        cost_power: how steeply they fall with its rank by what ``pareto`` weighs against merit; of several the
            geometric mean counts.
        n_stuck: the search ends after this many children in a row without progress.
        alpha: probability, at most, that among so many children without any effect one passes for progress.
    """

    pool: Count = Field(4, ge=1)
    parents: Literal["merit", "pareto"] = "merit"
    merit_power: float = Field(1.0, ge=0, le=100)
    cost_power: float = Field(0.5, ge=0, le=100)
    n_stuck: Count = Field(30, ge=1)
    alpha: float = Field(0.1, gt=0, lt=1)


def parent_odds(
    merits: Sequence[float], costs: Sequence[Sequence[float]], merit_power: float, cost_power: float
) -> np.ndarray:
    """Return the probability of each pool member to become the parent.

    ``p_i ∝ (1 + m_i)^-merit_power · Π_j (1 + c_ij)^-(cost_power / k)`` with m_i the rank by merit (0 = best) and c_ij
    the rank by the j-th of k costs (0 = cheapest). Equal values have equal ranks.

    Example: merits 0.5, 0.4 and costs 20, 10 with powers 1 and 0.5 weigh 1 · 2^-0.5 = 0.707 and 0.5 · 1 = 0.5, so the
    probabilities are 0.586 and 0.414.

    Args:
        merits: higher is better.
        costs: k lists, a value per member; lower is better, and infinity what is unknown.
        merit_power: 0 ignores merit.
        cost_power: 0 ignores cost.
    """
    merit_ranks = np.array([sum(other > merit for other in merits) for merit in merits], dtype=float)
    weights = (1 + merit_ranks) ** -merit_power
    for values in costs:
        cost_ranks = np.array([sum(other < value for other in values) for value in values], dtype=float)
        weights *= (1 + cost_ranks) ** -(cost_power / len(costs))
    odds: np.ndarray = weights / weights.sum()
    return odds


class Pool:
    """The best candidates so far, as parents.

    Args:
        settings: how many, and their odds.
    """

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings

    def drawings(self, archive: Archive, rng: np.random.Generator) -> Iterator[Callable[[], Candidate]]:
        """Yield what draws a parent by ``parent_odds``: from the pool, then from pools twice as large each.

        A wider pool is for a search whose best candidates have no untried child left. There is none where children
        inherit their parents' weights, since those of members alone are kept; and nothing is drawn where nothing has a
        merit yet.
        """
        size, found = self._settings.pool, 0
        while found < len(members := self._members(archive, size)):
            yield self._drawing(archive, members, rng)
            if archive.inherit == "parent":
                return
            size, found = 2 * size, len(members)

    def _drawing(
        self, archive: Archive, members: Sequence[Candidate], rng: np.random.Generator
    ) -> Callable[[], Candidate]:
        odds = parent_odds(
            [archive.merit(candidate) or 0.0 for candidate in members],
            [
                [math.inf if (cost := archive.weighed(one, tradeoff.name)) is None else cost for one in members]
                for tradeoff in archive.tradeoffs
            ],
            self._settings.merit_power,
            self._settings.cost_power,
        )
        weights = odds.tolist()
        return lambda: members[draw_index(weights, rng)]

    def stuck(self, archive: Archive, *, as_members: bool = False) -> str | None:
        """Say so after ``n_stuck`` children in a row of which none was progress.

        Args:
            archive: of the search.
            as_members: whether a child must have been one of the best ``pool`` when it came to be progress; for
                strategies whose parents are not all of the pool.
        """
        pool = self._settings.pool if as_members else None
        return why_stuck(archive, self._settings.n_stuck, self._settings.alpha, pool=pool)

    def may_use(self, archive: Archive) -> frozenset[int]:
        """Only members become parents whose weights are asked for."""
        return frozenset(candidate.id for candidate in self._members(archive, self._settings.pool))

    def _members(self, archive: Archive, size: int) -> tuple[Candidate, ...]:
        if self._settings.parents == "pareto":
            return archive.nearest_to_front(size)
        return archive.best(size)
