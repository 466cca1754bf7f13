"""How far two distributions of scores are apart, with and without what complexity explains."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PERMUTATIONS = 2000
"""Times that scores are dealt out again for a probability."""

BINS = 10
"""Parts of equal width, in the logarithm of the complexity, that are weighed alike."""

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Gap:
    """How far two distributions are apart.

    Attributes:
        distance: Kolmogorov and Smirnov's D, the largest difference between the two distribution functions, in 0…1.
        p_value: probability of a distance as large if both samples came from one distribution.
        counts: scores of each side that it rests on.
    """

    distance: float
    p_value: float
    counts: tuple[int, int]


def complexity_weights(complexities: Sequence[Sequence[float]], bins: int = BINS) -> list[_Floats]:
    """Return weights by which all samples have one distribution of complexity.

    The range of complexities that all samples share is cut into parts of equal width on a logarithmic scale. Each part
    in which every sample has members has the same share of each sample's weight, spread evenly over its members there;
    whatever lies elsewhere has the weight 0. Radosavovic et al., "On Network Design Spaces for Visual Recognition",
    ICCV 2019, section 3.3.

    Args:
        complexities: of the members of each sample, all positive; one member or more.
        bins: parts, 1 or more.

    Returns:
        Weights of each sample's members, in order. They sum to 1, or to 0 where no part has members of every sample.

    Example: the complexities 1, 2, 4 and 2, 2, 4 with two parts share 2…4: the first sample has the weights 0, ½, ½ and
    the second ¼, ¼, ½.
    """
    logs = [np.log(np.asarray(sample, float)) for sample in complexities]
    low, high = max(sample.min() for sample in logs), min(sample.max() for sample in logs)
    width = (high - low) / bins
    places = [_places(sample, low, high, width, bins) for sample in logs]
    counts = np.array([np.bincount(place[place >= 0], minlength=bins) for place in places])
    shared = (counts > 0).all(axis=0)
    weights = []
    for place, count in zip(places, counts, strict=True):
        of_bin = np.where(shared, 1 / np.maximum(count, 1), 0) / max(1, shared.sum())
        weights.append(np.where(place >= 0, of_bin[place], 0.0))
    return weights


def _places(logs: _Floats, low: float, high: float, width: float, bins: int) -> NDArray[np.int64]:
    """Return the part in which each member lies, -1 outside of all; the upper end belongs to the last one."""
    if width <= 0:
        return np.where(logs == low, 0, -1) if low == high else np.full(len(logs), -1)
    found = np.minimum(((logs - low) / width).astype(int), bins - 1)
    return np.where((logs >= low) & (logs <= high), found, -1)


def gap(
    ones: Sequence[float],
    others: Sequence[float],
    complexities: tuple[Sequence[float], Sequence[float]] | None = None,
    *,
    bins: int = BINS,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Gap | None:
    """Return how far two samples of scores are apart, with a permutation test.

    Where complexities are given, members are weighed by ``complexity_weights``, and the test deals scores out again
    among members of like complexity alone: what complexity explains is then no difference.

    Args:
        ones: finite scores, one or more.
        others: the same.
        complexities: of the members of both, in order.
        bins: parts of the complexities' common range.
        permutations: of the test; its probability is at least 1 / (permutations + 1).
        seed: of the test; the same seed gives the same probability.

    Returns:
        None where the samples have no complexity in common.
    """
    scores = np.concatenate([np.asarray(ones, float), np.asarray(others, float)])
    is_one = np.arange(len(scores)) < len(ones)
    if complexities is None:
        weights = np.where(is_one, 1 / len(ones), 1 / len(others))
        groups = [np.arange(len(scores))]
    else:
        weights = np.concatenate(complexity_weights(complexities, bins))
        if not weights.any():
            return None
        groups = _groups(complexities, bins)
    order = np.argsort(scores, kind="stable")
    last = np.append(np.diff(scores[order]) > 0, True)  # equal scores count together
    signed = np.where(is_one, weights, -weights)

    def distance(of_members: _Floats) -> float:
        return float(np.abs(np.cumsum(of_members[order])[last]).max())

    found = distance(signed)
    rng = np.random.default_rng(seed)
    as_far = 0
    for _ in range(permutations):
        dealt = signed.copy()
        for group in groups:
            dealt[group] = signed[rng.permutation(group)]
        as_far += distance(dealt) >= found - 1e-12
    counts = int((weights[is_one] > 0).sum()), int((weights[~is_one] > 0).sum())
    return Gap(found, (as_far + 1) / (permutations + 1), counts)


def _groups(complexities: tuple[Sequence[float], Sequence[float]], bins: int) -> list[NDArray[np.int64]]:
    """Return members of like complexity, of both samples together."""
    logs = np.log(np.concatenate([np.asarray(sample, float) for sample in complexities]))
    count = len(complexities[0])
    low, high = max(logs[:count].min(), logs[count:].min()), min(logs[:count].max(), logs[count:].max())
    places = _places(logs, low, high, (high - low) / bins, bins)
    return [np.flatnonzero(places == place) for place in range(bins)]
