"""The archive keeps what was committed, answers from its indexes, and refuses what is not an archive."""

import math
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from spnas_core.encoding import Architecture
from spnas_core.errors import ArchiveError, ConfigError, EvaluationError
from spnas_core.morphisms import Rewrite, identity, morphism
from spnas_core.tasks import Evaluation, Fidelity, MetricSpec
from spnas_search.archive import Archive, Proposal, schema

START = Architecture.parse("b@8_1-1")
SCORE = MetricSpec("score")


def result(score: float, **cost: float) -> Evaluation:
    return Evaluation({"score": score}, cost or {"multiply_adds": 1.0})


def start(epochs: int = 2) -> Proposal:
    return Proposal("start", None, identity(START), Fidelity(epochs))


def control(parent: int = 0, epochs: int = 1, of: Architecture = START) -> Proposal:
    return Proposal("control", parent, identity(of), Fidelity(epochs))


def child(parent: int = 0, epochs: int = 1, choice: int = 0, of: Architecture = START) -> Proposal:
    return Proposal("child", parent, morphism("expand").options(of)[choice], Fidelity(epochs))


@pytest.fixture
def archive(tmp_path):
    with Archive.create(tmp_path / "archive.db", objective=SCORE, run_seed=7) as made:
        yield made


def reopened(archive: Archive) -> Archive:
    archive.close()
    return Archive.open(archive.path)


def test_rounds_get_consecutive_numbers_ages_and_seeds(archive):
    (first,) = archive.commit_round([start(epochs=5)], threads=2)
    second, third = archive.commit_round([control(), child()], threads=1)
    assert [first.id, second.id, third.id] == [0, 1, 2]
    assert [first.round, second.round, third.round] == [0, 1, 1]
    assert [first.age, second.age, third.age] == [5, 6, 6]
    assert (first.threads, second.threads) == (2, 1)
    assert len({first.seed, second.seed, third.seed}) == 3
    assert all(0 <= candidate.seed < 2**31 for candidate in archive)
    assert (archive.rounds, len(archive), archive.children) == (2, 3, 1)
    assert archive.start == first
    assert archive.controls(0, Fidelity(1)) == (second,)
    assert archive.of_kind("child") == (third,)
    assert archive.lineage(third) == (first, third)


def test_an_empty_round_changes_nothing(archive):
    assert archive.commit_round([], threads=1) == ()
    assert (archive.rounds, len(archive)) == (0, 0)


def test_seeds_follow_from_the_run_seed_and_the_number(tmp_path):
    seeds = []
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        with Archive.create(tmp_path / name, objective=SCORE, run_seed=seed) as archive:
            seeds.append(archive.commit_round([start()], threads=1)[0].seed)
    # Written down: another seed for the same candidate would make an old search another search.
    assert seeds == [600562731, 600562731, seeds[2]]
    assert seeds[2] != seeds[0]


def test_a_reopened_archive_is_equal_field_by_field(archive):
    archive.commit_round([start()], threads=3)
    archive.commit_round([child(), child(choice=1), control()], threads=3)
    receipt = {"added": ("blocks.1",), "copied": np.int64(3), "output_change": {"s1": np.float32(0.5)}}
    archive.finish(0, Evaluation({"score": np.float64(0.5), "loss": math.nan}, {"parameters": 12}, receipt, 1.5), "abc")
    archive.fail(1, "worker ended by signal 9", 2.5)
    before = list(archive)
    with reopened(archive) as again:
        assert str(list(again)) == str(before)  # compared as text: NaN is not equal to itself
        assert again[1] == before[1]
        assert math.isnan(again[0].metrics["loss"])
        assert again[0].cost == {"parameters": 12}
        assert again[0].receipt == {"added": ["blocks.1"], "copied": 3, "output_change": {"s1": 0.5}}
        assert (again.objective, again.run_seed, again.created) == (SCORE, 7, archive.created)
        assert again.rounds == 2
        assert [candidate.id for candidate in again.pending()] == [2, 3]
        assert again[2].rewrite == child(choice=1).rewrite
        assert again.commit_round([child(choice=1)], threads=1)[0].id == 4


def test_contains_knows_starts_and_children_in_any_status(archive):
    archive.commit_round([start()], threads=1)
    archive.commit_round([child(), control()], threads=1)
    archive.fail(1, "out of memory")
    assert archive.contains(START)
    assert archive.contains(child().rewrite.child)
    assert not archive.contains(child(choice=1).rewrite.child)


