"""The parallel phase of SP-NAS: rows beside the stages of a serial network.

Jiang et al., "SP-NAS: Serial-to-Parallel Backbone Search for Object Detection", CVPR 2020.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from spnas_core.configuration import Count, Few
from spnas_core.cost import backbone_cost, row_costs
from spnas_core.encoding import Architecture
from spnas_core.morphisms import AddRow, Rewrite, identity
from spnas_core.space import SearchSpace
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Candidate, Proposal
from spnas_search.strategies.mutation import draw_round
from spnas_search.strategies.pool import Pool, PoolSettings
from spnas_search.strategies.reignition import Reignition


class ParallelSettings(PoolSettings):
    """The ``[strategy]`` table of a parallel search; see ``PoolSettings`` for the rest of it.

    Attributes:
        name: the strategy's name.
        round: children per round; a round sees only what earlier rounds have found.
        epochs: that a child is trained after inheriting.
        most_rows: a child gets 1 … so many more rows than its parent, their number uniform.
        shares: whether rows share the main path's weights; only where the start has no rows that say so already.
        max_redraws: tries to find a new architecture before the strategy says that it is exhausted.
    """

    name: Literal["parallel"] = "parallel"
    round: Few = Field(2, ge=1)
    epochs: Count = Field(4, ge=1)
    most_rows: Few = Field(2, ge=1)
    shares: bool = False
    max_redraws: Count = Field(500, ge=1)


def row_odds(architecture: Architecture, space: SearchSpace, *, shares: bool = False) -> np.ndarray:
    """Return the probability of each stage to get the next row.

    ``p_i ∝ 1 / Δ_i`` with Δ_i the multiply-adds of one more row beside stage i, its fusion included; zero where that
    would leave the space, by ``max_rows`` or by a bound on cost.

    Args:
        architecture: that gets the row.
        space: its bounds, and the image size at which costs are counted.
        shares: whether first rows share the main path's weights.

    Returns:
        One number per stage; all zero where no row can be added.
    """
    size = space.image_size
    before = backbone_cost(architecture, *size).multiply_adds
    weights = np.array([1 / (cost.multiply_adds - before) for cost in row_costs(architecture, *size)])
    weights *= [option.child in space for option in AddRow(shares).options(architecture)]
    return weights / weights.sum() if weights.any() else weights


class Parallel:
    """Adds rows to the best candidates so far, cheap ones more often.

    A child has m ~ U{1 … most_rows} more rows than its parent, each drawn by ``row_odds`` of what the earlier ones have
    made; fewer where no further row is inside the space. Bounds that are measured are asked of the whole child alone.
    Parents are the start (or the serial winner) and whatever parallel candidates are among the best.

    Args:
        settings: the ``[strategy]`` table.
        space: bounds of the search.
        reignition: whose candidate is the parent of the first children, as long as rows can be added to it; None for
            none.
    """

    def __init__(self, settings: ParallelSettings, space: SearchSpace, reignition: Reignition | None = None) -> None:
        self.settings = settings
        self.space = space
        self._quick = space.quick
        self._pool = Pool(settings)
        self._reignition = reignition

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Draw parents from the best ``pool`` candidates and add rows to them; first of all to what was reignited."""
        drawn = self._heirs(archive, rng)
        if not drawn:  # a round of heirs has no others, of which a screen might prefer some
            drawings = self._pool.drawings(archive, rng)
            rounds = (self._children(self.settings.round, drawing, archive, rng) for drawing in drawings)
            drawn = next(filter(None, rounds), [])
        return [Proposal("child", parent.id, rewrite, Fidelity(self.settings.epochs)) for parent, rewrite in drawn]

    def _heirs(self, archive: Archive, rng: np.random.Generator) -> list[tuple[Candidate, Rewrite]]:
        """Draw children of what was reignited last, while the next ones are to be its own."""
        if self._reignition is None or (reignited := self._reignition.parent(archive)) is None:
            return []
        heirs = min(self.settings.round, self._reignition.heirs_left(archive))
        return self._children(heirs, lambda: reignited, archive, rng)

    def _children(
        self,
        count: int,
        draw_parent: Callable[[], Candidate],
        archive: Archive,
        rng: np.random.Generator,
    ) -> list[tuple[Candidate, Rewrite]]:
        mutate = partial(self.add_rows, rng=rng)
        return draw_round(count, draw_parent, mutate, archive, self.space, self.settings.max_redraws)

    def add_rows(self, architecture: Architecture, rng: np.random.Generator) -> Rewrite:
        """Draw a child; the identity where no row can be added."""
        rewrite = identity(architecture)
        morphism = AddRow(self.settings.shares)
        for _ in range(int(rng.integers(1, self.settings.most_rows + 1))):
            odds = row_odds(rewrite.child, self._quick, shares=self.settings.shares)
            if not odds.any():
                break
            rewrite = rewrite.then(morphism.options(rewrite.child)[int(rng.choice(len(odds), p=odds))])
        return rewrite

    def stuck(self, archive: Archive) -> str | None:
        """Say so after ``n_stuck`` children in a row of which none was progress."""
        return self._pool.stuck(archive)

    def may_use(self, archive: Archive) -> frozenset[int]:
        """The pool, and what was reignited last where children descend from that: only these become parents."""
        reignited = frozenset() if self._reignition is None else self._reignition.may_use(archive)
        return self._pool.may_use(archive) | reignited
