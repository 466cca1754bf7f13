"""A series is the same search with other seeds, and stays that whatever is done to its file."""

import json
import re

import pytest
from commands import NULL, budget, done, invoke, refused, rows

from spnas_core.configuration import read_toml, write_toml
from spnas_core.errors import ConfigError, DataError, EvaluationError, HeldError
from spnas_core.lock import FolderLock
from spnas_search import series as series_module
from spnas_search.cli import searching
from spnas_search.driver import SearchStoppedError
from spnas_search.series import resume_series, start_series
from spnas_search.testing.null_task import NullTask

VALUES = {"task": {"name": "null"}, "executor": {"name": "inline"}, "budget": {"candidates": 2}}
SMALL = (*NULL, *budget(2), "--set", "final.rescores=0", "--set", "task.noise=0.02")


@pytest.fixture
def series(tmp_path):
    out = tmp_path / "s"
    done("run", "random", *SMALL, "--seeds", "2", "--out", out)
    return out


def alter(file, change):
    values = read_toml(file)
    change(values)
    write_toml(values, file)


@pytest.mark.parametrize(
    ("table", "key", "value", "told"),
    [
        ("task", "noise", 0.5, "task.noise = 0.5, and seed-0 has 0.02"),
        (None, "warm_start_epochs", 3, "warm_start_epochs = 3, and seed-0 has 2"),
        ("budget", "candidates", 4, "budget.candidates = 4, and seed-0 has 2"),
    ],
)
def test_no_search_is_added_with_other_settings(series, table, key, value, told):
    alter(series / "series.toml", lambda values: (values if table is None else values[table]).update({key: value}))
    assert told in refused("run", "--resume", "--seeds", "3", "--out", series)
    assert not (series / "seed-2").exists()


def test_a_search_is_added_though_workers_and_what_one_has_had_more_of_differ(series):
    alter(series / "series.toml", lambda values: values.update(alike_failures=9))
    done("run", "--resume", "--seeds", "3", "--out", series)
    assert len(rows(series / "seed-2")) == len(rows(series / "seed-0"))


def test_a_search_that_is_lost_takes_no_other_with_it(series):
    archive = series / "seed-0" / "archive.db"
    whole = archive.read_bytes()
    archive.write_bytes(whole[:5000])
    result = invoke("run", "--resume", "--seeds", "3", "--out", series)
    assert result.exit_code == 2
    assert result.exception.__class__ is SystemExit
    assert re.search(r"Seed 0: .*is no\s+spnas\s+archive, or\s+is\s+damaged", result.output)
    assert len(rows(series / "seed-2")) == len(rows(series / "seed-1"))
    assert "of 3 searches" in result.output
    last = "seed-0: no result (1 of 3 searches); mend what is said above, and go on with spnas run --out"
    assert f"{last} {series} --resume" in result.output
    archive.write_bytes(whole)
    assert "no result" not in done("run", "--resume", "--out", series)


def test_a_search_that_another_process_is_starting_takes_no_other_with_it(series):
    """It holds the folder, and has not written its settings yet."""
    (series / "seed-2").mkdir()
    with FolderLock(series / "seed-2", "the run"):
        result = invoke("run", "--resume", "--seeds", "4", "--out", series)
    assert result.exit_code == 2
    assert "seed-2: no result (1 of 4 searches)" in result.output
    assert len(rows(series / "seed-3")) == len(rows(series / "seed-1"))


def test_a_lost_search_is_logged_and_its_trace_has_lines(series, monkeypatch, tmp_path):
    def stops(*_):
        raise SearchStoppedError("no memory is left", "Traceback:\n  File 'x'\nValueError: y")

    monkeypatch.setattr(searching, "search_shown", stops)
    log = tmp_path / "log.jsonl"
    result = invoke("run", "--resume", "--out", series, "--log-json", log)
    assert "\n  File 'x'\nValueError: y\n" in result.output
    told = [one for one in map(json.loads, log.read_text().splitlines()) if one["event"] == "run_lost"]
    assert [(one["folder"], one["reason"]) for one in told] == [
        (str(series / f"seed-{seed}"), "no memory is left") for seed in (0, 1)
    ]


