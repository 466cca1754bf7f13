"""Where candidates stand: scores, gains, leads, ranks and noise, from whatever has been scored so far.

Every number depends only on which candidates are done, never on the order in which they came in: a reopened archive
ranks exactly as the running one did.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spnas_core.morphisms import Rewrite
from spnas_core.tasks import Fidelity, MetricSpec
from spnas_search.archive.candidate import Candidate
from spnas_search.archive.columns import Observed, floats, integers
from spnas_search.archive.traits import Traits
from spnas_search.ranking import (
    DescentFit,
    Merits,
    RankingRule,
    Scores,
    TraitPrediction,
    lacking_start,
    like_start,
    without_descent,
)
from spnas_search.statistics import Spread, pooled_spread

WORST = -math.inf
COST = "multiply_adds"
NOWHERE = -1
"""Row of what is no node: the last."""
Group = tuple[int, Fidelity]
"""(parent, fidelity) of controls, and of the children that they are the measure of."""


class Place(NamedTuple):
    """Where a start or child with a lead stands.

    Attributes:
        lead: quality above the start's.
        error: standard error of the lead; None where nothing tells it.
        merit: the start's score plus the lead; None where the start has none.
        is_tied: whether it is behind the best one by less than the error of that.
    """

    lead: float
    error: float | None
    merit: float | None
    is_tied: bool


class Places(NamedTuple):
    """What ``Place`` says of one, of many: an entry for each of them; without a lead None, and not tied.

    They are kept column by column: a hundred thousand tuples would have the garbage collector walk through all objects
    that there are.
    """

    leads: list[float | None]
    errors: list[float | None]
    merits: list[float | None]
    ties: list[bool]


class Standing:
    """Candidates by merit.

    Args:
        objective: metric by which candidates are ranked.
        rule: turns scores into leads over the start.
        has_heirs: whether children inherit from their parents. Where they do not, the model with traits takes what is
            particular to an architecture for its own, not for its parent's and its morphisms'.
        ranks_start: whether the start is ranked beside children. A start that is not, since it lies outside the bounds
            that they keep, is ranked as long as no child is: then there is nothing else to go on from.
    """

    def __init__(
        self, objective: MetricSpec, rule: RankingRule, *, has_heirs: bool = True, ranks_start: bool = True
    ) -> None:
        self._objective = objective
        self._rule = rule
        self._has_heirs = has_heirs
        self._ranks_start = ranks_start
        self._nodes = integers()
        self._place: dict[int, int] = {}
        self._reignited: set[int] = set()
        self._parents = integers()
        self._steps: list[tuple[str, ...]] = []
        self._traits = Traits()
        self._prices = floats()
        self._scores = floats()  # NaN while there is none, the worst where it is undefined
        self._controls_of: dict[int, list[float]] = {}
        self._observed = Observed()
        self._controls: dict[Group, list[float]] = defaultdict(list)
        self._aged: dict[tuple[int, Fidelity, int], list[float]] = defaultdict(list)  # by their ages, too
        self._alike: dict[tuple[int, int | None, Fidelity], list[float]] = defaultdict(list)
        self._costs: dict[int, Mapping[str, float]] = {}
        self._cost_names: dict[str, None] = {}
        self._stages = 0
        """The most that what has a score has: what was only proposed, or has failed, judges nothing."""
        self._forget()

    def _forget(self) -> None:
        self._merits: Merits | None = None
        self._fits: dict[int, DescentFit] = {}
        self._ranked: tuple[int, ...] | None = None
        self._from_leader: NDArray[np.float64] | None = None
        self._places: Places | None = None
        self._noise: dict[int | None, Spread | None] = {}

    def score(self, metrics: Mapping[str, float]) -> float:
        """The objective, turned so that higher is better; minus infinity where it is undefined."""
        value = metrics.get(self._objective.name, math.nan)
        if not math.isfinite(value):
            return WORST
        return float(value if self._objective.higher_is_better else -value)

    def propose(self, candidate: Candidate) -> None:
        """Learn where a start or child stands in the tree."""
        if not candidate.is_node:
            return
        self._place[candidate.id] = len(self._nodes)
        if candidate.kind == "reignition":
            self._reignited.add(candidate.id)
        self._nodes.append(candidate.id)
        self._parents.append(-1 if candidate.parent is None else self._place[candidate.parent])
        self._steps.append(tuple(step.morphism for step in candidate.rewrite.steps))
        self._traits.append(candidate.architecture)
        self._prices.append(math.nan)
        self._scores.append(math.nan)
        if candidate.parent is not None:
            self._controls_of[candidate.id] = self._aged[candidate.parent, candidate.fidelity, candidate.age]
        self._forget()

    def finish(self, candidate: Candidate) -> None:
        """Learn the score of a done candidate; one that is undefined ranks nothing and compares nothing."""
        self._cost_names.update(dict.fromkeys(candidate.cost))
        score = self.score(candidate.metrics)
        if candidate.is_node:
            row = self._place[candidate.id]
            self._scores[row] = score
            self._costs[candidate.id] = candidate.cost
            price = candidate.cost.get(COST, math.nan)
            self._prices[row] = float(price) if 0 < price < math.inf else math.nan
            self._forget()
        if candidate.split == "validation" and score != WORST:
            self._observe(candidate, score)
            self._forget()

    def _observe(self, candidate: Candidate, score: float) -> None:
        fidelity = candidate.fidelity
        if candidate.kind == "warm":
            return  # of weights that no candidate inherits
        if not candidate.is_node or candidate.parent is None:  # a child's own made it a parent or finalist: it was high
            self._alike[candidate.subject, candidate.source, fidelity].append(score)
        if candidate.kind == "control" and candidate.parent is not None:
            self._controls[candidate.parent, fidelity].append(score)
            self._aged[candidate.parent, fidelity, candidate.age].append(score)
        observed = self._observed
        observed.nodes.append(self._place[candidate.subject])
        self._stages = max(self._stages, self._traits.stages_of(observed.nodes[-1]))
        observed.ages.append(candidate.age)
        setting = fidelity.image_size or (0, 0), fidelity.share
        observed.settings.append(observed.numbers.setdefault(setting, len(observed.numbers)))
        observed.values.append(score)
        observed.own.append(candidate.is_node)
        observed.epochs.append(candidate.epochs)

    def control_score(self, group: Group) -> float | None:
        """Mean score of the done controls of a parent at a fidelity."""
        scores = self._controls.get(group)
        return _mean(scores) if scores else None

    def controls(self, group: Group) -> int:
        """How many controls of a parent at a fidelity have a score."""
        return len(self._controls.get(group, ()))

    def gain(self, candidate: int) -> float | None:
        """A child's score minus its control's; minus infinity where the child's is undefined."""
        controls = self._controls_of.get(candidate)
        if not controls:
            return None
        gain = self._scores[self._place[candidate]] - _mean(controls)
        return None if math.isnan(gain) else gain

    def lead(self, candidate: int) -> float | None:
        """Quality above the start's by the rule; None while the rule can say nothing, and without a score."""
        row = self._place.get(candidate)
        if row is None or not self._scores[row] > WORST:
            return None
        lead = float(self._judged().leads[row])
        return None if math.isnan(lead) else lead

    def error(self, candidate: int) -> float | None:
        """Standard error of the lead; None where there is no lead, or nothing to tell it from."""
        if self.lead(candidate) is None:
            return None
        error = float(self._judged().errors[self._place[candidate]])
        return None if math.isnan(error) else error

    def difference_error(self, one: int, other: int) -> float:
        """Standard error of the difference of two candidates' leads; NaN where nothing tells it."""
        return self._judged().difference_error(self._place[one], self._place[other])

    def behind(self, candidate: int) -> tuple[float, float] | None:
        """By how much the best one's lead is above a candidate's, and its standard error; None without a lead.

        The errors of all candidates are computed together, when the first is asked for.
        """
        leader, lead = self._leader, self.lead(candidate)
        if leader is None or lead is None:
            return None
        if self._from_leader is None:
            self._from_leader = self._judged().difference_errors(self._place[leader])
        return (self.lead(leader) or 0.0) - lead, float(self._from_leader[self._place[candidate]])

    @property
    def _leader(self) -> int | None:
        """The best start or child; a reignition is its parent's architecture, and wins nothing."""
        return next((one for one in self.best(len(self._reignited) + 1) if one not in self._reignited), None)

    def merit(self, candidate: int) -> float | None:
        """Start's score plus the lead."""
        lead = self.lead(candidate)
        return None if lead is None or not self._scores[0] > WORST else self._scores[0] + lead

    def place(self, candidate: int) -> Place | None:
        """Lead, error, merit and tie of a candidate; None without a lead."""
        (lead,), (error,), (merit,), (is_tied,) = self.places([candidate])
        return None if lead is None else Place(lead, error, merit, is_tied)

    def places(self, candidates: Sequence[int]) -> Places:
        """Return what ``place`` says of many. That of all is computed when the first is asked for."""
        if self._places is None:
            self._places = self._all_places()
        rows = [self._place.get(candidate, NOWHERE) for candidate in candidates]
        leads, errors, merits, ties = self._places
        return Places(
            [leads[row] for row in rows],
            [errors[row] for row in rows],
            [merits[row] for row in rows],
            [ties[row] for row in rows],
        )

    def _all_places(self) -> Places:
        """Return leads, errors, merits and ties of all nodes, and of what is none, which comes last."""
        if not self._nodes:
            return Places([None], [None], [None], [False])
        leads, errors = self._judged().leads, self._judged().errors
        scores = np.array(self._scores)
        has_lead = (scores > WORST) & ~np.isnan(leads)
        merits = scores[0] + leads
        ties = np.zeros(len(leads), np.bool_)
        if (leader := self._leader) is not None:
            place = self._place[leader]
            if self._from_leader is None:
                self._from_leader = self._judged().difference_errors(place)
            behind = leads[place] - leads  # below 0 for what may not win
            ties = has_lead & (behind >= 0) & (behind < self._from_leader)
        has_merit = has_lead & (scores[0] > WORST)
        return Places(
            _known(leads, has_lead),
            _known(errors, has_lead & ~np.isnan(errors)),
            _known(merits, has_merit),
            [*ties.tolist(), False],
        )

    def best(self, count: int) -> tuple[int, ...]:
        """Candidates of the highest merit, best first, older first among equals."""
        if self._ranked is None:
            scores = np.array(self._scores)
            ranked = np.zeros(0, np.int64)
            if len(scores) and scores[0] > WORST:  # without the start's score there is nothing to lead
                merits = scores[0] + self._judged().leads
                ranked = np.argsort(-merits, kind="stable")
                ranked = ranked[(scores[ranked] > WORST) & ~np.isnan(merits[ranked])]
                if not self._ranks_start and len(ranked) > 1:
                    ranked = ranked[ranked != 0]
            self._ranked = tuple(np.array(self._nodes, np.int64)[ranked].tolist())
        return self._ranked[: max(count, 0)]

    def likely(self, count: int) -> tuple[int, ...]:
        """Candidates whose leads are highest if they are right by one standard error, older first among equals."""
        known = np.sort([self._place[node] for node in self.best(len(self._nodes))]).astype(np.int64)
        if not len(known):
            return ()
        hopes = self._judged().leads[known] + np.nan_to_num(self._judged().errors[known])
        return tuple(self._nodes[place] for place in known[np.argsort(-hopes, kind="stable")[:count]].tolist())

    @property
    def cost_names(self) -> tuple[str, ...]:
        """Costs that any done candidate has."""
        return tuple(self._cost_names)

    def cost(self, candidate: int, name: str) -> float | None:
        """A cost of a done start or child; None where it has none."""
        value = self._costs.get(candidate, {}).get(name)
        return None if value is None or math.isnan(value) else float(value)

    def noise(self, epochs: int | None) -> Spread | None:
        """Pooled standard deviation of evaluations that are alike but for their seed.

        A child's own score is none of them: what is evaluated again is what scored high, and lucky scores are high.
        """
        if epochs not in self._noise:
            groups = (scores for key, scores in self._alike.items() if epochs is None or key[2].epochs == epochs)
            self._noise[epochs] = pooled_spread(groups)
        return self._noise[epochs]

    def predict(
        self, parents: Sequence[int], rewrites: Sequence[Rewrite], costs: Sequence[float | None]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Leads and standard errors of children that do not exist yet, whatever the rule; see ``Contents.predict``.

        Args:
            parents: start or children.
            rewrites: from them to the children.
            costs: the children's multiply-adds; None where they are not known.
        """
        places = np.array([self._place[parent] for parent in parents], np.int64)
        known = self._priced()
        priced = [known[place] if cost is None else cost for place, cost in zip(places.tolist(), costs, strict=True)]
        children = Traits()
        for rewrite in rewrites:
            children.append(rewrite.child)
        stages = max(children.stages, self._stages)
        steps = [tuple(step.morphism for step in rewrite.steps) for rewrite in rewrites]
        traits = children.rows(priced, stages)
        fit = self._fitted(stages)
        if self._has_heirs:
            return fit.predict_children(places, steps, traits)
        places, steps = np.zeros_like(places), [()] * len(steps)
        leads, _ = fit.predict_children(places, steps, lacking_start(traits))
        _, errors = fit.predict_children(places, steps, like_start(traits))
        return leads, errors

    def _fitted(self, stages: int) -> DescentFit:
        """Fit descent and traits, those of as many stages, once."""
        if stages not in self._fits:
            scores = self._table(stages)
            self._fits[stages] = TraitPrediction().fit(scores if self._has_heirs else without_descent(scores))
        return self._fits[stages]

    def _priced(self) -> NDArray[np.float64]:
        """Multiply-adds of each node; where they are not known, those of its parent, and 1 without one."""
        prices = np.array(self._prices)
        for place in np.flatnonzero(np.isnan(prices)).tolist():  # parents come before their children
            parent = self._parents[place]
            prices[place] = prices[parent] if parent >= 0 else 1.0
        return prices

    def _judged(self) -> Merits:
        if self._merits is None:
            has_traits = self._rule.name == TraitPrediction.name
            self._merits = self._fitted(self._stages).merits if has_traits else self._rule.rank(self._table())
        return self._merits

    def _table(self, stages: int | None = None) -> Scores:
        """Return all scores, with the traits of so many stages; None without any."""
        observed = self._observed
        in_order = np.argsort([observed.numbers[setting] for setting in sorted(observed.numbers)])
        return Scores(
            parents=np.array(self._parents, np.int64),
            steps=tuple(self._steps),
            nodes=np.array(observed.nodes, np.int64),
            ages=np.array(observed.ages, np.float64),
            groups=in_order[np.array(observed.settings, np.int64)].astype(np.int64),
            values=np.array(observed.values, np.float64),
            own=np.array(observed.own, np.bool_),
            epochs=np.array(observed.epochs, np.int64),
            traits=None if stages is None else self._traits.rows(self._priced(), stages),
        )


def _known(values: NDArray[np.float64], is_known: NDArray[np.bool_]) -> list[float | None]:
    """Return values, None where they are not known, and one more None, for what is no node."""
    found: list[float | None] = [*values.tolist(), None]
    for place in np.flatnonzero(~is_known).tolist():
        found[place] = None
    return found


def _mean(scores: Sequence[float]) -> float:
    """Round once, so that the mean does not depend on the order in which replicates came in."""
    return math.fsum(scores) / len(scores)
