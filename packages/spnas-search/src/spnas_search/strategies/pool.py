"""Parents drawn from the best candidates so far, and when that leads nowhere."""

from collections.abc import Callable, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from spnas_search.archive import Archive, Candidate
from spnas_search.strategies.progress import why_stuck

COST = "multiply_adds"


class PoolSettings(BaseModel):
    """What the ``[strategy]`` tables of both phases have: how parents are drawn, and when a search is stuck.

    Attributes:
        pool: how many of the best candidates may become parents.
        merit_power: how steeply a parent's odds fall with its rank by merit.
        cost_power: how steeply they fall with its rank by multiply-adds.
        n_stuck: the search ends after this many children in a row without progress.
        alpha: probability, at most, that among so many children without any effect one passes for progress.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pool: int = Field(4, ge=1)
    merit_power: float = Field(1.0, ge=0)
    cost_power: float = Field(0.5, ge=0)
    n_stuck: int = Field(30, ge=1)
    alpha: float = Field(0.1, gt=0, lt=1)


def parent_odds(merits: Sequence[float], costs: Sequence[float], merit_power: float, cost_power: float) -> np.ndarray:
    """Return the probability of each pool member to become the parent.

    ``p_i ∝ (1 + m_i)^-merit_power · (1 + c_i)^-cost_power`` with m_i the rank by merit (0 = best) and c_i the rank by
    cost (0 = cheapest). Equal values have equal ranks.

    Example: merits 0.5, 0.4 and costs 20, 10 with powers 1 and 0.5 weigh 1 · 2^-0.5 = 0.707 and 0.5 · 1 = 0.5, so the
    probabilities are 0.586 and 0.414.

    Args:
        merits: higher is better.
        costs: lower is better.
        merit_power: 0 ignores merit.
        cost_power: 0 ignores cost.
    """
    merit_ranks = np.array([sum(other > merit for other in merits) for merit in merits], dtype=float)
    cost_ranks = np.array([sum(other < cost for other in costs) for cost in costs], dtype=float)
    weights = (1 + merit_ranks) ** -merit_power * (1 + cost_ranks) ** -cost_power
    odds: np.ndarray = weights / weights.sum()
    return odds


class Pool:
    """The best candidates so far, as parents.

    Args:
        settings: how many, and their odds.
    """

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings

    def drawing(self, archive: Archive, rng: np.random.Generator) -> Callable[[], Candidate] | None:
        """Return what draws a parent by ``parent_odds``; None where nothing has a merit yet."""
        members = archive.best(self._settings.pool)
        if not members:
            return None
        odds = parent_odds(
            [archive.merit(candidate) or 0.0 for candidate in members],
            [candidate.cost.get(COST, 0.0) for candidate in members],
            self._settings.merit_power,
            self._settings.cost_power,
        )
        return lambda: members[rng.choice(len(members), p=odds)]

    def stuck(self, archive: Archive) -> str | None:
        """Say so after ``n_stuck`` children in a row of which none was progress."""
        return why_stuck(archive, self._settings.n_stuck, self._settings.alpha)

    def may_use(self, archive: Archive) -> frozenset[int]:
        """Only members become parents."""
        return frozenset(candidate.id for candidate in archive.best(self._settings.pool))
