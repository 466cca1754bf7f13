"""Learning curves: what a score owes to the age of the weights, per setting of the training."""

import math
from dataclasses import dataclass

import numpy as np

from spnas_search.ranking._base import Floats, Integers

MAX_KNOTS = 8
"""A curve of more ages than these is a polygon through some of them."""
INCREMENT_DEVIATION = math.inf
"""Prior standard deviation of a curve's increment from one knot to the next, in units of the noise: a flat prior. A
wide one counts each increment as a degree of freedom, and so makes the noise, and all errors, too small."""


@dataclass(frozen=True, eq=False)
class CurveDesign:
    """Regression columns of all learning curves.

    Attributes:
        columns: [m, b]; each group's level, then its increments from knot to knot.
        precisions: [b] of the columns' priors, in units of 1 / noise variance; 0 where the prior is flat.
        firsts: [m] row of the first score of the same group.
    """

    columns: Floats
    precisions: Floats
    firsts: Integers


def curve_design(ages: Floats, groups: Integers) -> CurveDesign:
    """Return the columns of one piecewise linear curve per group.

    A curve is ``b(age) = level + Σ_j increment_j · h_j(age)``, where ``h_j`` rises linearly from 0 at knot j to 1 at
    knot j + 1. The priors of its level and increments are flat.

    Args:
        ages: [m] of the scores.
        groups: [m] of the scores.

    There must be one score or more.
    """
    size = len(ages)
    blocks, precisions = [], []
    firsts = np.zeros(size, np.int64)
    for number in np.unique(groups):
        rows = np.flatnonzero(groups == number)
        firsts[rows] = rows[0]
        knots = choose_knots(ages[rows])
        block = np.zeros((size, len(knots)))
        block[rows, 0] = 1
        rise = (ages[rows, None] - knots[:-1]) / np.diff(knots)
        block[rows, 1:] = np.clip(rise, 0, 1)
        blocks.append(block)
        precisions += [0.0] + [1 / INCREMENT_DEVIATION**2] * (len(knots) - 1)
    return CurveDesign(np.concatenate(blocks, axis=1), np.array(precisions), firsts)


def choose_knots(ages: Floats) -> Floats:
    """Return the distinct ages, or eight of them at evenly spread ranks, the first and the last included."""
    distinct = np.unique(ages)
    if len(distinct) <= MAX_KNOTS:
        return distinct
    return distinct[np.rint(np.linspace(0, len(distinct) - 1, MAX_KNOTS)).astype(np.int64)]
