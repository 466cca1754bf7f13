"""The verdict's interval covers what is true, whatever luck chose the winner."""

import numpy as np
import pytest
from scipy import stats

from spnas_search.driver.verdict import Column
from spnas_search.statistics import difference_interval, mean_interval

SEARCHES, CHILDREN = 1000, 20


def simulated(rng: np.random.Generator, seeds: int, *, paired: bool) -> tuple[float, Column]:
    """A search whose winner is the best of noisy scores, and trainings of it and of the start that had no part in that.

    Returns:
        By how much the winner is better in truth; the verdict's column.
    """
    quality = rng.normal(0.0, 0.02, CHILDREN)
    winner = quality[np.argmax(quality + rng.normal(0.0, 0.03, CHILDREN))]
    warm = rng.normal(0.5, 0.04, seeds) if paired else 0.5  # what both inherit from one warm start
    start, trained = (warm + merit + rng.normal(0.0, 0.01, seeds) for merit in (0.0, winner))
    return winner, Column("", 4, tuple(start), tuple(trained), paired)


@pytest.mark.parametrize("seeds", [2, 4])
@pytest.mark.parametrize("paired", [True, False])
def test_the_interval_covers_the_truth_in_nineteen_of_twenty_searches(seeds, paired):
    rng = np.random.default_rng(seeds)
    covered = 0
    for _ in range(SEARCHES):
        truth, column = simulated(rng, seeds, paired=paired)
        gain = column.gain
        covered += gain.low <= truth <= gain.high
    # With two seeds each, Welch's few degrees of freedom make the interval wider than it need be.
    assert 0.93 <= covered / SEARCHES <= (0.97 if paired or seeds > 2 else 1.0)


def test_intervals_are_those_of_scipy():
    rng = np.random.default_rng(0)
    ones, others = rng.normal(0.5, 0.1, 5), rng.normal(0.4, 0.3, 7)
    paired = mean_interval(ones - others[:5])
    expected = stats.ttest_rel(ones, others[:5]).confidence_interval()
    assert (paired.low, paired.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    apart = difference_interval(ones, others)
    expected = stats.ttest_ind(ones, others, equal_var=False).confidence_interval()
    assert (apart.low, apart.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_one_value_has_no_interval_and_equal_ones_have_none_to_speak_of():
    assert not mean_interval([0.1]).is_known
    assert not mean_interval([0.1]).excludes_zero
    assert not mean_interval([0.1, 0.3 - 0.2]).excludes_zero  # alike but for rounding
    assert mean_interval([0.1, 0.1001]).excludes_zero
    assert not difference_interval([0.1], [0.2, 0.3]).is_known
    same = difference_interval([0.2, 0.2], [0.1, 0.1])
    assert (same.low, same.high) == (pytest.approx(0.1), pytest.approx(0.1))


def test_a_losing_metric_is_turned():
    column = Column("", 1, (0.5, 0.6), (0.4, 0.45), paired=True, higher_is_better=False)
    assert column.gain.mean == pytest.approx(0.125)
