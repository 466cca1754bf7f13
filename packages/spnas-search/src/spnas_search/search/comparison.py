"""The final comparison: the winner beside the start at equal age, on test images; or why there is none."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from spnas_search.archive import Archive, Candidate
from spnas_search.search.rounds import aged_start_of
from spnas_search.settings import RunSettings

_NAMED = 3
"""Evaluations of a group that messages name one by one."""


@dataclass(frozen=True)
class Comparison:
    """Scores of start and winner on images that the search never scored on.

    Attributes:
        start: the start, brought to the winner's age.
        winner: the candidate of the highest merit.
        age: epochs in the lineage of both.
        start_scores: one per seed, in the metric's own direction.
        winner_scores: one per seed.
        higher_is_better: the metric's direction.
    """

    start: Candidate
    winner: Candidate
    age: int
    start_scores: tuple[float, ...]
    winner_scores: tuple[float, ...]
    higher_is_better: bool = True

    @property
    def gain(self) -> float:
        """Mean improvement of the winner over the start; positive is better, whatever the metric's direction."""
        difference = fmean(self.winner_scores) - fmean(self.start_scores)
        return difference if self.higher_is_better else -difference

    @property
    def noise(self) -> float | None:
        """Standard deviation of a score over seeds, pooled over both; None with one seed."""
        groups = [scores for scores in (self.start_scores, self.winner_scores) if len(scores) > 1]
        if not groups:
            return None
        freedom = sum(len(scores) - 1 for scores in groups)
        return math.sqrt(sum((len(scores) - 1) * variance(scores) for scores in groups) / freedom)

    @property
    def exceeds_noise(self) -> bool:
        """Whether the gain is larger than the noise."""
        return self.noise is not None and self.gain > self.noise


@dataclass(frozen=True)
class NoComparison:
    """Why a search has no comparison.

    Attributes:
        reason: a sentence for people.
        start_won: no child beat the start, so that the winner is the start: there is no gain, and its size is known.
    """

    reason: str
    start_won: bool = False


def outcome(archive: Archive, settings: RunSettings) -> Comparison | NoComparison:
    """Read off the archive how a search that is over has ended.

    Args:
        archive: of the search.
        settings: of the search.
    """
    comparison = compare(archive)
    if comparison is not None:
        return comparison
    if not settings.final.seeds:
        return NoComparison("No comparison on test images was asked for (final.seeds = 0).")
    best = archive.best(1)
    if not best:
        return NoComparison(f"No candidate has a defined {archive.objective.name}: there is nothing to compare.")
    if best[0].id == archive.start.id:
        reason = f"No child beat the start {best[0].architecture}: there is nothing to compare it with."
        return NoComparison(reason, start_won=True)
    return NoComparison(f"There is no comparison on test images: {'; '.join(missing_parts(archive, settings))}.")


def missing_parts(archive: Archive, settings: RunSettings) -> tuple[str, ...]:
    """Say what the comparison of winner and start lacks, and why; nothing where it is complete.

    Args:
        archive: has a candidate with a merit.
        settings: of the search.
    """
    winner = archive.best(1)[0]
    aged, epochs = aged_start_of(archive, winner)
    if epochs is not None:
        return (f"the start was not brought to the winner's age ({_why(archive, archive.controls(aged.id, epochs))})",)
    parts = []
    for name, candidate in (("start", aged), ("winner", winner)):
        finals = [final for final in archive.of_kind("final") if final.parent == candidate.id]
        scored = sum(math.isfinite(archive.score(final)) for final in finals)
        if scored < settings.final.seeds:
            of_how_many = f"{scored} of {settings.final.seeds} trainings"
            parts.append(f"the {name} has scores of {of_how_many} ({_why(archive, finals)})")
    return tuple(parts)


def _why(archive: Archive, candidates: Sequence[Candidate]) -> str:
    """Say of evaluations why they gave no score."""
    reasons = []
    for candidate in candidates:
        name = f"{candidate.kind} {candidate.id}"
        if candidate.status == "failed":
            reasons.append(f"{name} failed: {candidate.reason}")
        elif candidate.status == "proposed":
            reasons.append(f"{name} was not evaluated")
        elif not math.isfinite(archive.score(candidate)):
            reasons.append(f"{name} has no defined {archive.objective.name}")
    more = len(reasons) - _NAMED
    return ", ".join(reasons[:_NAMED] + [f"and {more} more"] * (more > 0)) or "they were not evaluated"


def compare(archive: Archive) -> Comparison | None:
    """Read the final comparison off the archive; None where there is none (yet).

    A final whose score is undefined is left out.
    """
    finals = [candidate for candidate in archive.of_kind("final") if math.isfinite(archive.score(candidate))]
    winners = archive.best(1)
    if not finals or not winners or winners[0].id == archive.start.id:
        return None
    winner = winners[0]
    of_winner = [final for final in finals if final.parent == winner.id]
    of_start = [final for final in finals if final.parent != winner.id]
    if not of_winner or not of_start:
        return None
    return Comparison(
        of_start[0],
        of_winner[0],
        of_winner[0].age,
        _scores(archive, of_start),
        _scores(archive, of_winner),
        archive.objective.higher_is_better,
    )


def _scores(archive: Archive, candidates: Sequence[Candidate]) -> tuple[float, ...]:
    return tuple(candidate.metrics[archive.objective.name] for candidate in candidates)
