"""What plugins may do to a run: it goes on as before, or ends in one line that names the plugin."""

import sqlite3

import odd_plugin
import pytest
from commands import INLINE, NULL, budget, done, refused, rows

from spnas_core.plugins import plugin_manager, registry
from spnas_search.archive import Archive, WeightStore


@pytest.fixture(autouse=True)
def _odd_plugin():
    """The odd plugin, as an installed one."""
    plugin_manager().register(odd_plugin, name="odd-plugin")
    registry.cache_clear()
    yield
    plugin_manager().unregister(odd_plugin)
    registry.cache_clear()


def odd_task(out, mode, **settings):
    given = [part for key, value in settings.items() for part in ("--set", f"task.{key}={value}")]
    return ("run", "serial", "--set", "task.name=odd", "--set", f"task.mode={mode}", *given, *INLINE, "--out", out)


@pytest.mark.parametrize("mode", odd_plugin.EVALUATIONS)
def test_an_odd_result_is_a_failed_candidate_and_the_run_goes_on(tmp_path, mode):
    out = tmp_path / "run"
    done(*odd_task(out, mode), *budget(3))
    found = rows(out)
    failed = [row for row in found if row["status"] == "failed"]
    assert [row["id"] for row in failed] == [3]
    assert failed[0]["reason"].isprintable()
    assert failed[0]["reason"].isascii()
    assert not (out / "weights" / "3.safetensors").exists()
    assert done("run", "--out", out, "--resume").splitlines()[-1].startswith("Next: ")
    assert rows(out) == found


@pytest.mark.parametrize("mode", ["no metrics", "metric none"])
def test_the_weights_of_an_odd_result_never_become_a_candidates(tmp_path, monkeypatch, mode):
    kept, commit = [], WeightStore.commit

    def noted(self, temporary, candidate):
        kept.append(candidate)
        return commit(self, temporary, candidate)

    monkeypatch.setattr(WeightStore, "commit", noted)
    done(*odd_task(tmp_path / "run", mode), *budget(2, 0))
    assert 4 in kept
    assert 3 not in kept


def test_a_start_without_the_objective_stops_the_run_and_says_so(tmp_path):
    out = tmp_path / "run"
    message = refused(*odd_task(out, "other metrics", at=0), *budget(2))
    assert "the start b@8_11-21-21-21 failed: the task returned no metric 'score'; did you mean 'scores'?" in message
    assert refused("run", "--out", out, "--resume") == message


@pytest.mark.parametrize("mode", odd_plugin.PLAIN)
def test_numbers_of_other_libraries_become_plain_ones(tmp_path, mode):
    out = tmp_path / "run"
    done(*odd_task(out, mode), *budget(2))
    row = rows(out)[3]
    assert row["status"] == "done"
    assert isinstance(row["metrics"]["score"], float)
    assert rows(out) == rows(out)


def test_an_archive_refuses_values_of_another_kind_itself(tmp_path):
    out = tmp_path / "run"
    done("run", *NULL, *budget(1, 0), "--out", out)
    connection = sqlite3.connect(out / "archive.db")
    for column, value in (("epochs", b"\x14"), ("age", "old"), ("seconds", "long"), ("seed", 0.5)):
        with pytest.raises(sqlite3.IntegrityError, match="cannot store"):
            connection.execute(f"UPDATE candidates SET {column} = ?", (value,))
    connection.close()


STUCK = [f"stuck {how}" for how in ("raises", "writes", *odd_plugin.STUCK)]


@pytest.mark.parametrize("mode", [*odd_plugin.PROPOSALS, *STUCK, "may use garbage", "may use unknown"])
def test_an_odd_proposal_ends_in_one_line_that_names_the_plugin(tmp_path, mode):
    out = tmp_path / "run"
    given = ("--set", f"strategy.mode={mode}", *NULL, *budget(3), "--out", out)
    assert "strategy 'odd' of plugin 'odd-plugin'" in refused("run", "odd", *given)
    assert {row["kind"] for row in rows(out)} <= {"start", "control", "child"}
    assert "child" not in {row["kind"] for row in rows(out)} or "may use" in mode
    assert "strategy 'odd' of plugin 'odd-plugin'" in refused("run", "--out", out, "--resume")


