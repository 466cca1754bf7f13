"""What plugins, folders and settings do to a run: it goes on as before, or refuses in one line that names the cause."""

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys

import odd_plugin
import pytest
import torch
import torchvision
from click.testing import CliRunner
from mounts import can_mount, mounted

from spnas_core.plugins import plugin_manager, registry
from spnas_search.archive import Archive
from spnas_search.cli.main import commands
from spnas_search.run import read_archive

INLINE = ("--set", "executor.name=inline", "--set", "warm_start_epochs=2", "--set", "strategy.epochs=1")
NULL = ("--set", "task.name=null", *INLINE)


@pytest.fixture(autouse=True)
def _odd_plugin():
    """The odd plugin, as an installed one."""
    plugin_manager().register(odd_plugin, name="odd-plugin")
    registry.cache_clear()
    yield
    plugin_manager().unregister(odd_plugin)
    registry.cache_clear()


def invoke(*arguments):
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


def refused(*arguments) -> str:
    """The one line of a refusal."""
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    errors = [line for line in result.output.splitlines() if line.lower().startswith("error: ")]
    assert len(errors) == 1, result.output
    return errors[0]


def done(*arguments) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    assert result.exception is None
    return result.output


def rows(out) -> list[dict]:
    def no_constant(name):
        raise AssertionError(f"{name} is no JSON")

    return [json.loads(line, parse_constant=no_constant) for line in done("candidates", out, "--json").splitlines()]


def budget(count: int, finals: int = 1) -> tuple[str, ...]:
    return ("--set", f"budget.candidates={count}", "--set", f"final.seeds={finals}")


# A value from outside


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


# Proposals


@pytest.mark.parametrize("mode", [*odd_plugin.PROPOSALS, "stuck raises", "may use garbage", "may use unknown"])
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


# What a folder holds


@pytest.fixture
def half(tmp_path):
    """A run that a failing child has stopped half-way."""
    out = tmp_path / "half"
    behaviour = "{5 = 'user-error'}"
    refused("run", *NULL, "--set", f"task.behaviour={behaviour}", *budget(6), "--out", out)
    assert 3 < len(rows(out)) < 12
    return out


def test_a_setting_that_was_edited_is_refused_by_name(half):
    text = (half / "run.toml").read_text()
    for before, after, key in (
        ("pool = 4", "pool = 5", "strategy.pool"),
        ("seed = 0", "seed = 1", "seed"),
        ('name = "null"', 'name = "null"\nnoise = 0.5', "task.noise"),
        ("warm_start_epochs = 2", 'warm_start_epochs = 2\nobjective = "loss"', "objective"),
        ("max_blocks = 60", "", "space.max_blocks"),
    ):
        assert before in text
        changed = text.replace(before, after, 1) if "noise" not in key else text.replace("noise = 0.0", "noise = 0.5")
        (half / "run.toml").write_text(changed)
        message = refused("run", "--out", half, "--resume")
        assert f"has {key} = " in message
    (half / "run.toml").write_text("")
    assert "run.toml of" in refused("run", "--out", half, "--resume")
    (half / "run.toml").write_text(text)
    assert "told to find no images" in refused("run", "--out", half, "--resume")


def test_a_lost_configuration_is_written_anew(half):
    text = (half / "run.toml").read_text()
    (half / "run.toml").unlink()
    assert "without its run.toml" in refused("run", "random", *NULL, "--out", half)
    assert "told to find no images" in refused("run", "--out", half, "--resume")
    assert (half / "run.toml").read_text() == text


def test_a_lost_archive_is_no_new_run(half):
    for file in half.glob("archive.db*"):
        file.unlink()
    assert "archive.db is missing" in refused("run", "--out", half, "--resume")
    assert "holds a run already" in refused("run", *NULL, "--out", half)


