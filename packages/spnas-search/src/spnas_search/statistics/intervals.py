"""Mean differences and their 95 % intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from scipy import special

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean with the interval that covers the true one in 95 of 100 repetitions.

    Attributes:
        mean: of the sample.
        low: NaN where nothing tells the interval.
        high: the same.
        count: values, or pairs of values, that it rests on.
    """

    mean: float
    low: float
    high: float
    count: int

    @property
    def is_known(self) -> bool:
        """Whether there is an interval: one value has none."""
        return math.isfinite(self.low)

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero; one without width rests on chance as little as none."""
        return not self.is_point and (self.low > 0 or self.high < 0)

    @property
    def is_point(self) -> bool:
        """Whether all values are the same, but for rounding: then they say nothing of what chance does."""
        return self.is_known and math.isclose(self.low, self.high, rel_tol=1e-9, abs_tol=1e-12)


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of independent, normally distributed values with Student's interval.

    ``mean ± t(0.975, n - 1) · s / √n``: for differences of pairs this is the paired t interval.

    Args:
        values: one or more.
    """
    count, mean = len(values), fmean(values)
    if count < 2:
        return Interval(mean, math.nan, math.nan, count)
    half = float(special.stdtrit(count - 1, (1 + LEVEL) / 2)) * math.sqrt(variance(values) / count)
    return Interval(mean, mean - half, mean + half, count)


def difference_interval(ones: Sequence[float], others: Sequence[float]) -> Interval:
    """Return the difference of two means, ``ones`` above ``others``, with Welch's interval.

    Welch, "The generalization of Student's problem when several different population variances are involved",
    Biometrika 1947.

    Args:
        ones: independent values, one or more.
        others: the same.
    """
    difference = fmean(ones) - fmean(others)
    count = min(len(ones), len(others))
    if count < 2:
        return Interval(difference, math.nan, math.nan, count)
    parts = [variance(values) / len(values) for values in (ones, others)]
    if not sum(parts):
        return Interval(difference, difference, difference, count)
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (ones, others), strict=True)
    )
    half = float(special.stdtrit(freedom, (1 + LEVEL) / 2)) * math.sqrt(sum(parts))
    return Interval(difference, difference - half, difference + half, count)
