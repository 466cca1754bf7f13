"""One draw among a few, by weights."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np


def draw_index(weights: Sequence[float], rng: np.random.Generator) -> int:
    """Return index i with probability ``weights[i] / Σ weights``.

    The draws are those of ``rng.choice(len(weights), p=weights / sum(weights))``, without its arrays.

    Args:
        weights: none negative, one at least above zero.
        rng: source of chance.
    """
    sums = list(accumulate(weights))
    return bisect_right(sums, rng.random() * sums[-1], hi=len(sums) - 1)
