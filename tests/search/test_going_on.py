"""Runs that go on after somebody has mended something, moved something, or lost a file."""

import json
import shutil

import pytest
from coco_folder import simple
from commands import NULL, budget, done, invoke, refused, rows

import spnas_search
from spnas_core.configuration import read_toml, write_toml
from spnas_core.errors import EvaluationError, SpnasError
from spnas_search.driver import run_search
from spnas_search.monitors import Silent
from spnas_search.run import RunFolder, read_run_settings, resume_run, start_run
from spnas_search.run.overview import find_runs
from spnas_search.testing import NullTask


def silent(*_):
    pass


@pytest.fixture
def run(tmp_path):
    out = tmp_path / "runs" / "one"
    done("run", "random", *NULL, *budget(2, finals=0), "--set", "final.rescores=0", "--out", out)
    return out


@pytest.mark.parametrize("options", [(), ("--asynchronous",)])
def test_what_is_needed_and_failed_three_times_is_tried_again_when_the_run_goes_on(tmp_path, options):
    """As often as it is resumed, once at least; here whatever is evaluated first fails, and then no more."""
    out = tmp_path / "run"
    failing = dict.fromkeys(range(1, 12), "diverge")
    behaviour = "{" + ", ".join(f'{number} = "{what}"' for number, what in failing.items()) + "}"
    given = (*NULL, *budget(12, finals=0), "--set", "alike_failures=99", "--set", f"task.behaviour={behaviour}")
    said = refused("run", "serial", *given, *options, "--out", out)
    assert "failed 3 times in a row" in said
    for _ in range(len(failing)):
        evaluated = len([row for row in rows(out) if row["status"] != "proposed"])
        result = invoke("run", "--resume", "--out", out)
        assert len([row for row in rows(out) if row["status"] != "proposed"]) > evaluated
        if result.exit_code == 0:
            break
        assert "failed 3 times in a row" in result.output
    assert result.exit_code == 0, result.output


def test_a_control_that_failed_three_times_while_children_were_under_way_is_tried_again(tmp_path):
    out = tmp_path / "run"
    given = (*NULL, *budget(12, finals=0), "--set", "noise_seeds=4", "--set", "strategy.epochs=4", "--asynchronous")
    behaviour = '{6 = "diverge", 8 = "diverge", 10 = "diverge", 7 = "raise", 9 = "raise"}'
    said = refused("run", "serial", *given, "--set", f"task.behaviour={behaviour}", "--out", out)
    assert "the control of candidate 0" in said
    assert "failed 3 times in a row" in said
    assert any(row["kind"] == "child" for row in rows(out)), "or it would not be while children are under way"
    done("run", "--resume", "--out", out)


def test_a_lost_configuration_is_known_to_whoever_asks(run):
    known = read_run_settings(run)
    (run / "run.toml").unlink()
    assert read_run_settings(run) == known
    assert [one.folder for one in find_runs(run.parent)] == [run]
    assert "run.toml" not in done("runs", run.parent)
    assert "score: holds" in done("verify", run)
    assert "would be no more" in refused("extend", run, "--candidates", "1")
    assert not (run / "run.toml").exists(), "nobody has asked for it to be written"
    done("run", "--resume", "--out", run)
    assert read_run_settings(run) == known


def test_runs_say_of_how_many_children_they_are_even_by_the_default(tmp_path):
    start_run(tmp_path / "run", {"task": {"name": "null"}, "executor": {"name": "inline"}}, silent).close()
    (found,) = find_runs(tmp_path)
    assert found.budget == 16


@pytest.mark.parametrize(
    ("bound", "told"),
    [("4", "would be no more"), (4, "budget is 4"), ({"candidates": "x"}, "budget.candidates is 'x'")],
)
def test_a_budget_that_was_altered_is_read_as_a_run_reads_it(tmp_path, bound, told):
    out = tmp_path / "run"
    start_run(
        out, {"task": {"name": "null"}, "executor": {"name": "inline"}, "budget": {"candidates": 3}}, silent
    ).close()
    values = read_toml(out / "run.toml")
    if isinstance(bound, str):
        values["budget"]["candidates"] = bound
    else:
        values["budget"] = bound
    write_toml(values, out / "run.toml")
    assert told in refused("extend", out, "--candidates", "4")


def test_data_that_has_moved_is_known_by_its_whole_path(tmp_path, monkeypatch):
    simple(tmp_path / "data")
    out, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    monkeypatch.chdir(tmp_path)
    settings = {"task": {"data": "coco:data", "image_size": [64, 64]}, "executor": {"name": "inline"}}
    start_run(out, settings, silent).close()
    shutil.move(tmp_path / "data", tmp_path / "moved")
    resume_run(out, silent, data="coco:moved").close()
    assert read_toml(out / "run.toml")["task"]["data"] == f"coco:{tmp_path / 'moved'}"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    resume_run(out, silent).close()


def test_what_changes_no_score_may_be_changed_when_a_run_goes_on(run):
    changes = {"executor": {"name": "processes", "workers": 1}, "alike_failures": 9}
    with resume_run(run, silent, changes=changes) as found:
        assert found.settings.executor.model_dump()["name"] == "processes"
    assert read_toml(run / "run.toml")["alike_failures"] == 9
    with pytest.raises(ValueError, match=r"has seed = 5, and the run was made with 0"):
        resume_run(run, silent, changes={"seed": 5})
    assert read_toml(run / "run.toml")["seed"] == 0


@pytest.mark.parametrize("name", ["planned.json", "verified.json"])
@pytest.mark.parametrize("text", ["[" * 100_000, '{"workers": 1e999, "seconds": 1, "phases": []}', "7", "[7]", "{}"])
def test_what_lies_beside_a_run_and_was_altered_is_said_by_its_report(run, name, text):
    (run / name).write_text(text)
    said = done("report", run)
    assert f"{run / name} holds no" in said


def test_a_damaged_archive_is_still_a_run_that_is_listed(run):
    RunFolder(run).archive.write_bytes(b"nothing")
    (found,) = find_runs(run.parent)
    assert found.state == "unreadable"
    assert json.dumps(found.note)


def test_a_search_that_stops_in_its_verdict_has_not_ended(tmp_path, monkeypatch):
    evaluate = NullTask.evaluate

    def failing(self, request, progress):
        if request.candidate and request.parent_weights is None:
            raise EvaluationError("no fresh warm start")
        return evaluate(self, request, progress)

    monkeypatch.setattr(NullTask, "evaluate", failing)
    with pytest.raises(SpnasError, match="go on with --resume"):
        spnas_search.search(task="null", executor={"name": "inline"}, budget=4, out=tmp_path / "run")
    assert [one.state for one in find_runs(tmp_path)] == ["stopped"]
    monkeypatch.undo()
    with resume_run(tmp_path / "run", silent) as run:
        run_search(run, Silent())
    assert [one.state for one in find_runs(tmp_path)] == ["ended"]
