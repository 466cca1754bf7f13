"""The archive's file: what it refuses, what survives, and what readers, disks and other processes do."""

import errno
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest
from tiny_archives import SCORE, control, result, start

from spnas_core.errors import ArchiveError, ConfigError, MachineError
from spnas_search.archive import Archive, schema, snapshot
from spnas_search.run import run as run_module
from spnas_search.run import start_run


@pytest.fixture
def archive(tmp_path):
    with Archive.create(tmp_path / "archive.db", objective=SCORE, run_seed=7) as made:
        yield made


def test_create_refuses_an_existing_file_and_a_negative_seed(archive, tmp_path):
    with pytest.raises(ArchiveError, match="exists already"):
        Archive.create(archive.path, objective=SCORE, run_seed=0)
    with pytest.raises(ConfigError, match="seed -1 is negative"):
        Archive.create(tmp_path / "other.db", objective=SCORE, run_seed=-1)


def test_create_starts_over_what_a_killed_process_left(tmp_path):
    (tmp_path / ".archive.db.new").write_bytes(b"half")
    (tmp_path / ".archive.db.new-wal").write_bytes(b"half")
    with Archive.create(tmp_path / "archive.db", objective=SCORE, run_seed=0) as archive:
        assert len(archive) == 0
        assert not list(tmp_path.glob(".archive*"))


def damaged(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)


def with_a_gap(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE candidates SET id = 5 WHERE id = 0")
    connection.commit()
    connection.close()


def with_bad_json(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE candidates SET metrics = '{'")
    connection.commit()
    connection.close()


def other_database(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE meta (key, value)")
    connection.close()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda path: path.unlink(), "there is no archive"),
        (
            lambda path: path.write_text("no database at all, but long enough to look at" * 99),
            "is no spnas archive",
        ),
        (lambda path: path.write_bytes(b""), "is no spnas archive"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "damaged"),
        (damaged, "damaged"),
        (with_a_gap, "damaged: candidate 0 is missing"),
        (with_bad_json, "damaged: candidate 0 holds"),
        (other_database, "is no spnas archive"),
    ],
)
def test_what_is_no_archive_is_refused_in_one_line(archive, break_it, message):
    archive.commit_round([start()], threads=1)
    archive.close()
    break_it(archive.path)
    with pytest.raises(ArchiveError, match=message) as caught:
        Archive.open(archive.path)
    assert "\n" not in str(caught.value)
    assert str(archive.path) in str(caught.value)


def test_a_newer_archive_names_the_version_to_install(archive):
    archive.close()
    connection = sqlite3.connect(archive.path)
    connection.execute("PRAGMA user_version = 6")
    connection.execute("UPDATE meta SET value = '9.1.0' WHERE key = 'spnas_search'")
    connection.commit()
    connection.close()
    with pytest.raises(ArchiveError, match=r"schema version 6, .* reads up to 5: pip install 'spnas-search>=9\.1\.0'"):
        Archive.open(archive.path)


def test_an_older_archive_is_migrated_as_a_whole_or_not_at_all(archive, monkeypatch):
    archive.commit_round([start()], threads=1)
    archive.close()

    def breaks(connection):
        connection.execute("CREATE TABLE more (id INTEGER)")
        connection.execute("no such statement")

    monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, breaks])
    with pytest.raises(ArchiveError, match="cannot be written"):
        Archive.open(archive.path)
    monkeypatch.setattr(
        schema,
        "MIGRATIONS",
        [*schema.MIGRATIONS[:4], lambda connection: connection.execute("CREATE TABLE more (id)")],
    )
    with Archive.open(archive.path) as again:
        assert len(again) == 1
        assert again._connection.execute("PRAGMA user_version").fetchone() == (5,)


def test_the_file_is_in_wal_mode_and_synced_at_each_commit(archive):
    def pragma(name: str) -> object:
        return archive._connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert (pragma("journal_mode"), pragma("synchronous"), pragma("user_version")) == ("wal", 2, 5)