def test_where_all_searches_are_lost_there_is_nothing_to_compare(series):
    for seed in (0, 1):
        (series / f"seed-{seed}" / "archive.db").write_bytes(b"none")
    assert "seed-0/archive.db is no spnas archive" in refused("run", "--resume", "--out", series)


def test_a_search_whose_start_fails_is_told_and_the_next_one_is_made(tmp_path, monkeypatch):
    evaluate, asked = NullTask.evaluate, []

    def fails_at_first(task, request, report):
        asked.append(request)
        if len(asked) == 1:
            raise EvaluationError("no memory is left")
        return evaluate(task, request, report)

    monkeypatch.setattr(NullTask, "evaluate", fails_at_first)
    result = invoke("run", "random", *SMALL, "--seeds", "2", "--out", tmp_path / "s")
    assert result.exit_code == 2
    assert "This search has no result: the start" in result.output
    assert "no memory is left" in result.output
    assert "seed-0: no result (1 of 2 searches)" in result.output
    assert len(rows(tmp_path / "s" / "seed-1")) > 2
    assert "no result" not in done("run", "--resume", "--out", tmp_path / "s")


def test_every_seed_is_one_before_the_first_search_begins(tmp_path):
    largest = 2**63 - 1
    given = ("run", "random", *SMALL, "--set", f"seed={largest - 1}", "--out", tmp_path / "s")
    assert "seed is 9223372036854775808" in refused(*given, "--seeds", "3")
    assert not (tmp_path / "s").exists()
    done(*given, "--seeds", "2")
    assert "series.toml: seed is 9223372036854775808" in refused(
        "run", "--resume", "--seeds", "3", "--out", tmp_path / "s"
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda values: values.update(strategy="random"), "strategy is 'random'"),
        (lambda values: values.update(task="shapes"), "task is 'shapes'"),
        (lambda values: values.update(seeds="two"), "whole numbers 'seeds' and 'seed'"),
        (lambda values: values.update(nonsense=1), "there is no setting 'nonsense'"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--data", "shapes"), ("--seeds", "3")])
def test_a_file_that_was_altered_is_one_line(series, change, told, options):
    alter(series / "series.toml", change)
    assert told in refused("run", "random", "--resume", "--out", series, *options)


def test_two_starters_do_not_take_a_folder_from_each_other(tmp_path, monkeypatch):
    """The second one comes while the first one reads the data that its settings are suited to."""
    folder, refusals, suited = tmp_path / "series", [], series_module.suit

    def suit(values):
        if not refusals:
            with pytest.raises(HeldError, match=rf"the series in {folder} is held by process \d+") as caught:
                start_series(folder, {**VALUES, "seed": 7}, 2)
            refusals.append(caught.value)
        return suited(values)

    monkeypatch.setattr(series_module, "suit", suit)
    made = start_series(folder, VALUES, 3)
    assert len(refusals) == 1
    assert [path.name for path in folder.iterdir()] == ["series.toml"]
    again = resume_series(folder)
    assert (again.seeds, again.values) == (made.seeds, made.values)
    assert again.seeds == range(3)


def test_a_folder_that_was_taken_before_the_lock_was_is_refused(tmp_path, monkeypatch):
    folder, acquire = tmp_path / "series", FolderLock.acquire

    def late(lock):
        monkeypatch.setattr(FolderLock, "acquire", acquire)
        start_series(folder, {**VALUES, "seed": 7}, 2)
        acquire(lock)

    monkeypatch.setattr(FolderLock, "acquire", late)
    with pytest.raises(ConfigError, match="holds a series of searches already"):
        start_series(folder, VALUES, 3)
    assert resume_series(folder).seeds == range(7, 9)


def test_a_series_that_cannot_be_suited_leaves_nothing(tmp_path, monkeypatch):
    def suit(values):
        raise DataError("there is no data")

    monkeypatch.setattr(series_module, "suit", suit)
    with pytest.raises(DataError):
        start_series(tmp_path / "a" / "series", VALUES, 2)
    assert list(tmp_path.iterdir()) == []


def test_nobody_resumes_a_series_whose_settings_are_being_written(tmp_path):
    folder = tmp_path / "series"
    start_series(folder, VALUES, 2)
    with FolderLock(folder, "the series"), pytest.raises(HeldError, match=f"the series in {folder} is held"):
        resume_series(folder, 3)
    assert resume_series(folder, 3).count == 3
    assert resume_series(folder).count == 3
