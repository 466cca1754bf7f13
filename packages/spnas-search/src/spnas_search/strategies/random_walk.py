"""The simplest strategy: mutate any earlier candidate, whatever it scored. The baseline of every comparison."""

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from spnas_core.morphisms import morphisms
from spnas_core.space import SearchSpace
from spnas_search.archive import Archive, Proposal
from spnas_search.strategies.mutation import draw_rewrite, draw_round


class RandomSettings(BaseModel):
    """The ``[strategy]`` table of a random search.

    Attributes:
        name: the strategy's name.
        round: children per round.
        epochs: that a child is trained after inheriting.
        max_mutations: most morphisms in one child.
        max_redraws: tries to find a new architecture before the strategy says that it is exhausted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["random"] = "random"
    round: int = Field(2, ge=1)
    epochs: int = Field(3, ge=1)
    max_mutations: int = Field(2, ge=1)
    max_redraws: int = Field(500, ge=1)


class RandomWalk:
    """Draws parent and morphisms uniformly.

    Args:
        settings: the ``[strategy]`` table.
        space: bounds of the search.
    """

    def __init__(self, settings: RandomSettings, space: SearchSpace) -> None:
        self.settings = settings
        self.space = space
        self._odds = dict.fromkeys(morphisms().values(), 1.0)

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Mutate candidates that have a merit, each as likely as the other."""
        parents = archive.best(len(archive))

        drawn = draw_round(
            self.settings.round if parents else 0,
            lambda: parents[int(rng.integers(len(parents)))],
            lambda architecture: draw_rewrite(architecture, self._odds, self.settings.max_mutations, rng),
            archive,
            self.space,
            self.settings.max_redraws,
        )
        return [Proposal("child", parent.id, rewrite, self.settings.epochs) for parent, rewrite in drawn]

    def stuck(self, archive: Archive) -> str | None:
        """Never: chance has no memory."""
        return None

    def may_use(self, archive: Archive) -> frozenset[int]:
        """Everything that has a merit."""
        return frozenset(candidate.id for candidate in archive.best(len(archive)))
