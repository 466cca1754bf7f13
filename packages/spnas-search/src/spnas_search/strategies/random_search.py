"""Random search: codes drawn from the whole space, whatever has been found. The baseline of every comparison.

Li & Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019.
"""

from typing import Literal

import numpy as np
from pydantic import Field

from spnas_core.configuration import Count, Few, Table
from spnas_core.encoding import Architecture
from spnas_core.space import SearchSpace
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Inherit, Proposal
from spnas_search.strategies.sampling import draw_samples, reaches_samples


class RandomSettings(Table):
    """The ``[strategy]`` table of a random search.

    Attributes:
        name: the strategy's name.
        round: children per round.
        epochs: that a child is trained after inheriting; 0 scores what it inherits.
        max_redraws: tries to find a new architecture inside the space before the strategy says that it is exhausted.
    """

    name: Literal["random"] = "random"
    round: Few = Field(2, ge=1)
    epochs: Count = Field(4, ge=0)
    max_redraws: Count = Field(2000, ge=1)


class RandomSearch:
    """Rewrites the start to codes drawn from the whole space.

    Their odds are those of ``Sampler``, or of ``AnySampler`` where the space wants any code drawn.

    Every child inherits from the start, so all are equally old, and none depends on what another scored.

    Args:
        settings: the ``[strategy]`` table.
        space: bounds of the search.
    """

    def __init__(self, settings: RandomSettings, space: SearchSpace) -> None:
        self.settings = settings
        self.space = space

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Draw new codes; none where the start has failed."""
        samples = draw_samples(self.settings.round, archive, self.space, self.settings.max_redraws, rng)
        fidelity = Fidelity(self.settings.epochs)
        return [Proposal("child", archive.start.id, rewrite, fidelity) for rewrite in samples]

    def reaches(self, start: Architecture, inherit: Inherit) -> bool:
        """Whether some draws find a child of the start inside the space; see ``Strategy``."""
        return reaches_samples(start, self.space, self.settings.max_redraws, inherit)

    def stuck(self, archive: Archive) -> str | None:
        """Never: chance has no memory."""
        return None

    def may_use(self, archive: Archive) -> frozenset[int]:
        """The start."""
        return frozenset({archive.start.id} if archive.start.status == "done" else ())
