"""What an archive holds, in memory: every question about candidates is answered here."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spnas_core.encoding import Architecture
from spnas_core.errors import ArchiveError, ConfigError, suggestion
from spnas_core.morphisms import Rewrite
from spnas_core.tasks import Fidelity, MetricSpec
from spnas_search.archive.admission import Sources, rewrite_from_source
from spnas_search.archive.candidate import HEIRLESS, OFFSPRING, Candidate, Inherit, Kind, Phase, Proposal
from spnas_search.archive.pareto import Point, front, fronts
from spnas_search.archive.standing import Place, Places, Standing
from spnas_search.archive.tradeoffs import Tradeoff
from spnas_search.ranking import RankingRule
from spnas_search.statistics import Spread


class Contents:
    """Candidates by number, with indexes that grow with them.

    Every answer depends only on what was entered, never on the order in which results came in.

    Args:
        path: of the archive's file, for messages.
        objective: metric by which candidates are ranked.
        rule: turns scores into leads over the start.
        inherit: what children begin with.
        tradeoffs: what is weighed against the objective.
    """

    start_may_win = True
    """Whether the start is one of those that are searched; not where it lies outside their bounds."""

    def __init__(
        self,
        path: Path,
        objective: MetricSpec,
        rule: RankingRule,
        inherit: Inherit = "parent",
        tradeoffs: Sequence[Tradeoff] = (Tradeoff("multiply_adds"),),
    ) -> None:
        self.path = path
        self.tradeoffs = tuple(tradeoffs)
        self.objective = objective
        self.rule = rule
        self.inherit: Inherit = inherit
        self._clear()

    def _clear(self) -> None:
        self._candidates: list[Candidate] = []
        self._epochs = self._pretraining_epochs = 0
        self._recent: list[int] = []
        self._strategy = 0
        self._pending: dict[int, None] = {}
        self._kinds: dict[Kind, list[int]] = defaultdict(list)
        self._controls: dict[tuple[int, Fidelity], list[int]] = defaultdict(list)
        self._of: dict[int, list[int]] = defaultdict(list)
        self._newest: dict[int, int] = {}
        self._architectures: set[Architecture] = set()
        how = {"has_heirs": self.inherit not in HEIRLESS, "ranks_start": self.start_may_win}
        self._standing = Standing(self.objective, self.rule, **how)
        metrics = [MetricSpec(one.name, one.higher_is_better) for one in self.tradeoffs if one.is_metric]
        self._others = {one.name: Standing(one, self.rule, **how) for one in metrics}

    def __len__(self) -> int:
        return len(self._candidates)

    def __getitem__(self, number: int) -> Candidate:
        if not 0 <= number < len(self._candidates):
            held = f"it holds 0 to {len(self._candidates) - 1}" if self._candidates else "it is empty"
            raise ArchiveError(f"candidate {number} is not in {self.path}: {held}")
        return self._candidates[number]

    def __iter__(self) -> Iterator[Candidate]:
        return iter(tuple(self._candidates))

    @property
    def rounds(self) -> int:
        """Committed rounds."""
        return self._candidates[-1].round + 1 if self._candidates else 0

    @property
    def start(self) -> Candidate:
        """The network that the search began with.

        Raises:
            ArchiveError: none was proposed yet.
        """
        if not self._kinds["start"]:
            raise ArchiveError(f"archive {self.path} has no start yet")
        return self._candidates[self._kinds["start"][0]]

    @property
    def children(self) -> int:
        """How many children were proposed, in whatever status."""
        return len(self._kinds["child"])

    def of_kind(self, kind: Kind) -> tuple[Candidate, ...]:
        """All candidates of a kind, in whatever status, oldest first."""
        return tuple(self._candidates[number] for number in self._kinds[kind])

    def pending(self) -> tuple[Candidate, ...]:
        """Candidates without a result, oldest first: what a resumed run evaluates."""
        return tuple(self._candidates[number] for number in self._pending)

    def contains(self, architecture: Architecture) -> bool:
        """Whether a start or child has this architecture, in whatever status."""
        return architecture in self._architectures

    def controls(self, parent: int, fidelity: Fidelity) -> tuple[Candidate, ...]:
        """Controls of a parent at a fidelity, in whatever status, oldest first."""
        return tuple(self._candidates[number] for number in self._controls.get((parent, fidelity), ()))

    def evaluations(self, subject: int) -> tuple[Candidate, ...]:
        """Everything that says something of a start or child, itself included, in whatever status, oldest first."""
        return tuple(self._candidates[number] for number in self._of.get(subject, ()))

    @property
    def strategy(self) -> int:
        """Which of the search's strategies has proposed last, from 0."""
        return self._strategy

    @property
    def recent_children(self) -> tuple[Candidate, ...]:
        """Children of the strategy that has proposed last, since the last reignition, oldest first."""
        return tuple(self._candidates[number] for number in self._recent)

    def children_of(self, strategy: int) -> tuple[Candidate, ...]:
        """Children that one of the search's strategies has proposed, oldest first."""
        return tuple(child for child in self.of_kind("child") if child.strategy == strategy)

    @property
    def phase(self) -> Phase:
        """What the last round is for; ``start`` where there is none."""
        return self._candidates[-1].phase if self._candidates else "start"

    @property
    def epochs(self) -> int:
        """Epochs of training of all that the search proposed, controls and replicates included; of no later phase."""
        return self._epochs

    @property
    def pretraining_epochs(self) -> int:
        """Epochs of classification of all that the search proposed; not among ``epochs``."""
        return self._pretraining_epochs

    def trained(self, candidate: Candidate) -> Candidate:
        """Return the evaluation that has trained a start or child longest: its newest done rung, or itself."""
        return self._candidates[self._newest.get(candidate.id, candidate.id)]

    @property
    def trained_winner(self) -> Candidate | None:
        """The winner as it was trained for use at the end of the search; None where it was not."""
        winner = self.winner
        done = [one for one in self.of_kind("trained") if one.status == "done"]
        return next((one for one in reversed(done) if winner is not None and one.subject == winner.id), None)

    def age_of(self, proposal: Proposal) -> int:
        """Return the age of a proposal, were it entered now: epochs in the lineage of its weights, its own included."""
        return Sources(self.inherit, self._newest).age(self._candidates, proposal)

    def source_of_child(self, parent: int) -> int | None:
        """Whose weights a child of a candidate would begin with; None where it would begin with fresh ones."""
        return Sources(self.inherit, self._newest).source_of_child(self._candidates, self._candidates[parent])

    def lineage(self, candidate: Candidate) -> tuple[Candidate, ...]:
        """A candidate and its ancestors, start first."""
        line = [self[candidate.id]]
        while (parent := line[-1].parent) is not None:
            line.append(self._candidates[parent])
        return tuple(reversed(line))

    def rewrite_from_source(self, candidate: Candidate) -> Rewrite:
        """The rewrite between the architecture whose weights a candidate inherits, and its own.

        Where it inherits nothing, the identity; where it inherits from an ancestor, the composition of all rewrites
        between the two; where all are parts of the start, which of its blocks it consists of.
        """
        return rewrite_from_source(self._candidates, candidate, self.inherit)

    def score(self, candidate: Candidate) -> float:
        """The objective, turned so that higher is better; minus infinity where it is not a finite number."""
        return self._standing.score(self[candidate.id].metrics)

    def control_score(self, parent: int, fidelity: Fidelity) -> float | None:
        """Mean score of a parent's done controls at a fidelity; None where no score is defined."""
        return self._standing.control_score((parent, fidelity))

    def gain(self, candidate: Candidate) -> float | None:
        """A done child's score minus its control's; None for others, and where there is no control."""
        return self._standing.gain(candidate.id)

    def lead(self, candidate: Candidate) -> float | None:
        """Quality of a done start or child above the start's, as the ranking rule has it; positive is better.

        None for others, where the score is undefined, and while the rule lacks something that it needs.
        """
        return self._standing.lead(candidate.id)

    def lead_error(self, candidate: Candidate) -> float | None:
        """Standard error of the lead; None where there is no lead, or nothing yet that would tell it."""
        return self._standing.error(candidate.id)

    def difference_error(self, one: Candidate, other: Candidate) -> float:
        """Standard error of the difference of the leads of two candidates that have one; NaN where nothing tells it."""
        return self._standing.difference_error(one.id, other.id)

    def merit(self, candidate: Candidate) -> float | None:
        """Start's score plus the lead of a done start or child; None where there is no lead."""
        return self._standing.merit(candidate.id)

    def place(self, candidate: Candidate) -> Place | None:
        """Lead, its error, merit and tie of a done start or child in one; None where there is no lead."""
        return self._standing.place(candidate.id)

    def places(self, candidates: Sequence[Candidate]) -> Places:
        """Return what ``place`` says of many, column by column, in less time."""
        return self._standing.places([candidate.id for candidate in candidates])

    def best(self, count: int) -> tuple[Candidate, ...]:
        """Start and children of the highest merit, best first, older first among equals."""
        return tuple(self._candidates[number] for number in self._standing.best(count))

    def predict(
        self, proposals: Sequence[Proposal], costs: Sequence[float | None] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Predict the leads of children that are not trained yet, by descent and traits, whatever the ranking rule.

        Args:
            proposals: children of start or children of the archive.
            costs: multiply-adds of each, at the image size of the archive's; None where they are not known.

        Returns:
            A lead and its standard error for each; errors are NaN where there are too few scores to tell. Where
            children do not inherit, what the start has of its own is in all leads, and in none of the errors: by these
            children compare with one another.
        """
        return self._standing.predict(
            [proposal.parent or 0 for proposal in proposals],
            [proposal.rewrite for proposal in proposals],
            costs or [None] * len(proposals),
        )

    def likely(self, count: int) -> tuple[Candidate, ...]:
        """Start and children whose leads are highest if they are right by one standard error, best first.

        Leads change while relatives are scored: one of these may rank high tomorrow.
        """
        return tuple(self._candidates[number] for number in self._standing.likely(count))

    @property
    def finalists(self) -> tuple[Candidate, ...]:
        """Children that were chosen to be scored again at the end of the search, oldest first."""
        numbers = sorted({one.subject for one in self.of_kind("replicate") if one.phase == "finalists"})
        return tuple(self._candidates[number] for number in numbers)

    def rescores(self, finalist: Candidate) -> tuple[Candidate, ...]:
        """The trainings by which a finalist is scored again, in whatever status."""
        return tuple(one for one in self.evaluations(finalist.id) if one.phase == "finalists")

    @property
    def winner(self) -> Candidate | None:
        """The best of start (where it may win) and finalists, or without finalists of children; None without one."""
        finalists, kinds = {one.id for one in self.finalists}, {"child", "start"} if self.start_may_win else {"child"}
        ranked = (one for one in self.best(len(self)) if one.kind in kinds)
        return next((one for one in ranked if not finalists or one.kind == "start" or one.id in finalists), None)

    def behind(self, candidate: Candidate) -> tuple[float, float] | None:
        """By how much the best one's lead is above a candidate's, and the standard error of that difference.

        Both are 0 for the best one; the error is NaN where nothing tells it. None where the candidate has no lead.
        """
        return self._standing.behind(candidate.id)

    def tied(self, candidate: Candidate) -> bool:
        """Whether a candidate is as good as the best, as far as can be told: behind by less than the error of that.

        A start that may not win, and is ahead of all that may, is not.
        """
        return (behind := self.behind(candidate)) is not None and 0 <= behind[0] < behind[1]

    def noise(self, epochs: int | None = None) -> float | None:
        """Standard deviation of a score over seeds, measured on evaluations that are alike but for their seed.

        These are controls and replicates. Group variances (n - 1 in the denominator) are pooled, weighted by their
        degrees of freedom.

        Args:
            epochs: takes only evaluations with that many epochs.

        Returns:
            None without replicates.
        """
        return None if (spread := self._standing.noise(epochs)) is None else spread.deviation

    def spread(self) -> Spread | None:
        """The noise together with its degrees of freedom; None without replicates."""
        return self._standing.noise(None)

    def gain_error(self, child: Candidate) -> float | None:
        """Standard error of a gain: ``noise · √(1 + 1 / controls)``; None where the noise or a control is missing."""
        spread = self._standing.noise(None)
        controls = 0 if child.parent is None else self._standing.controls((child.parent, child.fidelity))
        return spread.deviation * math.sqrt(1 + 1 / controls) if spread is not None and controls else None

    def pareto(self, *names: str) -> tuple[Candidate, ...]:
        """Start and children with a merit that no other beats, in ascending order of what is weighed first.

        One beats another where it is nowhere worse, and better somewhere: in merit, and in each of the names.

        Args:
            names: costs, or metrics among ``tradeoffs``; those of the search where none is given. Candidates that lack
                one are left out.

        Raises:
            ConfigError: candidates are done, and none has a cost of that name.
        """
        return tuple(self._candidates[number] for number in front(self._points(names)))

    def nearest_to_front(self, count: int) -> tuple[Candidate, ...]:
        """As many candidates as asked for: the front, then the front of the rest, …; of one front the best first."""
        rank = {number: place for place, number in enumerate(self._standing.best(len(self)))}
        layers = fronts(self._points(()), count)
        ordered = [number for layer in layers for number in sorted(layer, key=lambda number: rank[number])]
        return tuple(self._candidates[number] for number in ordered[:count])

    def weighed(self, candidate: Candidate, name: str) -> float | None:
        """What counts against a candidate in a trade-off, lower for better; None where it is unknown."""
        if name in self._others:
            merit = self._others[name].merit(candidate.id)
            return None if merit is None else -merit
        known = self._standing.cost_names
        if known and name not in known:
            raise ConfigError(f"no candidate has a cost {name!r}{suggestion(name, known)}")
        return self._standing.cost(candidate.id, name)

    def _points(self, names: Sequence[str]) -> list[Point]:
        chosen = names or tuple(one.name for one in self.tradeoffs)
        points: list[Point] = []
        for number in self._standing.best(len(self)):
            merit = self._standing.merit(number)
            values = [self.weighed(self._candidates[number], name) for name in chosen]
            if merit is not None and None not in values:
                points.append(((*(value for value in values if value is not None), -merit), number))
        return points

    def _enter(self, candidate: Candidate) -> None:
        """Take a new or newly read candidate into the indexes."""
        if candidate.id != len(self._candidates):
            raise ArchiveError(f"archive {self.path} is damaged: candidate {len(self._candidates)} is missing")
        self._candidates.append(candidate)
        self._kinds[candidate.kind].append(candidate.id)
        self._of[candidate.subject].append(candidate.id)
        if candidate.phase not in {"verdict", "training"}:
            self._epochs += candidate.epochs
            self._pretraining_epochs += candidate.pretraining.epochs if candidate.pretraining else 0
        if candidate.kind in OFFSPRING:
            if candidate.kind == "reignition" or candidate.strategy != self._strategy:
                self._recent.clear()
            self._strategy = candidate.strategy
            if candidate.kind == "child":
                self._recent.append(candidate.id)
        if candidate.is_node:
            self._architectures.add(candidate.architecture)
        elif candidate.kind == "control" and candidate.parent is not None:
            self._controls[candidate.parent, candidate.fidelity].append(candidate.id)
        self._propose(candidate)
        if candidate.status == "proposed":
            self._pending[candidate.id] = None
        elif candidate.status == "done":
            self._finish(candidate)

    def _propose(self, candidate: Candidate) -> None:
        for standing in (self._standing, *self._others.values()):
            standing.propose(candidate)

    def _settle(self, candidate: Candidate) -> None:
        """Take in how a proposed candidate has ended."""
        self._candidates[candidate.id] = candidate
        del self._pending[candidate.id]
        if candidate.status == "done":
            self._finish(candidate)

    def _finish(self, candidate: Candidate) -> None:
        has_score = math.isfinite(candidate.metrics.get(self.objective.name, math.nan))
        if candidate.kind == "rung" and has_score and self._candidates[candidate.subject].kind in OFFSPRING:
            known = self._candidates[self._newest.get(candidate.subject, candidate.subject)]
            if candidate.fidelity.rung > known.fidelity.rung:
                self._newest[candidate.subject] = candidate.id
        for standing in (self._standing, *self._others.values()):
            standing.finish(candidate)
