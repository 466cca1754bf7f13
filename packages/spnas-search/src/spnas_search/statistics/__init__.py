"""Statistics that decide what may be said of scores: spread, intervals, heritability, correlations, regression."""

from spnas_search.statistics.agreement import Agreement, mean_agreement
from spnas_search.statistics.correlation import (
    FEWEST_FOR_INTERVAL,
    RESAMPLES,
    RankCorrelation,
    RankStatistic,
    RankTest,
    expected_rank_correlation,
    rank_correlation,
    rank_correlation_within,
)
from spnas_search.statistics.distributions import Gap, complexity_weights, gap
from spnas_search.statistics.heritability import Heritability, heritability, heritability_in_blocks
from spnas_search.statistics.intervals import Interval, difference_interval, mean_interval
from spnas_search.statistics.ridge import Ridge, fit_ridge
from spnas_search.statistics.spread import Spread, pooled_spread, progress_threshold

__all__ = [
    "FEWEST_FOR_INTERVAL",
    "RESAMPLES",
    "Agreement",
    "Gap",
    "Heritability",
    "Interval",
    "RankCorrelation",
    "RankStatistic",
    "RankTest",
    "Ridge",
    "Spread",
    "complexity_weights",
    "difference_interval",
    "expected_rank_correlation",
    "fit_ridge",
    "gap",
    "heritability",
    "heritability_in_blocks",
    "mean_agreement",
    "mean_interval",
    "pooled_spread",
    "progress_threshold",
    "rank_correlation",
    "rank_correlation_within",
]
