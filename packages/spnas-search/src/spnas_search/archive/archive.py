"""The archive: all candidates of a run, on disk and mirrored in memory."""

import itertools
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from spnas_core.durable import replace_durably
from spnas_core.errors import ArchiveError, ConfigError
from spnas_core.tasks import Evaluation, MetricSpec
from spnas_search.archive import rows, schema
from spnas_search.archive.admission import Admission, Sources
from spnas_search.archive.candidate import Candidate, Inherit, Phase, Proposal
from spnas_search.archive.collector import collector_paused
from spnas_search.archive.contents import Contents
from spnas_search.archive.intake import plain_reason, plain_result
from spnas_search.archive.snapshot import snapshot
from spnas_search.archive.tradeoffs import DEFAULT, Tradeoff, read_tradeoffs, tradeoffs_text
from spnas_search.ranking import ranking_rule

_FACT = "run:"
"""Before the keys of what ``remember`` has stored."""

_ELAPSED = "seconds"

_OUTSIDE = "start_outside"

TEST_IMAGES = "test_images"
"""The fact that says what results call the images of the split ``test``."""


class Archive(Contents):
    """Candidates by number, written by one process (see ``RunLock``) and readable by others at any time.

    Every question is answered from memory, from indexes that grow with the archive. Every answer depends only
    on what is committed, never on the order in which results came in: a reopened archive answers as the
    running one did.

    Use ``Archive.create`` or ``Archive.open``; a context manager that closes itself.
    """

    OWN_TEST_IMAGES = "test images"

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._connection = connection
        meta = schema.read_meta(connection, path)
        self._facts = {key.removeprefix(_FACT): value for key, value in meta.items() if key.startswith(_FACT)}
        objective = MetricSpec(meta["objective"], meta["higher_is_better"] == "1")
        # Before there was a choice, gains were summed and children began with their parents' weights.
        inherit = meta.get("inherit", "parent")
        rule, tradeoffs = ranking_rule(meta.get("ranking", "gains")), read_tradeoffs(meta.get("tradeoffs"))
        self.start_may_win = _OUTSIDE not in self._facts
        super().__init__(path, objective, rule, cast("Inherit", inherit), tradeoffs)
        self._measurements = schema.read_measurements(connection, path)
        self.run_seed = int(meta["seed"])
        self.created = datetime.fromisoformat(meta["created"])
        self._load()

    def _load(self) -> None:
        """Mirror the file's candidates in memory."""
        self._clear()
        with collector_paused():
            for row in self._connection.execute(rows.SELECT):
                self._enter(rows.read(row, self.path))

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        objective: MetricSpec,
        run_seed: int,
        ranking: str = "prediction",
        inherit: Inherit = "parent",
        tradeoffs: Sequence[Tradeoff] = (Tradeoff(DEFAULT),),
        facts: Mapping[str, str] | None = None,
    ) -> "Archive":
        """Make an empty archive; its file appears complete or not at all.

        Args:
            path: of the new file; missing folders are made.
            objective: metric by which candidates are ranked.
            run_seed: 0 or more; the seeds of all candidates follow from it.
            ranking: name of the rule that ranks them.
            inherit: what children begin with.
            tradeoffs: what is weighed against the objective.
            facts: what ``recall`` answers from the beginning on.

        Raises:
            ArchiveError: there is a file already, or it cannot be written.
            ConfigError: a negative seed, or an unknown rule.
        """
        ranking_rule(ranking)
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
            "ranking": ranking,
            "inherit": inherit,
            "tradeoffs": tradeoffs_text(tradeoffs),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **{f"{_FACT}{key}": value for key, value in (facts or {}).items()},
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
                    connection.executemany(schema.STORE_META, itertools.starmap(schema.meta_row, meta.items()))
            finally:
                connection.close()
            replace_durably(unfinished, path)
        except (OSError, sqlite3.Error) as error:
            raise ArchiveError(f"archive {path} cannot be made: {error}") from error
        return cls.open(path)

    @classmethod
    def read(cls, path: Path) -> "Archive":
        """Open an archive for looking at, as it is now: nothing is written, and writing to it changes no file.

        Raises:
            ArchiveError: the file is missing, unreadable, damaged, no archive, or of a newer version.
        """
        _check_is_file(path)
        try:
            copy = snapshot(path)
            try:
                return cls(path, copy)
            except BaseException:
                copy.close()
                raise
        except (sqlite3.Error, KeyError) as error:
            raise ArchiveError(f"{path} is no spnas archive, or is damaged: {error}") from error

    @classmethod
    def open(cls, path: Path) -> "Archive":
        """Open an archive for writing, and bring it up to this version where it is older.

        Raises:
            ArchiveError: the file is missing, damaged, no archive, or of a newer version.
        """
        _check_is_file(path)
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

    def commit_round(
        self, proposals: Sequence[Proposal], *, threads: int, phase: Phase = "search"
    ) -> tuple[Candidate, ...]:
        """Enter a round of proposals, before any of them is evaluated.

        Args:
            proposals: get consecutive numbers in this order; an empty round changes nothing.
            threads: CPU threads that each is evaluated with.
            phase: what the round is for.

        Raises:
            ArchiveError: a second start, a parent or subject of the wrong kind or of no earlier round, a rewrite
                that does not begin at the parent, a control that rewrites something, or a file that cannot be
                written.
        """
        admission = Admission(self.run_seed, Sources(self.inherit, self._newest))
        entered = admission.admit(self._candidates, proposals, round_number=self.rounds, phase=phase, threads=threads)
        starts = [candidate for candidate in entered if candidate.kind == "start"]
        if len(starts) + len(self._kinds["start"]) > 1:
            raise ArchiveError(f"a second start in {self.path}: an archive holds one search, and it has one start")
        with schema.transaction(self._connection, self.path):
            self._connection.executemany(rows.INSERT, [rows.to_row(candidate) for candidate in entered])
        for candidate in entered:
            self._enter(candidate)
        return entered

    def finish(self, number: int, evaluation: Evaluation, checksum: str | None, *, elapsed: float = 0.0) -> Candidate:
        """Enter a result.

        Args:
            number: of a candidate that is still ``proposed``.
            evaluation: what came of it.
            checksum: of its weights file, which must be complete by now; None where there is none.
            elapsed: wall-clock seconds to add to ``elapsed``, in the same transaction.

        Raises:
            ArchiveError: the candidate has ended already.
            EvaluationError: the result is not plain, or lacks the objective; see ``plain_result``.
        """
        candidate = self._unfinished(number)
        evaluation = plain_result(evaluation, self.objective.name)
        done = replace(
            candidate,
            status="done",
            metrics=evaluation.metrics,
            cost=evaluation.cost,
            receipt=evaluation.receipt,
            seconds=evaluation.seconds,
            checksum=checksum,
        )
        return self._end(done, elapsed)

    def fail(self, number: int, reason: str, seconds: float = 0.0, *, elapsed: float = 0.0) -> Candidate:
        """Enter a failure.

        Args:
            number: of a candidate that is still ``proposed``.
            reason: in one line.
            seconds: that the evaluation took.
            elapsed: wall-clock seconds to add to ``elapsed``, in the same transaction.

        Raises:
            ArchiveError: the candidate has ended already.
        """
        ended = replace(
            self._unfinished(number), status="failed", reason=plain_reason(reason), seconds=max(0.0, float(seconds))
        )
        return self._end(ended, elapsed)

    def withdraw(self, numbers: Sequence[int]) -> None:
        """Take failures back that were no candidate's fault, as if they had not been evaluated.

        Those of the earliest of their rounds are proposed again; later rounds, which were decided without knowing
        better, leave the archive, so that they are decided anew.

        Args:
            numbers: failed candidates; in the rounds after the first of them nothing is done.

        Raises:
            ArchiveError: one of them has not failed, or a later round holds a result.
        """
        taken = [self[number] for number in numbers]
        if not taken:
            return
        first = min(candidate.round for candidate in taken)
        later = [candidate for candidate in self._candidates if candidate.round > first]
        for candidate in [*taken, *later]:
            if candidate.status == "done" or (candidate in taken and candidate.status != "failed"):
                raise ArchiveError(f"candidate {candidate.id} is {candidate.status}: only failures can be withdrawn")
        again = [
            replace(candidate, status="proposed", reason="", seconds=0.0)
            for candidate in taken
            if candidate.round == first
        ]
        with schema.transaction(self._connection, self.path):
            self._connection.execute("DELETE FROM candidates WHERE round > ?", (first,))
            self._connection.executemany(
                rows.UPDATE_RESULT, [(*rows.result_row(candidate), candidate.id, "failed") for candidate in again]
            )
        self._load()

    def retry(self, numbers: Sequence[int]) -> None:
        """Propose failed candidates again, in their old places: what was decided since stays.

        Raises:
            ArchiveError: there is no such candidate, or one of them has not failed.
        """
        for number in numbers:
            if number >= len(self):
                raise ArchiveError(f"{self.path.parent} has {len(self)} candidates: there is no candidate {number}")
            if self[number].status != "failed":
                raise ArchiveError(f"candidate {number} is {self[number].status}: only what has failed is tried again")
        again = [replace(self[number], status="proposed", reason="", seconds=0.0) for number in dict.fromkeys(numbers)]
        with schema.transaction(self._connection, self.path):
            self._connection.executemany(
                rows.UPDATE_RESULT, [(*rows.result_row(candidate), candidate.id, "failed") for candidate in again]
            )
        self._load()

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
        replaced = replace(candidate, checksum=checksum)
        with schema.transaction(self._connection, self.path):
            self._connection.execute(rows.UPDATE_RESULT, (*rows.result_row(replaced), number, "done"))
        self._candidates[number] = replaced
        return replaced

    def remember(self, key: str, value: str) -> None:
        """Store one fact about the run, in its own transaction; a later value replaces an earlier one."""
        with schema.transaction(self._connection, self.path):
            self._connection.execute(schema.STORE_META, schema.meta_row(f"{_FACT}{key}", value))
        self._facts[key] = value

    def forget(self, key: str) -> None:
        """Remove a stored fact, where there is one, in its own transaction."""
        with schema.transaction(self._connection, self.path):
            self._connection.execute(schema.FORGET_META, (f"{_FACT}{key}",))
        self._facts.pop(key, None)

    def recall(self, key: str) -> str | None:
        """Return a stored fact; None where there is none."""
        return self._facts.get(key)

    def measure(self, what: str, subject: str, value: str) -> None:
        """Store a measurement that is no candidate, such as a latency, in its own transaction.

        Args:
            what: was measured, and where.
            subject: of what.
            value: as text.
        """
        row = (what, subject, value)
        with schema.transaction(self._connection, self.path):
            self._connection.execute(schema.STORE_MEASUREMENT, (*row, schema.row_digest(row)))
        self._measurements[what, subject] = value

    def measurement(self, what: str, subject: str) -> str | None:
        """Return a stored measurement; None where there is none."""
        return self._measurements.get((what, subject))

    def keep_start_out(self) -> None:
        """Store that the start lies outside the bounds, and rank it no more, before anything is evaluated."""
        self.remember(_OUTSIDE, "1")
        self.start_may_win = False
        self._load()

    @property
    def test_images(self) -> str:
        """What results call the images of the split ``test``: those of their own, unless a task says otherwise."""
        return self._facts.get(TEST_IMAGES, self.OWN_TEST_IMAGES)

    @property
    def elapsed(self) -> float:
        """Wall-clock seconds of evaluation, as the results in the archive have brought them along."""
        return float(self._facts.get(_ELAPSED, "0"))

    def _unfinished(self, number: int) -> Candidate:
        candidate = self[number]
        if candidate.status != "proposed":
            raise ArchiveError(f"candidate {number} is {candidate.status} already: a candidate has one result")
        return candidate

    def _end(self, candidate: Candidate, elapsed: float) -> Candidate:
        spent = repr(self.elapsed + max(0.0, elapsed))
        with schema.transaction(self._connection, self.path):
            self._connection.execute(schema.STORE_META, schema.meta_row(f"{_FACT}{_ELAPSED}", spent))
            changed = self._connection.execute(
                rows.UPDATE_RESULT, (*rows.result_row(candidate), candidate.id, "proposed")
            )
            if changed.rowcount != 1:
                raise ArchiveError(
                    f"candidate {candidate.id} of {self.path} was ended by another process: stop one of them"
                )
        self._facts[_ELAPSED] = spent
        self._settle(candidate)
        return candidate


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise ArchiveError(f"there is no archive {path}: name the folder of a run, as `spnas run` makes it")