@pytest.mark.parametrize("trace", ["archive.db", "init.safetensors", "weights/0.safetensors"])
def test_a_folder_with_any_trace_of_a_run_starts_none(tmp_path, trace):
    out = tmp_path / "run"
    (out / trace).parent.mkdir(parents=True)
    (out / trace).write_bytes(b"somebody's")
    assert "of an earlier run" in refused("run", *NULL, "--out", out)
    assert [path for path in out.rglob("*") if path.is_file()] == [out / trace]


def test_a_starter_that_fails_removes_only_what_it_made(tmp_path):
    out = tmp_path / "a" / "run"
    bad = ("--init", "missing.safetensors")
    assert "does not exist" in refused("run", *NULL, *bad, "--out", out)
    assert not (tmp_path / "a").exists()
    out.mkdir(parents=True)
    (out / "notes.txt").write_text("mine")
    assert "does not exist" in refused("run", *NULL, *bad, "--out", out)
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_more_candidates_may_be_wanted_until_the_winner_is_tested(tmp_path):
    out = tmp_path / "run"
    assert "told to find" in refused(
        "run", *NULL, "--set", "task.behaviour={4 = 'user-error'}", *budget(3), "--out", out
    )
    text = (out / "run.toml").read_text()
    (out / "run.toml").write_text(text.replace("candidates = 3", "candidates = 5"))
    assert "told to find" in refused("run", "--out", out, "--resume")
    over = tmp_path / "over"
    done("run", *NULL, *budget(2), "--out", over)
    text = (over / "run.toml").read_text()
    (over / "run.toml").write_text(text.replace("candidates = 2", "candidates = 5"))
    assert "that search is over (all 2 candidates" in refused("run", "--out", over, "--resume")


def test_data_that_has_changed_is_refused(tmp_path):
    out = tmp_path / "run"
    done(*odd_task(out, "tensors"), *budget(2))
    with Archive.open(out / "archive.db") as archive:
        archive.remember("data", "other images")
    message = refused("run", "--out", out, "--resume")
    assert f"the data of {out} has changed" in message
    assert "--resume --data" in message


def test_weights_of_the_start_that_were_lost_or_altered_are_refused(tmp_path):
    out = tmp_path / "run"
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    given = ("--init", f"torchvision:{tmp_path / 'resnet18.pth'}", "--start", "b_11-21-21-21")
    refused("run", *NULL, *given, "--set", "task.behaviour={0 = 'user-error'}", "--out", out)
    init = out / "init.safetensors"
    content = init.read_bytes()
    init.write_bytes(content[:-1] + b"x")
    assert "init.safetensors is altered" in refused("run", "--out", out, "--resume")
    init.unlink()
    assert "init.safetensors is missing" in refused("run", "--out", out, "--resume")
    init.write_bytes(content)
    assert "told to find no images" in refused("run", "--out", out, "--resume")


def test_other_versions_of_the_packages_are_named_and_can_be_accepted(tmp_path):
    out = tmp_path / "run"
    done("run", *NULL, *budget(1, 0), "--out", out)
    with Archive.open(out / "archive.db") as archive:
        stored = json.loads(archive.recall("versions"))
        assert {"spnas-core", "spnas-search", "torch"} <= stored.keys()
        archive.remember("versions", json.dumps({**stored, "torch": "0.1"}))
    message = refused("run", "--out", out, "--resume")
    assert f"torch 0.1, and {torch.__version__.partition('+')[0]}" in message
    assert "--accept-versions" in message
    done("run", "--out", out, "--resume", "--accept-versions")
    done("run", "--out", out, "--resume")


def test_a_run_that_was_moved_goes_on(half, tmp_path):
    moved = tmp_path / "elsewhere" / "run"
    moved.parent.mkdir()
    shutil.move(half, moved)
    assert "told to find no images" in refused("run", "--out", moved, "--resume")


# Failures


