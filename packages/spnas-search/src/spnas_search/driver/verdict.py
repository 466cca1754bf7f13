"""The verdict: whether the winner is a better architecture than the start, or why nothing can be said."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from spnas_search.archive import Archive, Candidate
from spnas_search.driver.verdict_rounds import (
    branch_epochs,
    branches,
    milestones,
    scratch_epochs,
    scratches,
    searched,
    trains_alone,
)
from spnas_search.settings import RunSettings
from spnas_search.statistics import Interval, difference_interval, mean_interval

_NAMED = 3
"""Evaluations of a group that messages name one by one."""


@dataclass(frozen=True)
class Side:
    """What stands between start and winner: the best of an earlier strategy, or a reignition.

    Attributes:
        candidate: that was trained.
        scores: on test images, in the metric's own direction; where they are paired, NaN for a training that gave none.
    """

    candidate: Candidate
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Column:
    """One way of training the architectures alike.

    Attributes:
        name: how both were trained, for headings.
        epochs: of each training, the warm start not counted.
        start: test scores of the start, one per seed, in the metric's own direction.
        winner: the same of the winner.
        paired: whether scores of the same place come from the same warm start.
        higher_is_better: the metric's direction.
        between: what else was trained alike, in the order in which the search has found it.
    """

    name: str
    epochs: int
    start: tuple[float, ...]
    winner: tuple[float, ...]
    paired: bool
    higher_is_better: bool = True
    between: tuple[Side, ...] = ()

    @property
    def gain(self) -> Interval:
        """Mean improvement of the winner over the start with its 95 % interval; positive is better."""
        return self.gain_of(self.winner)

    def gain_of(self, scores: Sequence[float]) -> Interval:
        """Mean improvement of scores, one per seed, over the start's."""
        sign = 1 if self.higher_is_better else -1
        start, others = ([sign * score for score in found] for found in (self.start, scores))
        if self.paired:
            gains = [one - other for one, other in zip(others, start, strict=True)]
            return mean_interval([gain for gain in gains if math.isfinite(gain)])
        return difference_interval(others, start)


@dataclass(frozen=True)
class Verdict:
    """What independent trainings say of a search's winner.

    Attributes:
        start: the architecture that the search began with.
        winner: the one that it chose.
        columns: the ways of training that were compared; the first is the verdict's own.
        searched: test scores of the weights that the search has left, of start and winner; None where one is undefined.
        missing: what the comparison lacks, in words; empty where it is complete.
        tested_on: what the images are called that the scores are of.
    """

    start: Candidate
    winner: Candidate
    columns: tuple[Column, ...]
    searched: tuple[float, float] | None
    missing: tuple[str, ...] = field(default=())
    tested_on: str = "test images"

    @property
    def gain(self) -> Interval:
        """Of the first column."""
        return self.columns[0].gain


@dataclass(frozen=True)
class NoVerdict:
    """Why a search has no verdict.

    Attributes:
        reason: a sentence for people.
        start_won: no child beat the start, so that the winner is the start: there is no gain, and its size is known.
    """

    reason: str
    start_won: bool = False


def outcome(archive: Archive, settings: RunSettings) -> Verdict | NoVerdict:
    """Read off the archive how a search that is over has ended.

    Args:
        archive: of the search.
        settings: of the search.
    """
    winner = archive.winner
    if winner is None:
        is_outside = not archive.start_may_win and math.isfinite(archive.score(archive.start))
        which = "part of the start, which lies outside the search space," if is_outside else "candidate"
        return NoVerdict(f"No {which} has a defined {archive.objective.name}: there is nothing to compare.")
    if not settings.final.seeds:
        return NoVerdict(f"No verdict on {archive.test_images} was asked for (final.seeds = 0).")
    if not any(math.isfinite(archive.score(child)) for child in archive.of_kind("child")):
        failed = "no child has a defined score" if archive.children else "no child was evaluated"
        return NoVerdict(f"There is nothing to compare the start with: {failed}.")
    if winner.kind == "start":
        reason = f"No child beat the start {winner.architecture}: there is nothing to compare it with."
        return NoVerdict(reason, start_won=True)
    columns = tuple(column for column in _columns(archive, settings, winner) if column.start and column.winner)
    missing = missing_parts(archive, settings, winner)
    if not columns:
        return NoVerdict(f"There is no verdict on {archive.test_images}: {'; '.join(missing)}.")
    left = [_scores(archive, _finite(archive, searched(archive, side))) for side in (archive.start, winner)]
    known = (left[0][0], left[1][0]) if all(left) else None
    return Verdict(archive.start, winner, columns, known, missing, archive.test_images)


