"""Merits and ranks of candidates, kept up to date as evaluations come in.

Every number depends only on which candidates are done, never on the order in which they came in: a reopened
archive ranks exactly as the running one did.
"""

import math
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Mapping

from spnas_core.tasks import MetricSpec
from spnas_search.archive.candidate import Candidate
from spnas_search.archive.pareto import Front

WORST = -math.inf
Group = tuple[int, int]
"""(parent, epochs) of controls, and of the children that they are the measure of."""


class Ranking:
    """Candidates by merit.

    A merit is the start's score plus the gains along the lineage. It exists once every score and every
    control in the lineage does.
    """

    def __init__(self, objective: MetricSpec) -> None:
        self._objective = objective
        self._group_of: dict[int, Group | None] = {}
        self._children: dict[int, list[int]] = defaultdict(list)
        self._compared: dict[Group, list[int]] = defaultdict(list)
        self._controls: dict[Group, list[float]] = defaultdict(list)
        self._control_scores: dict[Group, float] = {}
        self._scores: dict[int, float] = {}
        self._merits: dict[int, float] = {}
        self._costs: dict[int, Mapping[str, float]] = {}
        self._cost_names: dict[str, None] = {}
        self._ranked: list[tuple[float, int]] = []
        self._fronts: dict[str, Front] = {}
        self._noise: dict[int | None, float | None] = {}

    def score(self, metrics: Mapping[str, float]) -> float:
        """The objective, turned so that higher is better; minus infinity where it is undefined."""
        value = metrics.get(self._objective.name, math.nan)
        if not math.isfinite(value):
            return WORST
        return float(value if self._objective.higher_is_better else -value)

    def propose(self, candidate: Candidate) -> None:
        """Learn where a start or child stands in the tree."""
        if candidate.kind == "start":
            self._group_of[candidate.id] = None
        elif candidate.kind == "child" and candidate.parent is not None:
            group = (candidate.parent, candidate.epochs)
            self._group_of[candidate.id] = group
            self._children[candidate.parent].append(candidate.id)
            self._compared[group].append(candidate.id)

    def finish(self, candidate: Candidate) -> None:
        """Learn the score of a done candidate; one that is undefined ranks nothing and compares nothing."""
        self._cost_names.update(dict.fromkeys(candidate.cost))
        score = self.score(candidate.metrics)
        if candidate.kind == "control" and candidate.parent is not None:
            if score != WORST:
                self._add_control((candidate.parent, candidate.epochs), score)
        elif candidate.id in self._group_of:
            self._scores[candidate.id] = score
            self._costs[candidate.id] = candidate.cost
            self._settle([candidate.id])

    def control_score(self, group: Group) -> float | None:
        """Mean score of the done controls of a parent by that many epochs."""
        return self._control_scores.get(group)

    def gain(self, candidate: int) -> float | None:
        """A child's score minus its control's; minus infinity where the child's is undefined."""
        group = self._group_of.get(candidate)
        control = None if group is None else self._control_scores.get(group)
        score = self._scores.get(candidate)
        return None if score is None or control is None else score - control

    def merit(self, candidate: int) -> float | None:
        """Start's score plus the gains along the lineage."""
        return self._merits.get(candidate)

    def best(self, count: int) -> tuple[int, ...]:
        """Candidates of the highest merit, best first, older first among equals."""
        return tuple(candidate for _, candidate in self._ranked[: max(count, 0)])

    @property
    def cost_names(self) -> tuple[str, ...]:
        """Costs that any done candidate has."""
        return tuple(self._cost_names)

    def pareto(self, cost: str) -> tuple[int, ...]:
        """Candidates that no other beats, cheapest first; those without that cost are left out."""
        if cost not in self._fronts:
            priced = ((self._cost(candidate, cost), loss, candidate) for loss, candidate in self._ranked)
            self._fronts[cost] = Front(
                (price, loss, candidate) for price, loss, candidate in priced if price is not None
            )
        return self._fronts[cost].candidates

    def noise(self, epochs: int | None) -> float | None:
        """Pooled standard deviation of replicate controls, of all or of those with that many epochs."""
        if epochs not in self._noise:
            self._noise[epochs] = self._pooled(epochs)
        return self._noise[epochs]

    def _add_control(self, group: Group, score: float) -> None:
        scores = self._controls[group]
        scores.append(score)
        # fsum rounds once, so the mean does not depend on the order in which replicates came in.
        self._control_scores[group] = math.fsum(scores) / len(scores)
        if len(scores) > 1:
            self._noise.clear()
        self._settle(self._compared[group])

    def _settle(self, changed: list[int]) -> None:
        """Set the merits of candidates whose score or control has changed, and of their descendants."""
        stack = list(changed)
        while stack:
            candidate = stack.pop()
            merit = self._computed(candidate)
            known = self._merits.get(candidate)
            if merit is None or merit == known:
                continue
            if known is not None:
                self._unrank(candidate, known)
            self._rank(candidate, merit)
            stack.extend(self._children[candidate])

    def _computed(self, candidate: int) -> float | None:
        score = self._scores.get(candidate, WORST)
        if score == WORST:
            return None
        group = self._group_of[candidate]
        if group is None:
            return score
        base, control = self._merits.get(group[0]), self._control_scores.get(group)
        return None if base is None or control is None else base + (score - control)

    def _rank(self, candidate: int, merit: float) -> None:
        self._merits[candidate] = merit
        insort(self._ranked, (-merit, candidate))
        for name, front in self._fronts.items():
            price = self._cost(candidate, name)
            if price is not None:
                front.add((price, -merit, candidate))

    def _unrank(self, candidate: int, merit: float) -> None:
        del self._ranked[bisect_left(self._ranked, (-merit, candidate))]
        for name, front in list(self._fronts.items()):
            price = self._cost(candidate, name)
            if price is not None and (price, -merit, candidate) in front:
                # It may have hidden others that come forward now; the next question builds the front anew.
                del self._fronts[name]

    def _cost(self, candidate: int, name: str) -> float | None:
        price = self._costs[candidate].get(name, math.nan)
        return None if math.isnan(price) else price

    def _pooled(self, epochs: int | None) -> float | None:
        squares: list[float] = []
        freedom = 0
        for group, scores in self._controls.items():
            if len(scores) > 1 and epochs in {None, group[1]}:
                mean = self._control_scores[group]
                squares.extend((score - mean) * (score - mean) for score in scores)
                freedom += len(scores) - 1
        return math.sqrt(math.fsum(squares) / freedom) if freedom else None