def test_memory_follows_only_what_is_committed(archive):
    archive.commit_round([start()], threads=1)
    archive._connection.execute(
        "CREATE TRIGGER full BEFORE UPDATE ON candidates BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    with pytest.raises(ArchiveError, match="cannot be written: full"):
        archive.finish(0, result(0.5), None)
    assert archive[0].status == "proposed"
    assert archive.best(1) == ()
    archive._connection.execute("DROP TRIGGER full")
    archive.finish(0, result(0.5), None)
    assert archive.best(1) == (archive[0],)


WRITER = """
    import sys
    from pathlib import Path
    from spnas_core.encoding import Architecture
    from spnas_core.morphisms import identity
    from spnas_core.tasks import Evaluation, Fidelity, MetricSpec
    from spnas_search.archive import Archive, Proposal

    same = identity(Architecture.parse("b@8_1-1"))
    archive = Archive.create(Path(sys.argv[1]), objective=MetricSpec("score"), run_seed=0)
    archive.commit_round([Proposal("start", None, same, Fidelity(1))], threads=1)
    archive.finish(0, Evaluation({"score": 0.5}, {}), None)
    print("finished 0", flush=True)
    for number in range(1, 10**6):
        archive.commit_round([Proposal("control", 0, same, Fidelity(1))], threads=1)
        print("committed", number, flush=True)
        archive.finish(number, Evaluation({"score": float(number)}, {}), None)
        print("finished", number, flush=True)
"""


def test_kill_9_of_the_writer_loses_nothing_that_was_committed(tmp_path):
    path = tmp_path / "archive.db"
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path)], stdout=subprocess.PIPE, text=True
    )
    said = [writer.stdout.readline() for _ in range(60)]
    os.kill(writer.pid, signal.SIGKILL)
    said += writer.stdout.readlines()
    writer.stdout.close()
    assert writer.wait() == -signal.SIGKILL
    if not said[-1].endswith("\n"):
        said.pop()
    with Archive.open(path) as archive:
        for line in said:
            what, number = line.split()
            candidate = archive[int(number)]
            assert what == "committed" or candidate.status == "done"
            assert candidate.status == "proposed" or candidate.metrics == {"score": float(number) or 0.5}
        assert len(archive) - 1 - int(said[-1].split()[1]) in {0, 1}
        archive.commit_round([control()], threads=1)


# What readers, disks and other processes do


def test_a_reader_sees_what_a_writer_has_committed_and_writes_nothing(archive):
    archive.commit_round([start()], threads=1)
    archive.finish(0, result(0.5), None)
    files = {path.name for path in archive.path.parent.iterdir()}
    before = archive.path.read_bytes()
    with Archive.read(archive.path) as reader:
        assert reader.best(1) == (archive[0],)
        archive.commit_round([control()], threads=1)
        assert len(reader) == 1
    assert archive.path.read_bytes() == before
    assert {path.name for path in archive.path.parent.iterdir()} == files