def _columns(archive: Archive, settings: RunSettings, winner: Candidate) -> list[Column]:
    higher_is_better, sides, columns = archive.objective.higher_is_better, milestones(archive, winner), []
    if not trains_alone(archive):
        rows = []
        for warm in archive.of_kind("warm"):
            found = [_scores(archive, _finite(archive, branches(archive, warm, side))) for side in sides]
            if found[0] and found[-1]:
                rows.append([scores[0] if scores else math.nan for scores in found])
        scores = [tuple(row[place] for row in rows) for place in range(len(sides))]
        epochs = branch_epochs(archive, settings, winner)
        columns.append(_column("fresh warm starts", epochs, sides, scores, True, higher_is_better))
    if trains_alone(archive) or settings.final.from_scratch:
        scores = [_scores(archive, _finite(archive, scratches(archive, side))) for side in sides]
        epochs = scratch_epochs(archive, settings, winner)
        columns.append(_column("from scratch", epochs, sides, scores, False, higher_is_better))
    return columns


def _column(
    name: str,
    epochs: int,
    sides: Sequence[Candidate],
    scores: Sequence[tuple[float, ...]],
    paired: bool,
    higher_is_better: bool,
) -> Column:
    between = tuple(
        Side(side, found)
        for side, found in zip(sides[1:-1], scores[1:-1], strict=True)
        if any(map(math.isfinite, found))
    )
    return Column(name, epochs, scores[0], scores[-1], paired, higher_is_better, between)


def missing_parts(archive: Archive, settings: RunSettings, winner: Candidate) -> tuple[str, ...]:
    """Say what the comparison of winner and start lacks, and why; nothing where it is complete."""
    wanted, parts = settings.final.seeds, []
    warms = archive.of_kind("warm")
    if not trains_alone(archive) and sum(warm.status == "done" for warm in warms) < wanted:
        parts.append(f"{_of(warms, wanted)} fresh warm starts ended ({_why(archive, warms)})")
    start, *between, _ = milestones(archive, winner)
    for name, side in (("start", start), *((f"{one.kind} {one.id}", one) for one in between), ("winner", winner)):
        groups = []
        if not trains_alone(archive):
            groups.append([one for warm in warms for one in branches(archive, warm, side)])
        if trains_alone(archive) or settings.final.from_scratch:
            groups.append(list(scratches(archive, side)))
        for group in groups:
            scored = len(_finite(archive, group))
            if scored < wanted:
                parts.append(f"the {name} has scores of {scored} of {wanted} trainings ({_why(archive, group)})")
    return tuple(parts)


def _of(candidates: Sequence[Candidate], wanted: int) -> str:
    return f"{sum(one.status == 'done' for one in candidates)} of {wanted}"


def _finite(archive: Archive, candidates: Sequence[Candidate]) -> list[Candidate]:
    return [one for one in candidates if math.isfinite(archive.score(one))]


def _why(archive: Archive, candidates: Sequence[Candidate]) -> str:
    """Say of evaluations why they gave no score."""
    reasons = []
    for candidate in candidates:
        name = f"{candidate.kind} {candidate.id}"
        if candidate.status == "failed":
            reasons.append(f"{name} failed: {candidate.reason}")
        elif candidate.status == "proposed":
            reasons.append(f"{name} was not evaluated")
        elif not math.isfinite(archive.score(candidate)) and candidate.kind != "warm":
            reasons.append(f"{name} has no defined {archive.objective.name}")
    more = len(reasons) - _NAMED
    return ", ".join(reasons[:_NAMED] + [f"and {more} more"] * (more > 0)) or "they were not evaluated"


def _scores(archive: Archive, candidates: Sequence[Candidate]) -> tuple[float, ...]:
    return tuple(candidate.metrics[archive.objective.name] for candidate in candidates)
