"""What an archive holds, in memory: every question about candidates is answered here."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from spnas_core.encoding import Architecture
from spnas_core.errors import ArchiveError, ConfigError, suggestion
from spnas_core.tasks import MetricSpec
from spnas_search.archive.candidate import Candidate, Kind
from spnas_search.archive.ranking import Ranking


class Contents:
    """Candidates by number, with indexes that grow with them.

    Every answer depends only on what was entered, never on the order in which results came in.

    Args:
        path: of the archive's file, for messages.
        objective: metric by which candidates are ranked.
    """

    def __init__(self, path: Path, objective: MetricSpec) -> None:
        self.path = path
        self.objective = objective
        self._clear()

    def _clear(self) -> None:
        self._candidates: list[Candidate] = []
        self._pending: dict[int, None] = {}
        self._kinds: dict[Kind, list[int]] = defaultdict(list)
        self._controls: dict[tuple[int, int], list[int]] = defaultdict(list)
        self._architectures: set[Architecture] = set()
        self._ranking = Ranking(self.objective)

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

    def controls(self, parent: int, epochs: int) -> tuple[Candidate, ...]:
        """Controls of a parent by that many epochs, in whatever status, oldest first."""
        return tuple(self._candidates[number] for number in self._controls.get((parent, epochs), ()))

    def lineage(self, candidate: Candidate) -> tuple[Candidate, ...]:
        """A candidate and its ancestors, start first."""
        line = [self[candidate.id]]
        while (parent := line[-1].parent) is not None:
            line.append(self._candidates[parent])
        return tuple(reversed(line))

    def score(self, candidate: Candidate) -> float:
        """The objective, turned so that higher is better; minus infinity where it is not a finite number."""
        return self._ranking.score(self[candidate.id].metrics)

    def control_score(self, parent: int, epochs: int) -> float | None:
        """Mean score of a parent's done controls by that many epochs; None where no score is defined."""
        return self._ranking.control_score((parent, epochs))

    def gain(self, candidate: Candidate) -> float | None:
        """A done child's score minus its control's; None for others, and while the control is missing."""
        return self._ranking.gain(candidate.id)

    def merit(self, candidate: Candidate) -> float | None:
        """Start's score plus the gains along the lineage of a done start or child.

        None for others, while a control in the lineage is missing, and where a score in the lineage is
        undefined.
        """
        return self._ranking.merit(candidate.id)

    def best(self, count: int) -> tuple[Candidate, ...]:
        """Start and children of the highest merit, best first, older first among equals."""
        return tuple(self._candidates[number] for number in self._ranking.best(count))

    def noise(self, epochs: int | None = None) -> float | None:
        """Standard deviation of a score over seeds, measured on controls of equal parent and epochs.

        Group variances (n - 1 in the denominator) are pooled, weighted by their degrees of freedom.

        Args:
            epochs: takes only controls with that many epochs.

        Returns:
            None without replicates.
        """
        return self._ranking.noise(epochs)

    def pareto(self, cost: str = "multiply_adds") -> tuple[Candidate, ...]:
        """Start and children with a merit that no other beats, cheapest first.

        One beats another where its merit is higher or equal and its cost lower or equal, one of them
        strictly.

        Raises:
            ConfigError: candidates are done, and none has a cost of that name.
        """
        known = self._ranking.cost_names
        if known and cost not in known:
            raise ConfigError(f"no candidate has a cost {cost!r}{suggestion(cost, known)}")
        return tuple(self._candidates[number] for number in self._ranking.pareto(cost))

    def _enter(self, candidate: Candidate) -> None:
        """Take a new or newly read candidate into the indexes."""
        if candidate.id != len(self._candidates):
            raise ArchiveError(f"archive {self.path} is damaged: candidate {len(self._candidates)} is missing")
        self._candidates.append(candidate)
        self._kinds[candidate.kind].append(candidate.id)
        if candidate.kind in {"start", "child"}:
            self._architectures.add(candidate.architecture)
        elif candidate.kind == "control" and candidate.parent is not None:
            self._controls[candidate.parent, candidate.epochs].append(candidate.id)
        self._ranking.propose(candidate)
        if candidate.status == "proposed":
            self._pending[candidate.id] = None
        elif candidate.status == "done":
            self._ranking.finish(candidate)

    def _settle(self, candidate: Candidate) -> None:
        """Take in how a proposed candidate has ended."""
        self._candidates[candidate.id] = candidate
        del self._pending[candidate.id]
        if candidate.status == "done":
            self._ranking.finish(candidate)