def test_a_candidate_ends_once(archive):
    archive.commit_round([start()], threads=1)
    archive.finish(0, result(0.5), None)
    with pytest.raises(ArchiveError, match="candidate 0 is done already"):
        archive.finish(0, result(0.6), None)
    with pytest.raises(ArchiveError, match="candidate 0 is done already"):
        archive.fail(0, "late")
    with pytest.raises(ArchiveError, match=r"candidate 1 is not in .*: it holds 0 to 0"):
        archive.fail(1, "unknown")
    assert archive[0].metrics == {"score": 0.5}


def test_two_writers_cannot_end_a_candidate_twice(archive):
    archive.commit_round([start()], threads=1)
    with Archive.open(archive.path) as other:
        other.fail(0, "first")
    with pytest.raises(ArchiveError, match="ended by another process"):
        archive.finish(0, result(0.5), None)
    assert archive[0].status == "proposed"


def test_replaced_weights_outlive_the_process(archive):
    archive.commit_round([start()], threads=1)
    with pytest.raises(ArchiveError, match="only a done candidate"):
        archive.replace_weights(0, "new")
    archive.finish(0, result(0.5), "old")
    assert archive.replace_weights(0, "new").checksum == "new"
    with reopened(archive) as again:
        assert again[0].checksum == "new"


def test_a_missing_objective_is_the_users_mistake(archive):
    archive.commit_round([start()], threads=1)
    with pytest.raises(ConfigError, match="no metric 'score'; did you mean 'scores'"):
        archive.finish(0, Evaluation({"scores": 1.0}, {}), None)
    assert archive[0].status == "proposed"


def test_a_receipt_that_is_not_plain_is_refused(archive):
    archive.commit_round([start()], threads=1)
    with pytest.raises(EvaluationError, match="the receipt of the task holds a object"):
        archive.finish(0, Evaluation({"score": 1.0}, {}, {"module": object()}), None)


@pytest.mark.parametrize(
    ("proposal", "message"),
    [
        (start(), "a second start"),
        (Proposal("child", None, child().rewrite, Fidelity(1)), "has parent None"),
        (Proposal("start", 0, identity(START), Fidelity(1)), "the parent of a start is None"),
        (child(parent=2), "in no earlier round"),
        (child(parent=-1), "in no earlier round"),
        (child(parent=1), "has parent 1, a control"),
        (child(of=child().rewrite.child), "rewrites b@8_11-1, but its parent is b@8_1-1"),
        (Proposal("control", 0, child().rewrite, Fidelity(1)), "a control is the parent itself"),
        (Proposal("control", 0, Rewrite(START, START, (0, None)), Fidelity(1)), "a control is the parent itself"),
    ],
)
def test_impossible_proposals_are_refused_and_nothing_is_entered(archive, proposal, message):
    archive.commit_round([start()], threads=1)
    archive.commit_round([control()], threads=1)
    with pytest.raises(ArchiveError, match=message):
        archive.commit_round([child(), proposal], threads=1)
    assert len(archive) == 2
    with reopened(archive) as again:
        assert len(again) == 2


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


def test_withdrawn_failures_are_proposed_again_and_later_rounds_are_gone(archive):
    archive.commit_round([start()], threads=1)
    archive.finish(0, result(0.5), None)
    archive.commit_round([control(), child()], threads=1)
    archive.finish(1, result(0.6), None)
    before = archive[2]
    archive.fail(2, "no space", 1.0)
    archive.commit_round([child(choice=1)], threads=1)
    archive.fail(3, "no space", 1.0)
    archive.withdraw([2, 3])
    assert [candidate.id for candidate in archive.pending()] == [2]
    assert archive[2] == before
    assert len(archive) == 3
    assert not archive.contains(child(choice=1).rewrite.child)
    with reopened(archive) as again:
        assert list(again) == list(archive)
        with pytest.raises(ArchiveError, match="candidate 2 is proposed"):
            again.withdraw([2])


def test_elapsed_time_comes_with_the_results(archive):
    archive.commit_round([start()], threads=1)
    archive.finish(0, result(0.5), None, elapsed=2.5)
    archive.commit_round([control()], threads=1)
    archive.fail(1, "late", elapsed=1.5)
    with reopened(archive) as again:
        assert again.elapsed == 4.0
