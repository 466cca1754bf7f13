"""The serial phase of SP-NAS: Swap–Expand over one sequence of residual blocks.

Jiang et al., "SP-NAS: Serial-to-Parallel Backbone Search for Object Detection", CVPR 2020.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from spnas_core.morphisms import Rewrite
from spnas_core.space import SearchSpace
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Proposal
from spnas_search.strategies.mutation import DEFAULT_ODDS, Odds, draw_rewrite, draw_round, weighted_morphisms
from spnas_search.strategies.progress import why_stuck

COST = "multiply_adds"


class SerialSettings(BaseModel):
    """The ``[strategy]`` table of a serial search.

    Attributes:
        name: the strategy's name.
        round: children per round; a round sees only what earlier rounds have found.
        epochs: that a child is trained after inheriting.
        swap_epochs: the same where a swap is among its morphisms; 0 means as many as ``epochs``.
        pool: how many of the best candidates may become parents.
        merit_power: how steeply a parent's odds fall with its rank by merit.
        cost_power: how steeply they fall with its rank by multiply-adds.
        max_mutations: most morphisms in one child.
        max_step: most blocks by which a swap moves a border.
        odds: relative weight of each morphism; what a table of one's own does not name is never drawn, while
            ``--set strategy.odds.swap=2`` changes this one.
        n_stuck: the search ends after this many children in a row without progress.
        alpha: probability, at most, that among so many children without any effect one passes for progress.
        max_redraws: tries to find a new architecture before the strategy says that it is exhausted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["serial"] = "serial"
    round: int = Field(2, ge=1)
    epochs: int = Field(4, ge=1)
    swap_epochs: int = Field(0, ge=0)
    pool: int = Field(4, ge=1)
    merit_power: float = Field(1.0, ge=0)
    cost_power: float = Field(0.5, ge=0)
    max_mutations: int = Field(1, ge=1)
    max_step: int = Field(2, ge=1)
    odds: dict[str, Odds] = Field(default=DEFAULT_ODDS, min_length=1)
    n_stuck: int = Field(30, ge=1)
    alpha: float = Field(0.1, gt=0, lt=1)
    max_redraws: int = Field(500, ge=1)


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
        self._odds = weighted_morphisms(settings.odds, settings.max_step)

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

        drawn = draw_round(
            self.settings.round,
            lambda: pool[rng.choice(len(pool), p=odds)],
            lambda architecture: draw_rewrite(architecture, self._odds, self.settings.max_mutations, rng),
            archive,
            self.space,
            self.settings.max_redraws,
        )
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
