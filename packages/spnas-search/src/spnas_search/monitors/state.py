"""What a view needs to know of a running search."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from spnas_core.tasks import Progress
from spnas_search.archive import Archive, Candidate
from spnas_search.settings import RunSettings


@dataclass
class SearchState:
    """Follows a search, so that views only have to draw.

    Attributes:
        settings: of the run.
        archive: of the run.
        phase: what the current round is for.
        running: candidates under evaluation, with the last progress of each.
    """

    settings: RunSettings
    archive: Archive
    phase: str = "start"
    running: dict[int, tuple[Candidate, Progress | None]] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)
    _children_before: int = 0

    def __post_init__(self) -> None:
        self._children_before = self.finished_children

    @property
    def finished_children(self) -> int:
        """Children whose evaluation has ended."""
        return sum(candidate.status != "proposed" for candidate in self.archive.of_kind("child"))

    def round_started(self, phase: str, candidates: Sequence[Candidate]) -> None:
        """Take in a new round; of an asynchronous search, what begins beside others."""
        if phase == "search" and self.phase != "search":
            self._began, self._children_before = time.monotonic(), self.finished_children
        self.phase = phase
        self.running.update((candidate.id, (candidate, None)) for candidate in candidates)

    def progress(self, progress: Progress) -> None:
        """Take in how far an evaluation is."""
        known = self.running.get(progress.candidate)
        candidate = known[0] if known else self.archive[progress.candidate]
        self.running[progress.candidate] = (candidate, progress)

    def candidate_finished(self, candidate: Candidate) -> None:
        """Take in the end of an evaluation."""
        self.running.pop(candidate.id, None)

    @property
    def candidates_per_hour(self) -> float | None:
        """Children per hour in this process; None before the first one."""
        done = self.finished_children - self._children_before
        return 3600 * done / (time.monotonic() - self._began) if done else None

    @property
    def seconds_left(self) -> float | None:
        """Estimate for the children that remain; None before the first one."""
        rate = self.candidates_per_hour
        wanted = self.wanted_children
        if rate is None or wanted is None or self.phase not in {"start", "noise", "search"}:
            return None
        return 3600 * (wanted - self.finished_children) / rate

    @property
    def wanted_children(self) -> int | None:
        """Children of the budget; None where it counts something else."""
        return self.settings.budget.children

    @property
    def share(self) -> float:
        """How much of the budget is used up, in 0…1."""
        budget, archive = self.settings.budget, self.archive
        shares = [0.0]
        if budget.children:
            shares.append(self.finished_children / budget.children)
        if budget.epochs is not None:
            shares.append(archive.epochs / budget.epochs)
        if budget.hours is not None:
            shares.append(archive.elapsed / 3600 / budget.hours)
        return min(1.0, max(shares))

    @property
    def counted(self) -> str:
        """How many children there are, of how many, for people."""
        wanted = self.wanted_children
        return f"{self.finished_children}{'' if wanted is None else f'/{wanted}'} children"

    @property
    def best(self) -> Candidate | None:
        """The candidate that would win, were the search over."""
        return self.archive.winner