def test_what_a_killed_writer_left_in_its_journal_is_read_without_the_files_beside_it(archive, tmp_path):
    archive.commit_round([start()], threads=1)
    elsewhere = tmp_path / "copied"
    elsewhere.mkdir()
    for end in ("", "-wal"):
        (elsewhere / f"archive.db{end}").write_bytes(Path(f"{archive.path}{end}").read_bytes())
    with Archive.read(elsewhere / "archive.db") as reader:
        assert len(reader) == 1
    assert sorted(path.name for path in elsewhere.iterdir()) == ["archive.db", "archive.db-wal"]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE candidates SET metrics = '{\"score\": 0.9}'", "damaged: candidate 0 holds something else"),
        ("UPDATE candidates SET epochs = 3", "damaged: candidate 0 holds something else"),
        ("UPDATE meta SET value = 'loss' WHERE key = 'objective'", "damaged: its fact 'objective'"),
    ],
)
def test_values_that_were_altered_on_disk_are_noticed(archive, statement, message):
    archive.commit_round([start()], threads=1)
    archive.finish(0, result(0.5), None)
    archive.close()
    connection = sqlite3.connect(archive.path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    for opened in (Archive.open, Archive.read):
        with pytest.raises(ArchiveError, match=message):
            opened(archive.path)


class Writer:
    """Writes while an archive is copied, and knows what it has committed.

    Args:
        archive: open for writing.
        rng: decides what happens between two parts of a copy.
        checkpoints: whether pages go from the journal into the file, too.
    """

    def __init__(self, archive: Archive, rng: random.Random, *, checkpoints: bool) -> None:
        self.archive, self.rng, self.checkpoints = archive, rng, checkpoints
        self.committed = self.copies = 0

    def act(self) -> None:
        for _ in range(self.rng.randrange(3)):
            self.archive.measure("number", str(self.committed), "x" * self.rng.choice((9, 9000)))
            self.committed += 1
        if self.checkpoints and self.rng.random() < 0.2:
            self.archive._connection.execute("PRAGMA wal_checkpoint(FULL)").fetchall()

    def copyfile(self, source: Path, target: Path) -> None:
        """Copy in parts that are no pages, with something happening in between."""
        self.copies += 1
        with source.open("rb") as read, target.open("wb") as write:
            while part := read.read(self.rng.choice((5000, 20000, 60000))):
                write.write(part)
                self.act()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("checkpoints", [False, True])
def test_a_copy_in_the_middle_of_writing_is_a_state_that_was_committed(archive, monkeypatch, seed, checkpoints):
    writer = Writer(archive, random.Random(seed), checkpoints=checkpoints)
    for _ in range(20):
        writer.act()
    before, found, refusal = writer.committed, None, ""
    monkeypatch.setattr(snapshot.time, "sleep", lambda _: None)
    monkeypatch.setattr(snapshot.shutil, "copyfile", writer.copyfile)
    try:
        with Archive.read(archive.path) as reader:
            found = sorted(int(subject) for _, subject in reader._measurements)
    except ArchiveError as error:
        refusal = str(error)
    if found is not None:
        assert found == list(range(len(found)))
        assert before <= len(found) <= writer.committed
    else:
        assert refusal.endswith("is busy, and changes faster than it can be copied: try again in a moment")
    assert checkpoints or (writer.copies, refusal) == (2, "")  # commits alone void no copy


def test_a_journal_that_starts_over_while_it_is_copied_voids_the_copy(archive, monkeypatch):
    def copyfile(path, target):
        content = path.read_bytes()
        if copied == ["archive.db"]:
            archive.measure("number", "8", "x")  # over the oldest pages of the journal; the file stays as it is
            content = content[: len(content) // 2] + path.read_bytes()[len(content) // 2 :]
        copied.append(path.name)
        target.write_bytes(content)

    copied: list[str] = []
    for number in range(8):
        archive.measure("number", str(number), "x" * 3000)
    archive._connection.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
    monkeypatch.setattr(snapshot.shutil, "copyfile", copyfile)
    with Archive.read(archive.path) as reader:
        assert sorted(int(subject) for _, subject in reader._measurements) == list(range(9))
    assert copied == ["archive.db", "archive.db-wal"] * 2


def test_a_machine_without_room_for_a_copy_is_told_from_an_archive_that_cannot_be_read(archive, monkeypatch):
    def failing(number):
        def fail(*_, **__):
            raise OSError(number, os.strerror(number))

        return fail

    for module, name, number in (
        (snapshot.shutil, "copyfile", errno.ENOSPC),
        (snapshot.tempfile, "TemporaryDirectory", errno.ENOENT),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, failing(number))
            with pytest.raises(MachineError, match=f"cannot be copied to look at it: {os.strerror(number)}; .* TMPDIR"):
                Archive.read(archive.path)
    monkeypatch.setattr(snapshot.shutil, "copyfile", failing(errno.EIO))
    with pytest.raises(ArchiveError, match=r"archive\.db cannot be read: Input/output error"):
        Archive.read(archive.path)


class Tracked(sqlite3.Connection):
    """Tells how many connections are open."""

    open: ClassVar[list[object]] = []

    def __init__(self, *args, **given) -> None:
        super().__init__(*args, **given)
        self.open.append(self)

    def close(self) -> None:
        super().close()
        if self in self.open:
            self.open.remove(self)


@pytest.fixture
def opened(monkeypatch):
    Tracked.open.clear()
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Tracked))
    return Tracked.open


def test_an_archive_that_cannot_be_read_is_left_closed(tmp_path, opened):
    path = tmp_path / "archive.db"
    Archive.create(path, objective=SCORE, run_seed=0).close()
    Archive.read(path).close()
    assert not opened
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM meta WHERE key = 'objective'")
    connection.commit()
    connection.close()
    with pytest.raises(ArchiveError, match="is no spnas archive, or is damaged"):
        Archive.read(path)
    assert not opened


def test_a_run_that_cannot_be_opened_leaves_its_archive_closed(tmp_path, opened, monkeypatch):
    def gone(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(run_module, "WeightStore", gone)
    with pytest.raises(OSError, match="Read-only"):
        start_run(tmp_path / "run", {"task": {"name": "null"}, "executor": {"name": "inline"}}, lambda *_: None)
    assert not opened