def test_evaluations_that_fail_alike_stop_the_run_and_stay_proposed(tmp_path):
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "run"
    done("run", *NULL, *budget(8), "--out", undisturbed)
    behaviour = ", ".join(f"{number} = 'diverge'" for number in range(7, 40))
    message = refused("run", *NULL, "--set", f"task.behaviour={{{behaviour}}}", *budget(8), "--out", out)
    assert "3 evaluations in a row failed alike: the loss is NaN after epoch 1" in message
    assert "failed" not in {row["status"] for row in rows(out)}
    # The fault is mended: in a run of its own, as far as the settings say.
    mended = _mended(out)
    done("run", "--out", mended, "--resume")
    assert decisions(mended) == decisions(undisturbed)


def _mended(out):
    """The run as it would be had its task never been told to misbehave."""
    text = (out / "run.toml").read_text()
    lines = [line for line in text.splitlines() if not line.endswith('"diverge"') and line != "[task.behaviour]"]
    (out / "run.toml").write_text("\n".join([*lines, "[task.behaviour]", ""]))
    with Archive.open(out / "archive.db") as archive:
        settings = json.loads(archive.recall("settings"))
        settings["task"]["behaviour"] = {}
        archive.remember("settings", json.dumps(settings))
    return out


def decisions(out) -> list[tuple]:
    with read_archive(out) as archive:
        return [(c.id, c.round, c.kind, c.parent, c.rewrite, c.seed, c.status, str(c.metrics)) for c in archive]


@pytest.mark.parametrize("numbers", [(3, 4, 8, 9), (3, 5, 7, 9)])
def test_failures_between_successes_are_the_candidates_own(tmp_path, numbers):
    behaviour = ", ".join(f"{number} = 'raise'" for number in numbers)
    done("run", *NULL, "--set", f"task.behaviour={{{behaviour}}}", *budget(8), "--out", tmp_path / "run")
    assert [row["id"] for row in rows(tmp_path / "run") if row["status"] == "failed"] == list(numbers)


def test_a_control_that_always_fails_stops_the_run_with_its_name(tmp_path):
    given = ("--set", "strategy.swap_epochs=3", "--set", "strategy.odds={swap=1.0}")

    def always(out):
        failing: list[int] = []
        for _ in range(6):
            behaviour = ", ".join(f"{number} = 'diverge'" for number in failing)
            shutil.rmtree(out, ignore_errors=True)
            result = invoke("run", *NULL, *given, "--set", f"task.behaviour={{{behaviour}}}", *budget(20), "--out", out)
            controls = [r["id"] for r in rows(out) if r["kind"] == "control" and r["parent"] == 0 and r["epochs"] == 3]
            if result.exit_code:
                return result.output
            failing = sorted({*failing, *controls})
        raise AssertionError("the search went on without its control")

    output = always(tmp_path / "run")
    assert "failed 3 times in a row" in output or "failed alike" in output


def test_spent_time_is_what_the_archive_holds(tmp_path):
    out = tmp_path / "run"
    refused(
        "run",
        *NULL,
        "--set",
        "task.duration=0.05",
        "--set",
        "task.behaviour={6 = 'user-error'}",
        *budget(6),
        "--out",
        out,
    )
    with read_archive(out) as archive:
        evaluated = [candidate.seconds for candidate in archive if candidate.status != "proposed"]
        assert len(evaluated) == 6
        assert archive.elapsed >= 6 * 0.05


# Series


def test_a_series_of_searches_is_resumed_like_any_run(tmp_path):
    out, whole = tmp_path / "series", tmp_path / "whole"
    done("run", *NULL, *budget(2), "--seeds", "3", "--out", whole)
    done("run", *NULL, *budget(2), "--seeds", "3", "--out", out)
    shutil.rmtree(out / "seed-2")
    for file in (out / "seed-1").glob("weights/*"):
        file.unlink()
    assert "holds a series of searches already" in refused("run", *NULL, "--seeds", "3", "--out", out)
    resumed = done("run", "--resume", "--out", out)
    assert resumed.splitlines()[-1] == done("run", "--resume", "--seeds", "3", "--out", whole).splitlines()[-1]
    assert [decisions(out / f"seed-{n}") for n in range(3)] == [decisions(whole / f"seed-{n}") for n in range(3)]
    done("run", "--resume", "--seeds", "4", "--out", out)
    assert (out / "seed-3" / "archive.db").exists()
    assert "would leave some out" in refused("run", "--resume", "--seeds", "2", "--out", out)
    assert "holds no series" in refused("run", "--resume", "--seeds", "2", "--out", out / "seed-0")


