"""The serial phase of SP-NAS: Swap–Expand–Reignite over one sequence of residual blocks.

Jiang et al., "SP-NAS: Serial-to-Parallel Backbone Search for Object Detection", CVPR 2020.
"""

from dataclasses import replace
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from spnas_core.configuration import Count
from spnas_core.encoding import Architecture
from spnas_core.morphisms import Rewrite
from spnas_core.space import SearchSpace
from spnas_core.tasks import Fidelity
from spnas_search.archive import HEIRLESS, Archive, Candidate, Inherit, Proposal
from spnas_search.strategies.mutation import Mutations, MutationSettings, Mutator
from spnas_search.strategies.pool import Pool, PoolSettings
from spnas_search.strategies.reignition import Reignition, ReignitionSettings
from spnas_search.strategies.sampling import draw_samples, reaches_samples

EXPLORED = 0.5
"""Share of what is drawn that comes from the whole space, by default, where nothing is inherited."""


class SerialSettings(PoolSettings, MutationSettings):
    """The ``[strategy]`` table of a serial search; see ``MutationSettings`` and ``PoolSettings`` for the rest of it.

    Attributes:
        name: the strategy's name.
        swap_epochs: epochs of a child with a swap among its morphisms; 0 means as many as ``epochs``.
        max_mutations: most morphisms in one child, applied one after the other.
        explore: probability that what is drawn comes from the whole space, as in random search, and not by mutating one
            of the pool; it inherits from the start. ``auto`` is 0.5 where children begin with fresh weights or are
            parts of a supernet, and 0 where they inherit, since what is far from the start has not recovered when it is
            scored. How many of the children do, the screen decides. Such samples keep
            to the morphisms in ``odds``: without ``add-stage`` they have the start's stages, and without ``swap`` or
            ``expand`` there are none. With ``space.sampling = "any"`` they are any codes inside the bounds.
        reignition: what happens when the search is stuck.
    """

    name: Literal["serial"] = "serial"
    swap_epochs: Count = Field(0, ge=0)
    max_mutations: Mutations = 3
    explore: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = "auto"
    reignition: ReignitionSettings = ReignitionSettings()


class Serial:
    """Mutates the best candidates so far by swap, expand and add stage, and reignites the best when that is stuck.

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
        self._pool = Pool(settings)
        self._reignition = Reignition(settings.reignition, settings.epochs)

    @property
    def reignites(self) -> bool:
        """Whether there may be reignitions."""
        return self.settings.reignition.most > 0

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Draw parents from the best ``pool`` candidates and mutate them; reignite the best where that is stuck.

        Where these have no untried child left, and children do not inherit their weights, the pool is doubled. After a
        reignition the first children are its own, as long as it has untried ones, and a round has no others.
        """
        if self._reignition.is_left(archive) and self._pool_stuck(archive) is not None:
            return self._reignition.propose(archive)
        reignited = self._reignition.parent(archive)
        if reignited is None:
            drawn = self._explored(archive, rng)
        else:
            heirs = min(self.settings.round, self._reignition.heirs_left(archive))
            drawn = self._mutator.children(heirs, lambda: reignited, archive, rng)
        if (wanted := self.settings.round - len(drawn)) and not (reignited is not None and drawn):
            taken = [rewrite.child for _, rewrite in drawn]
            drawings = self._pool.drawings(archive, rng)
            rounds = (self._mutator.children(wanted, drawing, archive, rng, taken) for drawing in drawings)
            drawn += next(filter(None, rounds), [])
        if not drawn and reignited is None and self._explores(archive.inherit):
            # No neighbour of the best is new, and by chance nothing was sampled: nothing proposed means nothing left.
            drawn = self._samples(archive, 1, rng)
        return [Proposal("child", parent.id, rewrite, Fidelity(self._epochs(rewrite))) for parent, rewrite in drawn]

    def reaches(self, start: Architecture, inherit: Inherit) -> bool:
        """Whether some draws find a child of the start inside the space; see ``Strategy``."""
        if self._mutator.reaches(start):
            return True
        space = self._sampled(start, inherit)
        return self._explores(inherit) and reaches_samples(start, space, self.settings.max_redraws, inherit)

    def _pool_stuck(self, archive: Archive) -> str | None:
        return self._pool.stuck(archive, as_members=self._explores(archive.inherit))

    def _explores(self, inherit: Inherit) -> bool:
        """Whether some children are drawn from the whole space."""
        return self._share(inherit) > 0 and (self._draws_all(inherit) or {"swap", "expand"} <= self._named)

    def _draws_all(self, inherit: Inherit) -> bool:
        """Whether samples are what they are whatever the odds: parts of a supernet, and any codes inside the bounds."""
        return inherit == "supernet" or self.space.sampling == "any"

    def _share(self, inherit: Inherit) -> float:
        if self.settings.explore != "auto":
            return self.settings.explore
        return EXPLORED if inherit in HEIRLESS else 0.0

    @cached_property
    def _named(self) -> set[str]:
        return {name for name, weight in self.settings.odds.items() if weight > 0}

    def _explored(self, archive: Archive, rng: np.random.Generator) -> list[tuple[Candidate, Rewrite]]:
        if not self._explores(archive.inherit):
            return []
        return self._samples(archive, int(rng.binomial(self.settings.round, self._share(archive.inherit))), rng)

    def _samples(self, archive: Archive, count: int, rng: np.random.Generator) -> list[tuple[Candidate, Rewrite]]:
        space = self._sampled(archive.start.architecture, archive.inherit)
        samples = draw_samples(count, archive, space, self.settings.max_redraws, rng)
        return [(archive.start, rewrite) for rewrite in samples]

    def _sampled(self, start: Architecture, inherit: Inherit) -> SearchSpace:
        """What is sampled: the whole space, but for stages that the odds add none of."""
        if self._draws_all(inherit) or "add-stage" in self._named:
            return self.space
        return replace(self.space, max_stages=min(self.space.max_stages, len(start.stages)))

    def _epochs(self, rewrite: Rewrite) -> int:
        swaps = any(step.morphism == "swap" for step in rewrite.steps)
        return self.settings.swap_epochs if swaps and self.settings.swap_epochs else self.settings.epochs

    def stuck(self, archive: Archive) -> str | None:
        """Say so after ``n_stuck`` children in a row of which none was progress, once no reignition is left.

        Where some explore, a child must have been one of the best ``pool`` when it came to be progress: the start, from
        which they inherit, is soon beaten by many.
        """
        return None if self._reignition.is_left(archive) else self._pool_stuck(archive)

    def may_use(self, archive: Archive) -> frozenset[int]:
        """The pool, the last reignition, and the start where some explore: only these become parents."""
        starts = {archive.start.id} if self._explores(archive.inherit) and archive.start.status == "done" else set()
        return self._pool.may_use(archive) | self._reignition.may_use(archive) | starts
