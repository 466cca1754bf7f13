"""How much scores differ by their seed alone, and how large a gain must be to be none of that."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy import special


@dataclass(frozen=True)
class Spread:
    """A standard deviation together with what it was measured from.

    Attributes:
        deviation: standard deviation of a score over seeds.
        freedom: degrees of freedom, 1 or more.
    """

    deviation: float
    freedom: int


def pooled_spread(groups: Iterable[Sequence[float]]) -> Spread | None:
    """Pool the variances of groups of scores that are alike but for their seed, weighted by degrees of freedom.

    Args:
        groups: scores; a group of one says nothing.

    Returns:
        None where no group has two scores.
    """
    squares, freedom = [], 0
    for group in groups:
        if len(group) > 1:
            above = [score - min(group) for score in group]  # exactly 0 where all are equal, as a mean need not be
            mean = math.fsum(above) / len(above)
            squares += [(one - mean) ** 2 for one in above]
            freedom += len(group) - 1
    # fsum rounds once, so the result does not depend on the order in which scores came in.
    return Spread(math.sqrt(math.fsum(sorted(squares)) / freedom), freedom) if freedom else None


def progress_threshold(alpha: float, children: int) -> float:
    """Return how many standard errors a gain must exceed to count as progress.

    Among ``children`` children without any effect, one or more exceeds it with a probability of at most ``alpha``
    (Bonferroni): it is the quantile ``1 - alpha / children`` of the normal distribution, for a noise that is known.

    Args:
        alpha: error rate, above 0 and below 1.
        children: 1 or more.
    """
    return float(-special.ndtri(alpha / children))
