"""Numbers that describe architectures, so that a score says something of every architecture that is alike."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spnas_core.encoding import Architecture


class Traits:
    """Traits of architectures, of which there become ever more: each is looked at once.

    With S the most stages that any of them has, these are the blocks of each of S stages, those of all together, how
    often the channels have doubled by the first block of each stage but the last, and the binary logarithm of the cost.
    Which traits predict best what is not trained yet is measured by ``benchmarks/screens.py``.
    """

    def __init__(self) -> None:
        self._count = 0
        self._blocks = np.zeros((0, 0))
        self._doublings = np.zeros((0, 0))

    def __len__(self) -> int:
        return self._count

    @property
    def stages(self) -> int:
        """The most that any architecture has."""
        return int(self._blocks.shape[1])

    def stages_of(self, row: int) -> int:
        """How many stages an architecture has."""
        return int(np.count_nonzero(self._blocks[row]))

    def append(self, architecture: Architecture) -> None:
        """Add an architecture."""
        stages = architecture.stages
        if self._count == len(self._blocks):
            self._blocks, self._doublings = (
                np.concatenate((known, np.zeros((max(64, self._count), self.stages))))
                for known in (self._blocks, self._doublings)
            )
        if (more := len(stages) - self.stages) > 0:
            self._blocks, self._doublings = _wider(self._blocks, self._doublings, more)
        row = self._count
        before = np.cumsum([0, *(stage.count("2") for stage in stages[:-1])])
        doublings = before + [stage[0] == "2" for stage in stages]
        self._blocks[row, : len(stages)] = [len(stage) for stage in stages]
        self._doublings[row, : len(stages)] = doublings
        self._doublings[row, len(stages) :] = doublings[-1]
        self._count += 1

    def rows(self, costs: Sequence[float] | NDArray[np.float64], stages: int = 0) -> NDArray[np.float64]:
        """Return the traits, a row for each architecture.

        Args:
            costs: of each, above 0; the unit does not matter.
            stages: S, where others have more than any of these, or only some of these count; 0 for the most of these.

        Returns:
            float64[n, 2 S + 1].
        """
        blocks, doublings = (known[: self._count] for known in (self._blocks, self._doublings))
        whole = blocks.sum(axis=1)
        if (more := (stages or self.stages) - self.stages) > 0:
            blocks, doublings = _wider(blocks, doublings, more)
        elif more < 0:
            blocks, doublings = blocks[:, :stages], doublings[:, :stages]
        return np.column_stack((blocks, whole, doublings[:, :-1], np.log2(np.asarray(costs, dtype=np.float64))))


def _wider(blocks: NDArray[np.float64], doublings: NDArray[np.float64], more: int) -> tuple[NDArray[np.float64], ...]:
    """Add stages that no architecture has: without blocks, and as wide as the last one begins."""
    padding = ((0, 0), (0, more))
    return np.pad(blocks, padding), np.pad(doublings, padding, mode="edge" if doublings.size else "constant")
