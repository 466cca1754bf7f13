"""What a study of spaces says: distributions of scores, and how far they are apart at equal complexity."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from spnas_core.tasks import MetricSpec
from spnas_search.statistics import Gap, gap
from spnas_search.studies.keys import TrainingKey
from spnas_search.studies.spaces.plan import DrawnSpace, SpacesPlan
from spnas_search.studies.trainings import Training

COMPLEXITY = "multiply_adds"


@dataclass(frozen=True)
class SpaceResult:
    """What the codes of a space have come to.

    Attributes:
        name: of the space.
        scores: of the codes whose trainings are in, in order.
        costs: multiply-adds of these; NaN where the task does not say.
        gap: how far their distribution is from the first space's; None for that one, and before both have scores.
        weighed_gap: the same with codes weighed so that both have one distribution of multiply-adds; None also where
            they have none in common, or a task does not say them.
    """

    name: str
    scores: tuple[float, ...]
    costs: tuple[float, ...]
    gap: Gap | None
    weighed_gap: Gap | None

    def best(self, objective: MetricSpec) -> float:
        """Return the best score; NaN where there is none."""
        return (max if objective.higher_is_better else min)(self.scores, default=math.nan)

    @property
    def median(self) -> float:
        """Median of the scores; NaN where there is none."""
        return median(self.scores) if self.scores else math.nan

    @property
    def mean(self) -> float:
        """Mean of the scores; NaN where there is none."""
        return fmean(self.scores) if self.scores else math.nan


@dataclass(frozen=True)
class SpacesResults:
    """The answer of a study of spaces, as far as it goes.

    Attributes:
        plan: of the trainings.
        objective: the metric of all scores.
        spaces: one result each, in the plan's order.
        done: trainings that are in.
        failed: trainings that have failed; their codes count nowhere.
    """

    plan: SpacesPlan
    objective: MetricSpec
    spaces: tuple[SpaceResult, ...]
    done: int
    failed: tuple[Training, ...]

    @property
    def knows_costs(self) -> bool:
        """Whether the task says what the codes cost."""
        return _are_costs([cost for space in self.spaces for cost in space.costs])

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the jobs as plain values."""
        return {
            "objective": asdict(self.objective),
            "spaces": [
                {**asdict(one), "best": one.best(self.objective), "median": one.median, "mean": one.mean}
                for one in self.spaces
            ],
            "done": self.done,
            "failed": [one.as_dict() for one in self.failed],
        }


def _are_costs(costs: Sequence[float]) -> bool:
    """Whether all costs are known, and can be compared by their ratios."""
    return all(0 < cost < math.inf for cost in costs)


def measure_spaces(plan: SpacesPlan, trainings: Mapping[TrainingKey, Training], objective: MetricSpec) -> SpacesResults:
    """Measure what is in; a pure function of the trainings."""
    found = [_scored(space, plan, trainings, objective.name) for space in plan.spaces]
    first_scores, first_costs = found[0]
    spaces = []
    for number, (space, (scores, costs)) in enumerate(zip(plan.spaces, found, strict=True)):
        both = bool(number and scores and first_scores)
        raw = gap(first_scores, scores) if both else None
        knows_costs = both and _are_costs((*first_costs, *costs))
        weighed = gap(first_scores, scores, (first_costs, costs)) if knows_costs else None
        spaces.append(SpaceResult(space.name, tuple(scores), tuple(costs), raw, weighed))
    known = [trainings[job.key] for job in plan.jobs if job.key in trainings]
    failed = tuple(one for one in known if one.has_failed)
    return SpacesResults(plan, objective, tuple(spaces), len(known) - len(failed), failed)


def _scored(
    space: DrawnSpace, plan: SpacesPlan, trainings: Mapping[TrainingKey, Training], name: str
) -> tuple[list[float], list[float]]:
    """Return scores and costs of the codes whose trainings are all in."""
    scores, costs = [], []
    for code in space.codes:
        known = [trainings[key] for key in plan.keys(code) if key in trainings and not trainings[key].has_failed]
        score = fmean(one.metrics.get(name, math.nan) for one in known) if known else math.nan
        if len(known) == plan.settings.trainings and math.isfinite(score):
            scores.append(score)
            costs.append(float(known[0].cost.get(COMPLEXITY, math.nan)))
    return scores, costs
