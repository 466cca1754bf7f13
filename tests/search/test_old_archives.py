"""Archives of the first schema, which believed what it was given, open and are repaired."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

import pytest

from spnas_core.encoding import Architecture
from spnas_core.errors import ArchiveError
from spnas_core.morphisms import identity
from spnas_core.tasks import Fidelity, Pretraining
from spnas_search.archive import Archive, Proposal, schema

SAME = identity(Architecture.parse("b@8_1-1"))
OLD_ROW = (
    0, 0, "start", None, "b@8_1-1", "b@8_1-1", "[0, 1]", "[]", 2, "validation", 2, 11, 1,
    "done", "", '{"score": 0.5}', '{"multiply_adds": 1.0}', "{}", 0.5, "abc",
)  # fmt: skip


def old_archive(path: Path, **changes: object) -> Path:
    """An archive as the first version wrote it, with one start."""
    connection = sqlite3.connect(path, isolation_level=None)
    schema.MIGRATIONS[0](connection)
    meta = {"objective": "score", "higher_is_better": "1", "seed": "7", "created": "2026-01-01T00:00:00+00:00"}
    connection.executemany("INSERT INTO meta VALUES (?, ?)", {**meta, "run:seconds": "1.5"}.items())
    names = [row[1] for row in connection.execute("PRAGMA table_info(candidates)")]
    row = [changes.get(name, value) for name, value in zip(names, OLD_ROW, strict=True)]
    connection.execute(f"INSERT INTO candidates VALUES ({', '.join('?' * len(row))})", row)
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    return path


@pytest.mark.parametrize("opened", [Archive.open, Archive.read], ids=["writer", "reader"])
def test_an_archive_of_the_first_schema_is_brought_up_to_date(tmp_path, opened):
    path = old_archive(tmp_path / "archive.db")
    before = path.read_bytes()
    with opened(path) as archive:
        assert archive.best(1) == (archive[0],)
        assert (archive[0].metrics, archive[0].checksum, archive.elapsed) == ({"score": 0.5}, "abc", 1.5)
        assert archive.commit_round([Proposal("control", 0, SAME, Fidelity(1))], threads=1)[0].id == 1
    assert (path.read_bytes() == before) == (opened == Archive.read)
    if opened == Archive.open:
        with Archive.open(path) as again:
            assert len(again) == 2


def test_numbers_that_were_stored_as_bytes_are_numbers_again(tmp_path):
    with Archive.open(old_archive(tmp_path / "archive.db", epochs=(20).to_bytes(8, "little"))) as archive:
        assert archive[0].epochs == 20


@pytest.mark.parametrize(
    ("changes", "status", "metrics"),
    [
        ({"metrics": '{"score": null}'}, "done", "{'score': nan}"),
        ({"cost": '{"multiply_adds": null}'}, "done", "{'score': 0.5}"),
        ({"metrics": '{"score": "good"}'}, "failed", "{}"),
    ],
)
def test_results_that_bricked_an_archive_can_be_read(tmp_path, changes, status, metrics):
    with Archive.open(old_archive(tmp_path / "archive.db", **changes)) as archive:
        assert (archive[0].status, str(archive[0].metrics)) == (status, metrics)
        assert archive.pareto() == ()


def digested_archive(path: Path, version: int, rows: Iterable[tuple], **facts: str) -> Path:
    """An archive as a version with digests wrote it, with these candidates."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN")
    for migration in schema.MIGRATIONS[:version]:
        migration(connection)
    meta = {"objective": "score", "higher_is_better": "1", "seed": "7", "created": "2026-01-01T00:00:00+00:00"}
    connection.executemany(schema.STORE_META, [schema.meta_row(*fact) for fact in {**meta, **facts}.items()])
    for row in rows:
        values = (*row, schema.row_digest(row[1:]))
        connection.execute(f"INSERT INTO candidates VALUES ({', '.join('?' * len(values))})", values)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("COMMIT")
    connection.close()
    return path


def test_an_archive_of_the_second_schema_learns_what_its_rounds_were_for(tmp_path):
    """Start, two replicates, a child with its control, the start brought to its age, and two finals."""
    kinds = ["start", "control", "control", "control", "child", "control", "final", "final"]
    parents, rounds = [None, 0, 0, 0, 0, 1, 5, 4], [0, 1, 1, 2, 2, 3, 4, 4]
    rows = []
    for number, (kind, parent, round_number) in enumerate(zip(kinds, parents, rounds, strict=True)):
        split = "test" if kind == "final" else "validation"
        rows.append((number, round_number, kind, parent, *OLD_ROW[4:9], split, *OLD_ROW[10:]))
    with Archive.open(digested_archive(tmp_path / "archive.db", 2, rows)) as archive:
        assert [one.phase for one in archive] == ["start", *["noise"] * 2, *["search"] * 2, *["verdict"] * 3]
        assert [one.subject for one in archive] == [0, 0, 0, 0, 4, 0, 0, 4]
        assert [one.source for one in archive] == parents
        assert {one.fidelity for one in archive} == {Fidelity(2)}
        assert (archive.rule.name, archive.inherit, archive.phase) == ("gains", "parent", "verdict")


