"""What a study of searches says: winners beside random codes, beside each other, and their orders beside the truth."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from scipy import stats

from spnas_core.tasks import MetricSpec
from spnas_search.statistics import Agreement, Interval, difference_interval, mean_agreement, mean_interval
from spnas_search.statistics.intervals import LEVEL
from spnas_search.studies.keys import TrainingKey
from spnas_search.studies.searches.plan import Judged, Keys, SearchesPlan
from spnas_search.studies.trainings import Training

Trainings = Mapping[TrainingKey, Training]


@dataclass(frozen=True)
class Share:
    """How often a search's winner was better than a code drawn at random.

    Attributes:
        value: share of pairs; a tie counts one half.
        low: lower end of Wilson's 95 % interval.
        high: upper end.
        pairs: that it rests on.
    """

    value: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class ArmResult:
    """What a way to search has come to. Differences are positive where it is better; None before two values are in.

    Attributes:
        arm: its name.
        searches: that have ended.
        evaluations: of a search, on average; NaN before one has ended.
        epochs: of a search's trainings, on average.
        multiply_adds: of the winners' backbones, on average; NaN before one is trained.
        scores: of the winners after training from scratch, one per search, NaN where it is not in.
        mean: of these; None before one is in.
        over_sampled: winners above codes drawn at random whose cost is alike; paired.
        better_than_sampled: share of searches whose winner is better than its sampled code.
        over_random: winners above those of random search; None for random search itself.
        over_start: winners above the start.
        agreement: of the search's own order of codes with that of the trainings; None where no order is in.
        is_random: whether it is random search itself, so that there is nothing to be over.
    """

    arm: str
    searches: int
    evaluations: float
    epochs: float
    multiply_adds: float
    scores: tuple[float, ...]
    mean: Interval | None
    over_sampled: Interval | None
    better_than_sampled: Share | None
    over_random: Interval | None
    over_start: Interval | None
    agreement: Agreement | None
    is_random: bool


@dataclass(frozen=True)
class SearchesResults:
    """The answer of a study of searches, as far as it goes.

    Attributes:
        plan: of the trainings.
        objective: the metric of all scores.
        arms: one result per way to search, in the plan's order.
        start: the start's scores after training from scratch, NaN where one is not in.
        sampled: scores of all sampled codes.
        done: trainings that are in.
        failed: trainings that have failed; they count nowhere.
    """

    plan: SearchesPlan
    objective: MetricSpec
    arms: tuple[ArmResult, ...]
    start: tuple[float, ...]
    sampled: tuple[float, ...]
    done: int
    failed: tuple[Training, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the jobs as plain values."""
        return {
            "objective": asdict(self.objective),
            "arms": [asdict(one) for one in self.arms],
            "start": self.start,
            "sampled": self.sampled,
            "done": self.done,
            "failed": [one.as_dict() for one in self.failed],
        }


def measure_searches(
    plan: SearchesPlan, trainings: Trainings, objective: MetricSpec, random: Mapping[str, Sequence[str]]
) -> SearchesResults:
    """Measure what is in; a pure function of the trainings.

    Args:
        plan: of the trainings.
        trainings: that are in.
        objective: the metric of all scores.
        random: the random searches that each way to search is measured by; none for these themselves.
    """
    name = objective.name
    starts = tuple(_score(keys, trainings, name) for keys in plan.starts)
    winners = {arm: [_score(one.winner, trainings, name) for one in plan.judged[arm]] for arm in plan.arms}
    arms = tuple(
        _arm(
            arm,
            plan,
            trainings,
            objective,
            [*_independent(random[arm], plan, winners).values()] if random[arm] else None,
            starts,
        )
        for arm in plan.arms
    )
    sampled = tuple(_score(one.sampled, trainings, name) for ones in plan.judged.values() for one in ones)
    known = [trainings[job.key] for job in plan.jobs if job.key in trainings]
    failed = tuple(one for one in known if one.has_failed)
    return SearchesResults(plan, objective, arms, starts, sampled, len(known) - len(failed), failed)


