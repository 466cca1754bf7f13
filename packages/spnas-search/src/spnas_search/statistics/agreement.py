"""How well a search's own order agrees with another one, over several searches."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spnas_search.statistics.correlation import kendall
from spnas_search.statistics.intervals import Interval, mean_interval

PERMUTATIONS = 4000
"""Times that an order is drawn anew for a probability."""


_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """Kendall's τ_b, as a mean over groups of codes.

    Attributes:
        tau: mean and its 95 % interval over groups (Student's), each group's τ a value in -1…1.
        p_value: probability of a mean as high if one side's orders were drawn at random.
        codes: in all groups.
    """

    tau: Interval
    p_value: float
    codes: int


def mean_agreement(
    groups: Sequence[tuple[Sequence[float], Sequence[float]]], *, permutations: int = PERMUTATIONS, seed: int = 0
) -> Agreement | None:
    """Return how well two orders of the same codes agree on average over groups that were ordered by themselves.

    Scores of different searches cannot be compared with each other, so each search is a group. The probability is that
    of a permutation test: one side's scores change places within each group.

    Args:
        groups: of each two sequences of finite scores of the same codes; groups in which a side has no order (fewer
            than two codes, or all alike) do not count.
        permutations: of the test.
        seed: of the test.

    Returns:
        None where no group counts.
    """
    arrays = [(np.asarray(ones, float), np.asarray(others, float)) for ones, others in groups if len(ones) > 1]
    taus = [(pair, float(kendall(np.ones((1, len(pair[0]))), *pair)[0])) for pair in arrays]
    counted = [(pair, tau) for pair, tau in taus if math.isfinite(tau)]
    if not counted:
        return None
    tau = mean_interval([tau for _, tau in counted])
    rng = np.random.default_rng(seed)
    drawn = np.mean([_shuffled(ones, others, permutations, rng) for (ones, others), _ in counted], axis=0)
    p_value = (int((drawn >= tau.mean - 1e-12).sum()) + 1) / (permutations + 1)
    return Agreement(tau, p_value, sum(len(ones) for (ones, _), _ in counted))


def _shuffled(
    ones: _Floats,
    others: _Floats,
    permutations: int,
    rng: np.random.Generator,
) -> _Floats:
    """Return τ_b for so many random orders of one side."""
    first = np.sign(ones[:, None] - ones[None, :])
    second = np.sign(others[:, None] - others[None, :])
    places = rng.permuted(np.tile(np.arange(len(ones)), (permutations, 1)), axis=1)
    dealt = second[places[:, :, None], places[:, None, :]]  # [permutations, codes, codes]
    found: _Floats = (first * dealt).sum((1, 2)) / math.sqrt((first**2).sum() * (second**2).sum())
    return found
