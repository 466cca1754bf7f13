"""Means with confidence intervals of few values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

ROUNDING = 1e-12
"""Half widths of intervals up to this are errors of rounding."""


@dataclass(frozen=True)
class Interval:
    """A mean and the half width of its interval.

    Attributes:
        mean: of the values.
        half: half the width of the interval; None where one value, or an undefined one, allows none.
    """

    mean: float
    half: float | None

    @property
    def is_point(self) -> bool:
        """Whether all values are the same, but for rounding: then they say nothing of what chance does."""
        return self.half is not None and self.half <= ROUNDING

    @property
    def excludes_zero(self) -> bool | None:
        """Whether zero is outside; None without an interval, or with one of no width, which rests on no chance."""
        return None if self.half is None or self.is_point else abs(self.mean) > self.half

    def as_dict(self) -> dict[str, float | None]:
        """Return mean and bounds, None where undefined."""
        low, high = (None, None) if self.half is None else (self.mean - self.half, self.mean + self.half)
        return {"mean": self.mean if math.isfinite(self.mean) else None, "low": low, "high": high}


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the mean of independent values with its Student t interval."""
    mean, count = fmean(values), len(values)
    if count < 2 or not math.isfinite(mean):
        return Interval(mean, None)
    return Interval(mean, t_quantile(count - 1, confidence) * stdev(values) / math.sqrt(count))


def t_quantile(freedom: int, confidence: float = 0.95) -> float:
    """Return the t that a Student variable stays within, on both sides of zero, with this probability."""
    low, high = 0.0, math.pi / 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < confidence else (low, middle)
    return math.tan(low) * math.sqrt(freedom)


def _within(angle: float, freedom: int) -> float:
    """Return P(|T| ≤ tan(angle) √freedom), by the finite series of Abramowitz & Stegun 26.7.3 and 26.7.4."""
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for step in range(1 + odd, freedom, 2):
        total += term
        term *= step / (step + 1) * math.cos(angle) ** 2
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total
