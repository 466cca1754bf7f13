"""Numbers that describe architectures, so that a score says something of every architecture that is alike."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spnas_core.encoding import Architecture


def traits_of(architectures: Sequence[Architecture], costs: Sequence[float]) -> NDArray[np.float64]:
    """Return the traits of architectures, a row for each.

    With S the most stages that any of them has: the blocks of each of S stages; how often the channels have doubled by
    the end of each stage but the last; the binary logarithm of the cost.

    Args:
        architectures: n of them.
        costs: of each, above 0; the unit does not matter.

    Returns:
        float64[n, 2 S].
    """
    most = max(len(architecture.stages) for architecture in architectures)
    rows = np.zeros((len(architectures), 2 * most))
    for row, architecture in zip(rows, architectures, strict=True):
        stages = architecture.stages
        row[: len(stages)] = [len(stage) for stage in stages]
        doublings = np.cumsum([stage.count("2") for stage in stages])
        row[most : 2 * most - 1] = [doublings[min(stage, len(stages) - 1)] for stage in range(most - 1)]
    rows[:, -1] = np.log2(costs)
    return rows
