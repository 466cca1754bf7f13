"""The final comparison: the winner beside the start at equal age, on test images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from spnas_search.archive import Archive, Candidate


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


def compare(archive: Archive) -> Comparison | None:
    """Read the final comparison off the archive; None where there is none (yet)."""
    finals = [candidate for candidate in archive.of_kind("final") if candidate.status == "done"]
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