def test_an_archive_of_the_third_schema_had_one_strategy_and_no_pretraining(tmp_path):
    """Phase, kind, subject, parent and source of the start, of a child of a screen's choice, and of a rung of it."""
    places = [("start", "start", 0, None, None), ("search", "child", 1, 0, 0), ("search", "rung", 1, 1, 1)]
    rows = []
    for number, place in enumerate(places):
        fidelity = (2, 96, 64, 0.5, number // 2, "validation", 0.25 if number == 1 else None, 2 + number)
        rows.append((number, number, *place, *OLD_ROW[4:8], *fidelity, *OLD_ROW[11:]))
    path = digested_archive(tmp_path / "archive.db", 3, rows, ranking="prediction", inherit="warm-start")
    with Archive.open(path) as archive:
        assert [one.kind for one in archive] == ["start", "child", "rung"]
        assert {(one.strategy, one.pretraining) for one in archive} == {(0, None)}
        assert archive[1].preference == 0.25
        assert archive[2].fidelity == Fidelity(2, (96, 64), 0.5, 1)
        assert [one.age for one in archive] == [2, 3, 4]
        assert (archive.strategy, archive.recent_children, archive.pretraining_epochs) == (0, (archive[1],), 0)
        assert archive.trained(archive[1]).id == 2
        assert (archive.rule.name, archive.inherit) == ("prediction", "warm-start")


def test_an_archive_of_the_fourth_schema_keeps_its_rows_and_may_train_a_winner(tmp_path):
    row = (0, 0, "start", "start", 0, None, None, *OLD_ROW[4:8], 2, 96, 64, 0.5, 0, "validation", None, 1, 3, 1)
    path = digested_archive(
        tmp_path / "archive.db", 4, [(*row, *OLD_ROW[10:])], ranking="prediction", inherit="warm-start"
    )
    with Archive.open(path) as archive:
        found = archive[0]
        assert (found.fidelity, found.strategy, found.pretraining) == (
            Fidelity(2, (96, 64), 0.5),
            1,
            Pretraining(3, True),
        )
        assert archive.commit_round([Proposal("trained", 0, SAME, Fidelity(4), "test")], threads=1, phase="training")
    with Archive.open(path) as again:
        assert (again[0], again[1].kind, again.phase) == (found, "trained", "training")


def fourth(path: Path, count: int, **parents: int) -> Path:
    """An archive of the fourth schema: a start, and children that descend from one another."""
    rows = []
    for number in range(count):
        parent = parents.get(f"of_{number}", number - 1 if number else None)
        place = (number, number, "search", "child") if number else (0, 0, "start", "start")
        told = (2, 96, 64, 0.5, 0, "validation", None, 0, None, None, 2 + number)
        rows.append((*place, number, parent, parent, *OLD_ROW[4:8], *told, *OLD_ROW[11:]))
    return digested_archive(path, 4, rows, ranking="prediction", inherit="parent")


def test_migrating_takes_time_by_the_number_of_candidates_and_not_by_its_square(tmp_path):
    steps: list[int] = []
    connect = sqlite3.connect

    def counting(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.set_progress_handler(lambda: steps.append(1), 100)
        return connection

    def steps_of(count: int) -> int:
        path = fourth(tmp_path / f"{count}.db", count)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sqlite3, "connect", counting)
            steps.clear()
            Archive.open(path).close()
        return len(steps)

    assert steps_of(800) < 3 * steps_of(400)


def test_what_refers_to_a_candidate_that_is_not_there_is_damaged_and_stays_as_it_is(tmp_path):
    path = fourth(tmp_path / "archive.db", 4, of_2=7)
    for opened in (Archive.read, Archive.open):
        with pytest.raises(ArchiveError, match="damaged: row 2 of its candidates refers to one of candidates"):
            opened(path)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (4,)
    assert connection.execute("SELECT count(*) FROM candidates").fetchone() == (4,)
    connection.close()


def test_references_are_checked_again_afterwards(tmp_path):
    with Archive.open(fourth(tmp_path / "archive.db", 3)) as archive:
        assert archive._connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