def test_a_series_without_comparisons_says_so(tmp_path):
    output = done("run", *NULL, *budget(1, 0), "--seeds", "2", "--out", tmp_path / "series")
    assert "+0.000" not in output
    assert "final.seeds" in output


# Text, listeners, options


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


def test_resuming_another_strategys_run_by_name_is_refused(half):
    assert "has the strategy 'serial', not 'random'" in refused("run", "random", "--out", half, "--resume")
    assert "told to find no images" in refused("run", "serial", "--out", half, "--resume")


def test_an_executor_is_not_asked_for_what_it_cannot_do(tmp_path):
    out = tmp_path / "run"
    assert "has at most 1" in refused("run", *NULL, "--set", "executor.workers=2", "--out", out)
    assert "cannot end an evaluation" in refused("run", *NULL, "--set", "executor.timeout=5", "--out", out)
    many = ("--set", "task.name=null", "--set", "executor.workers=99")
    assert "executor.workers is 99, on " in refused("run", *many, "--out", out)
    assert not out.exists()


def test_the_inline_executor_computes_with_all_cores(tmp_path):
    out = tmp_path / "run"
    done("run", *NULL, "--set", "executor.cores=4", *budget(1, 0), "--out", out)
    with read_archive(out) as archive:
        assert {candidate.threads for candidate in archive} == {4}


def test_a_losing_objective_prints_losses(tmp_path):
    out = tmp_path / "run"
    output = done("run", *NULL, "--set", "objective=loss", *budget(3), "--out", out)
    assert "merit -" not in output
    merits = [row["merit"] for row in rows(out) if row["merit"] is not None]
    assert merits
    assert all(merit > 0 for merit in merits)


def test_a_resumed_round_has_its_heading(half):
    output = invoke("run", "--out", half, "--resume").output
    assert "== searching" in output


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be made: Not a directory" in refused("run", *NULL, "--out", tmp_path / "file" / "run")
    assert "cannot be made: File exists" in refused("run", *NULL, "--out", tmp_path / "file")


# Readers


def test_readers_write_nothing_and_need_no_right_to(tmp_path):
    out = tmp_path / "run"
    done("run", *NULL, *budget(2), "--out", out)
    listed = done("candidates", out)
    with read_only(out):
        with pytest.raises(OSError, match="Read-only"):
            (out / "file").write_text("")
        assert done("candidates", out) == listed
        assert "Read-only file system" in refused("run", "--out", out, "--resume")
    assert not {path.name for path in out.iterdir()} & {"archive.db-shm", "archive.db-wal"}


@contextlib.contextmanager
def read_only(folder):
    """The folder on a read-only mount, where this process may mount."""
    if not can_mount(folder.parent / "mount"):
        pytest.skip("this process may not mount file systems: root outside of a container may")
    with mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_weights_and_settings_have_the_rights_that_the_umask_leaves(tmp_path, umask, mode):
    script = f"import os; os.umask({umask}); from spnas_search.cli import main; main()"
    given = [*NULL, *budget(1, 0), "--out", str(tmp_path / "run")]
    subprocess.run([sys.executable, "-c", script, "run", *given], check=True, capture_output=True)
    for name in ("run.toml", "weights/0.safetensors", "archive.db"):
        assert (tmp_path / "run" / name).stat().st_mode & 0o777 == mode, name
