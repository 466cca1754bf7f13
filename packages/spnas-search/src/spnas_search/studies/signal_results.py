"""What the trainings of a signal study say of each way to score codes: heritability, and correlation with the truth."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spnas_core.tasks import MetricSpec
from spnas_search.statistics import (
    Heritability,
    RankCorrelation,
    expected_rank_correlation,
    heritability,
    heritability_in_blocks,
    rank_correlation,
)
from spnas_search.studies.jobs import Schedule
from spnas_search.studies.keys import TrainingKey
from spnas_search.studies.signal import SHARING, Arm, SignalPlan
from spnas_search.studies.trainings import Training

_Scores = npt.NDArray[np.float64]
_FEWEST_CODES = 3


@dataclass(frozen=True)
class ArmResult:
    """What the scores of one way say.

    Attributes:
        arm: the way.
        scores: one sequence per code, in the plan's order, of its repetitions; NaN where there is no score.
        epochs_per_evaluation: that a score costs, shares of warm starts and rewrites counted.
        heritability: of one score; of ways that share a warm start, within its repetition. None where too few scores
            are in.
        with_truth: mean over repetitions of Spearman's correlation of that repetition's scores with the means of the
            truth's other repetitions; None where too few scores are in.
        with_inherited: the same with the second truth.
    """

    arm: Arm
    scores: tuple[tuple[float, ...], ...]
    epochs_per_evaluation: float
    heritability: Heritability | None
    with_truth: RankCorrelation | None
    with_inherited: RankCorrelation | None

    @property
    def mean(self) -> float:
        """Mean of all scores; NaN where there is none."""
        known = [score for code in self.scores for score in code if math.isfinite(score)]
        return math.fsum(known) / len(known) if known else math.nan

    @property
    def count(self) -> int:
        """Scores that are in."""
        return sum(math.isfinite(score) for code in self.scores for score in code)

    def code_means(self) -> list[float]:
        """Return the mean score of each code, over the repetitions that are in; NaN where none is."""
        known = [[score for score in code if math.isfinite(score)] for code in self.scores]
        return [math.fsum(code) / len(code) if code else math.nan for code in known]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        values = {**asdict(self), "mean": self.mean, "count": self.count}
        if self.heritability is not None:
            values["heritability"]["share"] = self.heritability.share
        return values


@dataclass(frozen=True)
class SignalResults:
    """The answer of a signal study, as far as it goes.

    Attributes:
        plan: of the study.
        objective: the metric of all scores.
        arms: one result per way of the plan, in its order.
        doubling: Kendall's correlation of the codes' means after T and after 2 T epochs; None where it cannot be told.
        doubling_by_luck: what that would be on average if doubling changed nothing but luck; None where that cannot be
            told, as where codes differ less than luck makes them.
        ceiling: Spearman's correlation with the truth's other repetitions, which every way is compared with, that a
            score without any luck would have on average; None likewise.
        seen_by_luck: what the correlation of the truth's trainings, scored on the images that a search sees, with the
            truth would be on average if both kinds of images said the same of every code; None where they are the same
            images, and where that cannot be told.
        costs: multiply-adds by code, of those that are in.
        failed: trainings that ended without a score.
        done: trainings that are in, failed ones included.
        left_out: trainings that inherit from failed ones, and so cannot be done.
    """

    plan: SignalPlan
    objective: MetricSpec
    arms: tuple[ArmResult, ...]
    doubling: RankCorrelation | None
    doubling_by_luck: float | None
    ceiling: float | None
    seen_by_luck: float | None
    costs: Mapping[str, float]
    failed: tuple[Training, ...]
    done: int
    left_out: int

    def of(self, arm: Arm) -> ArmResult | None:
        """Return the result of a way; None where the study leaves it out."""
        return next((result for result in self.arms if result.arm == arm), None)

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the jobs as plain values; an arm's scores are in the order of the codes."""
        alike = ("doubling_by_luck", "ceiling", "seen_by_luck", "done", "left_out")
        return {
            "objective": asdict(self.objective),
            "codes": self.plan.codes,
            "multiply_adds": dict(self.costs),
            "arms": [one.as_dict() for one in self.arms],
            "doubling": None if self.doubling is None else asdict(self.doubling),
            **{name: getattr(self, name) for name in alike},
            "failed": [one.as_dict() for one in self.failed],
        }


