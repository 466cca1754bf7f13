"""What becomes of a run when its folder, its settings or its evaluations are not as they should be."""

import contextlib
import json
import shutil
import subprocess
import sys
from importlib.metadata import version

import pytest
import torch
import torchvision
from commands import NULL, budget, done, invoke, refused, rows
from mounts import can_mount, mounted

from spnas_search import installed
from spnas_search.archive import Archive
from spnas_search.run import identity, read_archive


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
        ('max_blocks = "2x"', "", "space.max_blocks"),
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


def test_a_run_of_an_earlier_version_is_not_gone_on_with_by_other_rules(half):
    with Archive.open(half / "archive.db") as archive:
        settings = json.loads(archive.recall("settings"))
        del settings["ranking"], settings["inherit"]
        archive.remember("settings", json.dumps(settings))
    message = refused("run", "--out", half, "--resume")
    assert "was begun by an earlier spnas-search, which ranked and compared otherwise" in message
    assert f"--from {half}" in message
    assert len(rows(half)) > 3


def test_a_lost_configuration_is_written_anew(half):
    text = (half / "run.toml").read_text()
    (half / "run.toml").unlink()
    assert "without its run.toml" in refused("run", "random", *NULL, "--out", half)
    output = invoke("run", "--out", half, "--resume").output
    assert "told to find no images" in output
    assert "run.toml was missing: it is written anew" in output
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
    mine = {"notes.txt", ".bashrc.new", ".notes.newest.md", "archive.db.bak"}
    for name in mine:
        (out / name).write_text("mine")
    assert "does not exist" in refused("run", *NULL, *bad, "--out", out)
    assert {path.name for path in out.iterdir()} == mine


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


def test_other_weights_of_the_start_are_taken_while_nothing_is_evaluated(tmp_path):
    out, config = tmp_path / "run", tmp_path / "run" / "run.toml"
    for name in ("one", "other"):
        torch.save(torchvision.models.resnet18().state_dict(), tmp_path / f"{name}.pth")
    given = ("--init", f"torchvision:{tmp_path / 'one.pth'}", "--start", "b_11-21-21-21")
    refused("run", *NULL, *given, "--set", "task.behaviour={0 = 'user-error'}", "--out", out)
    first, backup = (out / "init.safetensors").read_bytes(), out / "archive.db.bak"
    backup.write_text("mine")
    text = config.read_text()
    config.write_text(text.replace("seed = 0", "seed = 1", 1))
    assert "told to find no images" in refused("run", "--out", out, "--resume")
    assert (out / "init.safetensors").read_bytes() == first
    config.write_text(text.replace("one.pth", "other.pth"))
    assert "told to find no images" in refused("run", "--out", out, "--resume")
    assert (out / "init.safetensors").read_bytes() != first
    config.write_text("\n".join(line for line in text.splitlines() if not line.startswith("init = ")))
    assert "told to find no images" in refused("run", "--out", out, "--resume")
    assert not (out / "init.safetensors").exists()
    assert backup.exists()


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


def test_code_and_packages_that_changed_on_the_way_are_said_and_kept(half, monkeypatch):
    """What candidates of before were computed by is not what those of afterwards were."""
    code = {**installed.installed_code(), "spnas_core": "0" * 32}
    versions = {**installed.installed_versions(), "torch": "9.9"}
    before = rows(half)
    with monkeypatch.context() as patch:
        patch.setattr("spnas_search.run.run.installed_code", lambda: code)
        patch.setattr("spnas_search.run.run.installed_versions", lambda: versions)
        said = " ".join(invoke("run", "--out", half, "--resume", "--accept-versions").output.split())
    assert "the code of spnas_core is not what the run was computed with so far" in said
    with Archive.open(half / "archive.db") as archive:
        next_one = min(row["id"] for row in before if row["status"] == "proposed")
        first, second = (identity.computed_with(archive, number) for number in (next_one - 1, next_one))
    assert (first["code"]["spnas_core"], second["code"]) == (installed.installed_code()["spnas_core"], code)
    assert (first["versions"]["torch"], second["versions"]["torch"]) == (version("torch"), "9.9")
    said = " ".join(invoke("run", "--out", half, "--resume", "--accept-versions").output.split())
    assert "the code of spnas_core is not" in said  # but again what it was at first


def test_what_versions_did_not_name_when_a_run_began_is_no_difference(half):
    with Archive.open(half / "archive.db") as archive:
        stored = json.loads(archive.recall("versions"))
        del stored["numpy"]
        archive.remember("versions", json.dumps(stored))
    assert "told to find no images" in refused("run", "--out", half, "--resume")
    assert "told to find no images" in refused("run", "--out", half, "--resume")


def test_a_run_that_was_moved_goes_on(half, tmp_path):
    moved = tmp_path / "elsewhere" / "run"
    moved.parent.mkdir()
    shutil.move(half, moved)
    assert "told to find no images" in refused("run", "--out", moved, "--resume")


# Failures


def test_evaluations_that_fail_alike_stop_the_run_and_stay_proposed(tmp_path):
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "run"
    done("run", *NULL, *budget(8), "--out", undisturbed)
    behaviour = ", ".join(f"{number} = 'raise'" for number in range(7, 40))
    result = invoke("run", *NULL, "--set", f"task.behaviour={{{behaviour}}}", *budget(8), "--out", out)
    assert result.exit_code == 2
    assert "3 evaluations in a row failed alike: RuntimeError: the null task was told to raise" in result.output
    assert "failed" not in {row["status"] for row in rows(out)}
    # The fault is mended: in a run of its own, as far as the settings say.
    mended = _mended(out)
    done("run", "--out", mended, "--resume")
    assert decisions(mended) == decisions(undisturbed)


def _mended(out):
    """The run as it would be had its task never been told to misbehave."""
    text = (out / "run.toml").read_text()
    lines = [line for line in text.splitlines() if not line.endswith('"raise"') and line != "[task.behaviour]"]
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


def test_a_series_without_verdicts_says_so(tmp_path):
    output = done("run", *NULL, *budget(1, 0), "--seeds", "2", "--out", tmp_path / "series")
    assert "The gain is unknown: none of the 2 searches has a verdict on test images." in output
    assert "final.seeds" in output


# Options


def test_resuming_another_strategys_run_by_name_is_refused(half):
    assert "has the strategy 'serial', not 'random'" in refused("run", "random", "--out", half, "--resume")
    assert "told to find no images" in refused("run", "serial", "--out", half, "--resume")


def test_an_executor_is_not_asked_for_what_it_cannot_do(tmp_path):
    out = tmp_path / "run"
    assert "cannot end an evaluation" in refused("run", *NULL, "--set", "executor.timeout=5", "--out", out)
    many = ("--set", "task.name=null", "--set", "executor.workers=99")
    assert "executor.workers is 99, on " in refused("run", *many, "--out", out)
    assert not out.exists()
    two = ("--set", "executor.workers=2", "--set", "executor.cores=2")
    assert "'inline' has at most 1: so many evaluations" in done("run", *NULL, *two, *budget(1, 0), "--out", out)


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