def test_numpy_integers_in_a_proposal_are_whole_numbers(tmp_path):
    out = tmp_path / "run"
    done("run", "odd", "--set", "strategy.mode=numpy", *NULL, *budget(3), "--out", out)
    children = [row for row in rows(out) if row["kind"] == "child"]
    assert len(children) == 3
    assert all(isinstance(row["epochs"], int) and row["parent"] == 0 for row in children)


@pytest.mark.parametrize(("key", "value"), [("round", 0), ("round", "many"), ("epochs", -1), ("epochs", 1.5)])
def test_a_strategy_must_say_how_large_its_rounds_are_and_how_long_children_train(tmp_path, key, value):
    message = refused("run", "odd", *NULL, "--set", f"strategy.{key}={value}", "--out", tmp_path / "run")
    assert f"has {key} = {value!r}" in message


def test_a_strategy_that_says_neither_is_refused_by_name(tmp_path):
    given = ("--set", "task.name=null", "--set", "executor.name=inline")
    assert "strategy 'silent' of plugin 'odd-plugin'" in refused("run", "silent", *given, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_reason_with_brackets_is_printed_as_it_is(tmp_path):
    out = tmp_path / "run"
    output = done(*odd_task(out, "raises surrogate"), *budget(2))
    for text in (output, done("candidates", out)):
        assert "[/data/photo.jpg] [bold] more" in text
        assert r"\udcff \x1b[2J" in text
        assert "\x1b" not in text


def test_a_listener_that_fails_is_named_and_the_run_goes_on(tmp_path):
    listener = odd_plugin.FailingListener()
    plugin_manager().register(listener, name="listening")
    try:
        output = done("run", *NULL, *budget(2), "--out", tmp_path / "run")
    finally:
        plugin_manager().unregister(listener)
    assert "plugin listening of ? failed in spnas_run_started: RuntimeError: [/started]" in output
    assert output.count("spnas_candidate_finished: SystemExit: 7") == 1
    assert "spnas_run_finished: KeyError" in output


def test_a_listener_that_writes_into_a_result_changes_none(tmp_path):
    listener, out = odd_plugin.WritingListener(), tmp_path / "run"
    given = ("--set", "task.noise=0.01", *NULL, *budget(1, 2))
    undisturbed = done("run", *given, "--out", tmp_path / "other").replace(str(tmp_path / "other"), str(out))
    plugin_manager().register(listener, name="listening")
    try:
        output = done("run", *given, "--out", out)
    finally:
        plugin_manager().unregister(listener)
    complaint = "failed in spnas_candidate_finished: TypeError: the results of a candidate cannot be changed"
    assert output.count(complaint) == 1
    assert summary_of(output) == summary_of(undisturbed)
    assert summary_of(done("run", "--out", out, "--resume")) == summary_of(output)


def summary_of(output):
    """The table of the verdict, and what is said beneath."""
    assert "Winner and start" in output
    return output.partition("Winner and start")[2]


def test_data_that_has_changed_is_refused(tmp_path):
    out = tmp_path / "run"
    done(*odd_task(out, "tensors"), *budget(2))
    with Archive.open(out / "archive.db") as archive:
        archive.remember("data", "other images")
    message = refused("run", "--out", out, "--resume")
    assert f"the data of {out} has changed" in message
    assert "--resume --data" in message


def test_a_control_that_always_fails_stops_the_run_with_its_name(tmp_path):
    out = tmp_path / "run"
    given = ("--set", "strategy.swap_epochs=3", "--set", "strategy.odds={swap=1.0}", "--set", "ranking=gains")
    given += ("--set", "alike_failures=9", *budget(20))
    message = refused(*odd_task(out, "metric none", at=odd_plugin.CONTROLS), *given)
    assert "the control of candidate 0 (b@8_11-21-21-21) failed 3 times in a row" in message
    assert "metric score = None" in message
    children = [row for row in rows(out) if row["kind"] == "child"]
    assert 0 < len(children) < 20
    assert message == refused("run", "--out", out, "--resume")
    assert len(rows(out)) > len(children)
