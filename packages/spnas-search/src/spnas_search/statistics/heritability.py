"""How much of the variance of scores is the codes' and how much is luck: analysis of variance with random effects.

Model: ``score = mean + code + luck`` with ``code ~ N(0, τ²)`` and ``luck ~ N(0, σ²)``, all independent. Heritability is
``h² = τ² / (τ² + σ²)``: the share of the variance of a single score that the code explains, and the correlation of two
independent scores of one code.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special

from spnas_search.statistics.intervals import LEVEL

_ROUNDING = 1e-12
"""Deviations below this share of the largest one are rounding and count as none."""


@dataclass(frozen=True)
class Heritability:
    """Components of variance, the share of the codes, and how sure it is.

    Attributes:
        within: σ², variance of scores of one code; 0 or more.
        between: τ², variance of the codes' true means, by the method of moments: unbiased, and therefore below 0 where
            codes differ less than luck alone would make them; NaN where it cannot be told.
        low: lower end of the 95 % interval of h², in 0…1; NaN where all scores are equal.
        high: its upper end.
        p_value: probability of scores that differ as much between codes where codes do not differ at all.
        codes: 2 or more.
        per_code: scores per code; for unequal numbers Searle's n₀, which lies between the smallest and the mean.
    """

    within: float
    between: float
    low: float
    high: float
    p_value: float
    codes: int
    per_code: float

    @property
    def between_clipped(self) -> float:
        """τ², at least 0: no variance lies below."""
        return max(0.0, self.between)

    @property
    def share(self) -> float:
        """h² of a single score, from the clipped τ², in 0…1; NaN where all scores are equal."""
        return self.of_mean(1)

    def of_mean(self, count: int) -> float:
        """Return h² of a mean of independent scores: ``τ² / (τ² + σ² / count)``; Spearman and Brown's formula.

        Args:
            count: scores in each mean, 1 or more.
        """
        whole = self.between_clipped + self.within / count
        return self.between_clipped / whole if whole else math.nan


def heritability(groups: Sequence[Sequence[float]]) -> Heritability:
    """Analyse independent scores, code by code; codes may have different numbers of them.

    With a codes, nᵢ scores of code i and N in all, mean squares MSB between (a - 1 degrees of freedom) and MSW within
    (N - a): ``σ² = MSW``, ``τ² = (MSB - MSW) / n₀``, ``n₀ = (N - Σ nᵢ² / N) / (a - 1)`` (Searle, "Linear Models", 1971,
    chapter 11). With F = MSB / MSW and its quantiles F₁ = F / F(0.975), F₂ = F / F(0.025), the interval of h² reaches
    from ``(F₁ - 1) / (F₁ + n₀ - 1)`` to the same with F₂ (Donner, "A review of inference procedures for the intraclass
    correlation coefficient in the one-way random effects model", International Statistical Review 1986), cut to 0…1.
    It is exact where all nᵢ are equal. Otherwise n₀ stands in their place, which is an approximation; the p-value is
    exact in both cases, since it assumes τ = 0.

    Example: codes with scores 1, 3 and 5, 7 have MSB = 16, MSW = 2, so σ² = 2, τ² = 7 and h² = 7 / 9.

    Args:
        groups: finite scores, one sequence per code.

    Raises:
        ValueError: fewer than two codes, none with two scores, a code without any, or a score that is not finite.
    """
    _check(groups)
    codes, count = len(groups), sum(map(len, groups))
    if codes < 2 or count == codes:
        raise ValueError(f"{codes} codes with {count} scores: heritability needs 2 codes, one of them with 2 scores")
    shifted = _shifted(groups)
    means = [math.fsum(group) / len(group) for group in shifted]
    grand = math.fsum(score for group in shifted for score in group) / count
    between = [mean - grand for mean, group in zip(means, shifted, strict=True) for _ in group]
    within = [score - mean for mean, group in zip(means, shifted, strict=True) for score in group]
    replicates = (count - sum(len(group) ** 2 for group in groups) / count) / (codes - 1)
    scale = max(abs(score) for group in shifted for score in group)
    return _components(
        _sum_of_squares(between, scale), codes - 1, _sum_of_squares(within, scale), count - codes, replicates
    )


def heritability_in_blocks(groups: Sequence[Sequence[float]]) -> Heritability:
    """Analyse scores that share something within each repetition, such as one warm start for all codes.

    What a repetition adds to all of its scores does not matter to who compares codes within it, so it is taken out:
    ``score = mean + code + repetition + luck``. σ² is the mean square of the residuals, with (a - 1)(b - 1) degrees of
    freedom for a codes and b repetitions; all else is as in ``heritability``. In McGraw and Wong, "Forming inferences
    about some intraclass correlation coefficients", Psychological Methods 1996, h² is ICC(C, 1), and its interval is
    exact.

    Args:
        groups: finite scores, one sequence per code, in the order of the repetitions.

    Raises:
        ValueError: fewer than two codes or repetitions, a code that lacks a repetition, or a score that is not finite.
    """
    _check(groups)
    codes, blocks = len(groups), len(groups[0]) if groups else 0
    if codes < 2 or blocks < 2:
        raise ValueError(f"{codes} codes with {blocks} repetitions: heritability needs 2 of both")
    if any(len(group) != blocks for group in groups):
        raise ValueError("every code must have a score of every repetition: leave out the codes that lack one")
    shifted = _shifted(groups)
    means = [math.fsum(group) / blocks for group in shifted]
    repetitions = [math.fsum(column) / codes for column in zip(*shifted, strict=True)]
    grand = math.fsum(means) / codes
    between = [mean - grand for mean in means for _ in range(blocks)]
    residuals = [
        score - mean - repetition + grand
        for mean, group in zip(means, shifted, strict=True)
        for repetition, score in zip(repetitions, group, strict=True)
    ]
    scale = max(abs(score) for group in shifted for score in group)
    return _components(
        _sum_of_squares(between, scale),
        codes - 1,
        _sum_of_squares(residuals, scale),
        (codes - 1) * (blocks - 1),
        blocks,
    )


def _check(groups: Sequence[Sequence[float]]) -> None:
    for number, group in enumerate(groups):
        if not group:
            raise ValueError(f"code {number} of {len(groups)} has no score: leave it out")
        for score in group:
            if not math.isfinite(score):
                raise ValueError(f"code {number} has the score {score}: leave out what is not finite")


def _shifted(groups: Sequence[Sequence[float]]) -> list[list[float]]:
    """Subtract the first score from all, so that equal scores differ by nothing at all."""
    first = groups[0][0]
    return [[score - first for score in group] for group in groups]


def _sum_of_squares(deviations: Sequence[float], scale: float) -> float:
    if max(map(abs, deviations)) <= _ROUNDING * scale:
        return 0.0
    return math.fsum(deviation**2 for deviation in deviations)


def _components(
    between_squares: float, between_freedom: int, within_squares: float, within_freedom: int, replicates: float
) -> Heritability:
    """Turn sums of squares into components of variance, the interval of their ratio, and the test."""
    between, within = between_squares / between_freedom, within_squares / within_freedom
    codes, tau = between_freedom + 1, (between - within) / replicates
    if not between and not within:
        return Heritability(0.0, 0.0, math.nan, math.nan, math.nan, codes, replicates)
    ratio = between / within if within else math.inf
    tail = (1 - LEVEL) / 2
    low, high = (
        _share(ratio / float(special.fdtri(between_freedom, within_freedom, quantile)), replicates)
        for quantile in (1 - tail, tail)
    )
    p_value = float(special.fdtrc(between_freedom, within_freedom, ratio))
    return Heritability(within, tau, low, high, p_value, codes, replicates)


def _share(ratio: float, replicates: float) -> float:
    """Return h² where the mean squares have this ratio: (F - 1) / (F + n₀ - 1), which is 1 - n₀ / (F + n₀ - 1)."""
    return max(0.0, 1 - replicates / (ratio + replicates - 1))
