"""The serial phase of SP-NAS: Swap–Expand over one sequence of residual blocks.

Jiang et al., "SP-NAS: Serial-to-Parallel Backbone Search for Object Detection", CVPR 2020.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from spnas_core.morphisms import Rewrite
from spnas_core.space import SearchSpace
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Proposal
from spnas_search.strategies.mutation import MutationSettings, Mutator
from spnas_search.strategies.progress import why_stuck

COST = "multiply_adds"


class SerialSettings(MutationSettings):
    """The ``[strategy]`` table of a serial search; see ``MutationSettings`` for the rest of it.

    Attributes:
        name: the strategy's name.
        swap_epochs: epochs of a child with a swap among its morphisms; 0 means as many as ``epochs``.
        pool: how many of the best candidates may become parents.
        merit_power: how steeply a parent's odds fall with its rank by merit.
        cost_power: how steeply they fall with its rank by multiply-adds.
        n_stuck: the search ends after this many children in a row without progress.
        alpha: probability, at most, that among so many children without any effect one passes for progress.
    """

    name: Literal["serial"] = "serial"
    swap_epochs: int = Field(0, ge=0)
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


class Serial:
    """Mutates the best candidates so far by swap, expand and add stage.

    Args:
        settings: the ``[strategy]`` table.
        space: bounds of the search.

    Raises:
        PluginError: the odds name an unknown morphism.
        ConfigError: all odds are zero.
    """

    def __init__(self, settings: SerialSettings, space: SearchSpace) -> None:
        self.settings = settings
        self.space = space
        self._mutator = Mutator(settings, space)

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Draw parents from the best ``pool`` candidates and mutate them."""
        pool = archive.best(self.settings.pool)
        if not pool:
            return []
        odds = parent_odds(
            [archive.merit(candidate) or 0.0 for candidate in pool],
            [candidate.cost.get(COST, 0.0) for candidate in pool],
            self.settings.merit_power,
            self.settings.cost_power,
        )
        drawn = self._mutator.children(self.settings.round, lambda: pool[rng.choice(len(pool), p=odds)], archive, rng)
        return [Proposal("child", parent.id, rewrite, Fidelity(self._epochs(rewrite))) for parent, rewrite in drawn]

    def _epochs(self, rewrite: Rewrite) -> int:
        swaps = any(step.morphism == "swap" for step in rewrite.steps)
        return self.settings.swap_epochs if swaps and self.settings.swap_epochs else self.settings.epochs

    def stuck(self, archive: Archive) -> str | None:
        """Say so after ``n_stuck`` children in a row of which none was progress."""
        return why_stuck(archive, self.settings.n_stuck, self.settings.alpha)

    def may_use(self, archive: Archive) -> frozenset[int]:
        """The pool: only its members become parents."""
        return frozenset(candidate.id for candidate in archive.best(self.settings.pool))
