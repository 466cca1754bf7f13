"""The archive: all candidates of a run, on disk and mirrored in memory."""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from spnas_core.durable import sync_folder
from spnas_core.encoding import Architecture
from spnas_core.errors import ArchiveError, ConfigError, SpnasError, suggestion
from spnas_core.tasks import Evaluation, MetricSpec
from spnas_search.archive import rows, schema
from spnas_search.archive.admission import admit
from spnas_search.archive.candidate import Candidate, Kind, Proposal
from spnas_search.archive.ranking import Ranking


class Archive:
    """Candidates by number, written by one process (see ``RunLock``) and readable by others at any time.

    Every question is answered from memory, from indexes that grow with the archive. Every answer depends only
    on what is committed, never on the order in which results came in: a reopened archive answers as the
    running one did.

    Use ``Archive.create`` or ``Archive.open``; a context manager that closes itself.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        self.objective = MetricSpec(meta["objective"], meta["higher_is_better"] == "1")
        self.run_seed = int(meta["seed"])
        self.created = datetime.fromisoformat(meta["created"])
        self._candidates: list[Candidate] = []
        self._pending: dict[int, None] = {}
        self._kinds: dict[Kind, list[int]] = defaultdict(list)
        self._controls: dict[tuple[int, int], list[int]] = defaultdict(list)
        self._architectures: set[Architecture] = set()
        self._ranking = Ranking(self.objective)
        for row in connection.execute(rows.SELECT):
            self._enter(_read(row, path))

    @classmethod
    def create(cls, path: Path, *, objective: MetricSpec, run_seed: int) -> "Archive":
        """Make an empty archive; its file appears complete or not at all.

        Args:
            path: of the new file; missing folders are made.
            objective: metric by which candidates are ranked.
            run_seed: 0 or more; the seeds of all candidates follow from it.

        Raises:
            ArchiveError: there is a file already, or it cannot be written.
            ConfigError: a negative seed.
        """
        if run_seed < 0:
            raise ConfigError(f"seed {run_seed} is negative: it must be 0 or more")
        if path.exists():
            raise ArchiveError(
                f"archive {path} exists already: go on with --resume, or start this run with --out elsewhere"
            )
        unfinished = path.with_name(f".{path.name}.new")
        meta = {
            "objective": objective.name,
            "higher_is_better": str(int(objective.higher_is_better)),
            "seed": str(run_seed),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for leftover in path.parent.glob(f"{unfinished.name}*"):
                leftover.unlink()
            connection = sqlite3.connect(unfinished, isolation_level=None)
            try:
                schema.configure(connection)
                schema.migrate(connection, unfinished)
                with schema.transaction(connection, unfinished):
                    connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
            finally:
                connection.close()
            unfinished.replace(path)
            sync_folder(path.parent)
        except (OSError, sqlite3.Error) as error:
            raise ArchiveError(f"archive {path} cannot be made: {error}") from error
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> "Archive":
        """Open an archive, and bring it up to this version where it is older.

        Raises:
            ArchiveError: the file is missing, damaged, no archive, or of a newer version.
        """
        if not path.is_file():
            raise ArchiveError(f"there is no archive {path}: name the folder of a run, as `spnas run` makes it")
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
            schema.check_readable(connection, path)
            schema.configure(connection)
            schema.migrate(connection, path)
            return cls(path, connection)
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, (sqlite3.Error, KeyError)):
                raise ArchiveError(f"{path} is no spnas archive, or is damaged: {error}") from error
            raise

    def close(self) -> None:
        """Close the file; what has been read stays readable."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Writing: each method is one transaction, and memory follows only once it is committed.

    def commit_round(self, proposals: Sequence[Proposal], *, threads: int) -> tuple[Candidate, ...]:
        """Enter a round of proposals, before any of them is evaluated.

        Args:
            proposals: get consecutive numbers in this order; an empty round changes nothing.
            threads: CPU threads that each is evaluated with.

        Raises:
            ArchiveError: a second start, a parent that is not a start or child of an earlier round, a rewrite
                that does not begin at the parent, a control that rewrites something, or a file that cannot be
                written.
        """
        entered = admit(self._candidates, proposals, round_number=self.rounds, run_seed=self.run_seed, threads=threads)
        starts = [candidate for candidate in entered if candidate.kind == "start"]
        if len(starts) + len(self._kinds["start"]) > 1:
            raise ArchiveError(f"a second start in {self.path}: an archive holds one search, and it has one start")
        with schema.transaction(self._connection, self.path):
            self._connection.executemany(rows.INSERT, [rows.to_row(candidate) for candidate in entered])
        for candidate in entered:
            self._enter(candidate)
        return entered

    def finish(self, number: int, evaluation: Evaluation, checksum: str | None) -> Candidate:
        """Enter a result.

        Args:
            number: of a candidate that is still ``proposed``.
            evaluation: what came of it.
            checksum: of its weights file, which must be complete by now; None where there is none.

        Raises:
            ArchiveError: the candidate has ended already, or the result holds something that is not plain.
            ConfigError: the evaluation has no metric of the objective's name.
        """
        candidate = self._unfinished(number)
        if self.objective.name not in evaluation.metrics:
            hint = suggestion(self.objective.name, evaluation.metrics)
            raise ConfigError(f"the task measures no metric {self.objective.name!r}{hint}")
        done = replace(
            candidate,
            status="done",
            metrics=rows.plain(evaluation.metrics, f"the metrics of candidate {number}"),
            cost=rows.plain(evaluation.cost, f"the cost of candidate {number}"),
            receipt=rows.plain(evaluation.receipt, f"the receipt of candidate {number}"),
            seconds=float(evaluation.seconds),
            checksum=checksum,
        )
        return self._end(done)

    def fail(self, number: int, reason: str, seconds: float = 0.0) -> Candidate:
        """Enter a failure.

        Raises:
            ArchiveError: the candidate has ended already.
        """
        return self._end(replace(self._unfinished(number), status="failed", reason=reason, seconds=float(seconds)))

    def replace_weights(self, number: int, checksum: str) -> Candidate:
        """Enter the new checksum of a damaged weights file that was made again.

        Raises:
            ArchiveError: the candidate is not done.
        """
        candidate = self[number]
        if candidate.status != "done":
            raise ArchiveError(
                f"candidate {number} is {candidate.status}: only a done candidate has weights to replace"
            )
        with schema.transaction(self._connection, self.path):
            self._connection.execute("UPDATE candidates SET checksum = ? WHERE id = ?", (checksum, number))
        self._candidates[number] = replace(candidate, checksum=checksum)
        return self._candidates[number]

    # Reading

    def remember(self, key: str, value: str) -> None:
        """Store one fact about the run, in its own transaction; a later value replaces an earlier one."""
        with schema.transaction(self._connection, self.path):
            self._connection.execute("REPLACE INTO meta VALUES (?, ?)", (f"run:{key}", value))

    def recall(self, key: str) -> str | None:
        """Return a stored fact; None where there is none."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (f"run:{key}",)).fetchone()
        return None if row is None else str(row[0])

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

    def _unfinished(self, number: int) -> Candidate:
        candidate = self[number]
        if candidate.status != "proposed":
            raise ArchiveError(f"candidate {number} is {candidate.status} already: a candidate has one result")
        return candidate

    def _end(self, candidate: Candidate) -> Candidate:
        with schema.transaction(self._connection, self.path):
            changed = self._connection.execute(rows.UPDATE_RESULT, (*rows.result_row(candidate), candidate.id))
            if changed.rowcount != 1:
                raise ArchiveError(
                    f"candidate {candidate.id} of {self.path} was ended by another process: stop one of them"
                )
        self._candidates[candidate.id] = candidate
        del self._pending[candidate.id]
        if candidate.status == "done":
            self._ranking.finish(candidate)
        return candidate

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


def _read(row: rows.Row, path: Path) -> Candidate:
    try:
        return rows.from_row(row)
    except SpnasError as error:
        raise ArchiveError(f"candidate {row[0]} of {path} cannot be read: {error}") from error
    except (json.JSONDecodeError, TypeError, ValueError) as error:
        raise ArchiveError(f"archive {path} is damaged: candidate {row[0]} holds {error}") from error