def measure(plan: SignalPlan, trainings: Mapping[TrainingKey, Training], objective: MetricSpec) -> SignalResults:
    """Compute everything that the report says; a pure function of what is in.

    A score is compared with the other repetitions of a truth. It may share its luck with the same one: of the truth it
    is a part, of the second truth it may share the warm start. All ways are treated alike, so that each meets a truth
    of the same error. A code that lacks a score which a number needs is left out of that number; so is a repetition
    without any score.

    Args:
        plan: of the study.
        trainings: results by key; others than the plan's do not count.
        objective: the metric that is compared.
    """
    scores = {arm: _scores(keys, trainings, objective.name) for arm, keys in plan.scored.items()}
    truth, inherited = scores[plan.truth], scores.get(plan.inherited)
    arms = tuple(
        ArmResult(
            arm,
            tuple(tuple(map(float, row)) for row in found),
            plan.epochs_per_evaluation(arm),
            _heritability(arm, found),
            _correlation(found, truth),
            None if inherited is None else _correlation(found, inherited),
        )
        for arm, found in scores.items()
    )
    by_arm = {result.arm: result for result in arms}
    doubling, by_luck = _doubling(by_arm[plan.truth], by_arm.get(plan.doubled))
    own = [trainings[job.key] for job in plan.jobs if job.key in trainings]
    failed = tuple(training for training in own if training.has_failed)
    lost = {training.key for training in failed}
    return SignalResults(
        plan,
        objective,
        arms,
        doubling,
        by_luck,
        _ceiling(by_arm[plan.truth]),
        None if plan.seen_truth is None else _seen_by_luck(by_arm[plan.seen_truth], by_arm[plan.truth]),
        {training.key.code: training.cost.get("multiply_adds", math.nan) for training in own if training.cost},
        failed,
        len(own),
        Schedule(plan.jobs).heirs_of_failed({training.key for training in own} - lost, lost),
    )


def _scores(
    keys: tuple[tuple[TrainingKey, ...], ...], trainings: Mapping[TrainingKey, Training], metric: str
) -> _Scores:
    """Return scores by code and repetition, NaN where there is none."""
    return np.array(
        [
            [trainings[key].metrics.get(metric, math.nan) if key in trainings else math.nan for key in code]
            for code in keys
        ]
    )


def _repetitions(scores: _Scores) -> list[int]:
    """Return the repetitions of which at least one score is in."""
    return [int(number) for number in np.flatnonzero(np.isfinite(scores).any(0))]


def _heritability(arm: Arm, scores: _Scores) -> Heritability | None:
    if arm.how not in SHARING:
        groups = [[float(score) for score in code if math.isfinite(score)] for code in scores]
        groups = [group for group in groups if group]
        enough = len(groups) >= _FEWEST_CODES and any(len(group) > 1 for group in groups)
        return heritability(groups) if enough else None
    known = scores[:, _repetitions(scores)]
    known = known[np.isfinite(known).all(1)]
    return heritability_in_blocks(known.tolist()) if len(known) >= _FEWEST_CODES and known.shape[1] > 1 else None


def _correlation(scores: _Scores, truth: _Scores) -> RankCorrelation | None:
    """Compare each repetition's scores with the means of the truth's others."""
    own, others = _repetitions(scores), _repetitions(truth)
    complete = np.isfinite(scores[:, own]).all(1) & np.isfinite(truth[:, others]).all(1)
    if complete.sum() < _FEWEST_CODES:
        return None
    pairs = []
    for repetition in own:
        compared = [number for number in others if number != repetition]
        if compared:
            means = truth[complete][:, compared].mean(1)
            pairs.append((scores[complete, repetition].tolist(), means.tolist()))
    return rank_correlation(pairs) if pairs else None


def _doubling(once: ArmResult, twice: ArmResult | None) -> tuple[RankCorrelation | None, float | None]:
    """Compare the order of codes after T epochs with that after 2 T, and say what luck alone would do to it."""
    if twice is None:
        return None, None
    means = [pair for pair in zip(once.code_means(), twice.code_means(), strict=True) if all(map(math.isfinite, pair))]
    if len(means) < _FEWEST_CODES:
        return None, None
    first, second = zip(*means, strict=True)
    found = rank_correlation([(first, second)], "kendall")
    parts = [part.heritability for part in (once, twice)]
    shares = [_share_of_means(part) for part in parts if part is not None and part.between > 0]
    expected = expected_rank_correlation(math.sqrt(math.prod(shares)), len(means), "kendall")
    return found, expected if len(shares) == 2 else None


def _ceiling(truth: ArmResult) -> float | None:
    """Say how well the codes' true means would agree with means that have one training of the truth less."""
    found, compared = truth.heritability, truth.with_truth
    if found is None or compared is None or not found.between > 0:
        return None
    return expected_rank_correlation(math.sqrt(_share_of_others(found)), compared.codes)


def _seen_by_luck(seen: ArmResult, truth: ArmResult) -> float | None:
    """Say what one training on the seen images has in common with the means of the others, by luck alone."""
    one, others, compared = seen.heritability, truth.heritability, seen.with_truth
    if one is None or others is None or compared is None or not (one.between > 0 and others.between > 0):
        return None
    return expected_rank_correlation(math.sqrt(one.share * _share_of_others(others)), compared.codes)


def _share_of_others(found: Heritability) -> float:
    """Return the share of the codes in the variance of the means of all trainings but one."""
    return found.of_mean(max(1, round(found.per_code) - 1))


def _share_of_means(found: Heritability) -> float:
    """Return the share of the codes in the variance of their means."""
    return found.of_mean(max(1, round(found.per_code)))