def _arm(
    arm: str,
    plan: SearchesPlan,
    trainings: Trainings,
    objective: MetricSpec,
    randoms: Sequence[float] | None,
    starts: Sequence[float],
) -> ArmResult:
    name, sign = objective.name, 1 if objective.higher_is_better else -1
    judged = plan.judged[arm]
    scores = tuple(_score(one.winner, trainings, name) for one in judged)
    pairs = [
        (score, other)
        for one, score in zip(judged, scores, strict=True)
        if math.isfinite(score) and math.isfinite(other := _score(one.sampled, trainings, name))
    ]
    above = [sign * (score - other) for score, other in pairs]
    done = [trainings[key] for one in judged for key in one.winner if _is_done(key, trainings)]
    costs = [one.cost.get("multiply_adds", math.nan) for one in done]
    known = [score for score in scores if math.isfinite(score)]
    return ArmResult(
        arm,
        len(judged),
        fmean(one.found.evaluations for one in judged) if judged else math.nan,
        fmean(one.found.epochs for one in judged) if judged else math.nan,
        fmean(costs) if costs else math.nan,
        scores,
        mean_interval(known) if known else None,
        _over_pairs(pairs, above),
        share_better(above) if above and _vary(pairs) else None,
        None if randoms is None else _above(known, randoms, sign),
        _above(known, starts, sign),
        mean_agreement([_orders(one, trainings, name, sign) for one in judged]),
        randoms is None,
    )


def _independent(
    arms: Sequence[str], plan: SearchesPlan, winners: Mapping[str, Sequence[float]]
) -> Mapping[Keys, float]:
    """Return the scores of some arms' winners by the trainings that they are of: what two arms share counts once."""
    return {one.winner: score for arm in arms for one, score in zip(plan.judged[arm], winners[arm], strict=True)}


def _over_pairs(pairs: Sequence[tuple[float, float]], above: Sequence[float]) -> Interval | None:
    """Return the mean of differences in pairs; without an interval where one side never varies, as in ``_above``."""
    if len(above) < 2:
        return None
    found = mean_interval(above)
    return found if _vary(pairs) else replace(found, low=math.nan, high=math.nan)


def _vary(pairs: Sequence[tuple[float, float]]) -> bool:
    """Whether both sides vary, or there is one pair alone."""
    return len(pairs) < 2 or all(len(set(side)) > 1 for side in zip(*pairs, strict=True))


def _above(ones: Sequence[float], others: Sequence[float], sign: int) -> Interval | None:
    """Return by how much ones are better than others, as independent samples.

    Where one side never varies, as where one training is read off a table again and again, nothing tells what chance
    does to it: there is no interval.
    """
    known = [score for score in others if math.isfinite(score)]
    if len(ones) < 2 or len(known) < 2:
        return None
    found = difference_interval([sign * score for score in ones], [sign * score for score in known])
    varies = all(not mean_interval(scores).is_point for scores in (ones, known))
    return found if varies else replace(found, low=math.nan, high=math.nan)


def share_better(differences: Sequence[float]) -> Share:
    """Return the share of positive differences with Wilson's interval; a tie counts one half.

    Args:
        differences: one or more.
    """
    better = sum(1.0 if one > 0 else 0.5 if one == 0 else 0.0 for one in differences)
    pairs, value = len(differences), better / len(differences)
    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    centre = (value + z**2 / (2 * pairs)) / (1 + z**2 / pairs)
    half = z / (1 + z**2 / pairs) * math.sqrt(value * (1 - value) / pairs + z**2 / (4 * pairs**2))
    return Share(value, max(0.0, centre - half), min(1.0, centre + half), pairs)


def _orders(one: Judged, trainings: Trainings, name: str, sign: int) -> tuple[list[float], list[float]]:
    """Return the leads and the scores from scratch of a search's ranked codes, of those that are in."""
    found = [
        (lead, sign * score)
        for (_, lead), key in zip(
            one.found.ranked, one.ranked, strict=False
        )  # none is trained where orders are left out
        if math.isfinite(score := _score((key,), trainings, name))
    ]
    return [lead for lead, _ in found], [score for _, score in found]


def _is_done(key: TrainingKey, trainings: Trainings) -> bool:
    return key in trainings and not trainings[key].has_failed


def _score(keys: Keys, trainings: Trainings, name: str) -> float:
    """Return the mean score of trainings; NaN where one of them is not in, or has none."""
    if not keys or not all(_is_done(key, trainings) for key in keys):
        return math.nan
    return fmean(trainings[key].metrics.get(name, math.nan) for key in keys)
