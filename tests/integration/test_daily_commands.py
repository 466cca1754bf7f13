"""The commands of a user's day: all runs, one that is verified, extended, tried again."""

import json
import os
import re
import shutil

import pytest
from click.testing import CliRunner
from voc_folder import write_voc

import spnas_search
from spnas_core.lock import FolderLock
from spnas_search import installed
from spnas_search.archive import Archive
from spnas_search.cli.main import commands
from spnas_search.driver import run_search
from spnas_search.monitors import Silent
from spnas_search.run import resume_run
from spnas_search.run.overview import find_runs
from spnas_search.run.reopening import extend_budget, retry_failed
from spnas_search.run.verification import verify_run
from spnas_search.settings import read_toml, write_toml
from spnas_search.settings.models import CANDIDATES

INLINE = {"executor": {"name": "inline"}, "noise_seeds": 2}
NULL = {"task": "null", **INLINE, "final": {"seeds": 2, "finalists": 2, "rescores": 1}}


def spnas(*arguments):
    return CliRunner().invoke(commands, list(map(str, arguments)))


def lines(*arguments):
    return [json.loads(line) for line in spnas(*arguments, "--json").stdout.splitlines()]


def silent(*_):
    """Nobody is told how far reading is."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    spnas_search.search(**NULL, budget=4, out=folder).close()
    return folder


@pytest.fixture(scope="module")
def detection(tmp_path_factory):
    """A finished search on images, and the folder of these."""
    folder = tmp_path_factory.mktemp("images")
    write_voc(folder / "voc")
    training = {"batch_size": 4}
    detector = {"neck_channels": 8, "head_channels": 16, "rpn_proposals": 20, "rpn_samples": 8, "box_samples": 8}
    task = {
        "name": "detection",
        "data": f"voc:{folder / 'voc'}",
        "image_size": [64, 64],
        "training": training,
        "detector": detector,
    }
    settings = {"start": "b@8_1-1", "warm_start_epochs": 1, "strategy": {"name": "serial", "epochs": 1, "round": 1}}
    space = {"min_blocks": 1, "min_stages": 1}
    with spnas_search.search(
        task=task, **settings, space=space, **INLINE, budget=1, final={"seeds": 0, "finalists": 0}, out=folder / "run"
    ):
        pass
    return folder


@pytest.fixture
def copied(detection, tmp_path):
    """A copy of that run, to be altered; its data stays where it is."""
    shutil.copytree(detection / "run", tmp_path / "run")
    return tmp_path / "run"


def states(findings):
    return {finding.part: finding.holds for finding in findings}


def test_a_fresh_run_is_verified(detection):
    found = lines("verify", detection / "run")
    assert {one["part"]: one["holds"] for one in found} == dict.fromkeys(
        ("packages", "code", "weights", "data", "score"), True
    )
    assert spnas("verify", detection / "run").exit_code == 0


def test_an_altered_weights_file_is_seen(copied):
    (weights,) = [copied / "weights" / f"{spnas_search.read_archive(copied).winner.id}.safetensors"]
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    found = states(verify_run(copied, None, silent))
    assert found["weights"] is False
    assert found["data"] is True
    assert spnas("verify", copied).exit_code == 1
    weights.unlink()
    found = states(verify_run(copied, None, silent))
    assert (found["weights"], "score" in found) == (False, False)


def test_altered_data_is_seen(copied, detection, tmp_path):
    shutil.copytree(detection / "voc", tmp_path / "voc")
    shutil.rmtree(copied / "cache")
    data = f"voc:{tmp_path / 'voc'}"
    assert states(verify_run(copied, None, silent, data=data))["data"] is True
    annotation = next((tmp_path / "voc" / "Annotations").iterdir())
    annotation.write_text(annotation.read_text().replace("<xmin>", "<xmin>1", 1))
    assert states(verify_run(copied, None, silent, data=data))["data"] is False
    shutil.rmtree(tmp_path / "voc")
    (gone,) = [one for one in verify_run(copied, None, silent, data=data) if one.part == "data"]
    assert gone.holds is False
    assert "voc" in gone.found


@pytest.mark.parametrize("altered", ["image", "annotation"])
def test_a_file_of_the_data_that_was_altered_behind_the_cache_is_seen(
    copied, detection, tmp_path, monkeypatch, altered
):
    """Its size and time are what they were, which is what the run's cache knows it by."""
    folder = tmp_path / "voc"
    shutil.copytree(detection / "voc", folder)
    file = next((folder / {"image": "JPEGImages", "annotation": "Annotations"}[altered]).glob("train*"))
    before, content = file.stat(), file.read_bytes()
    if altered == "image":
        others = (one.read_bytes() for one in sorted(folder.glob("JPEGImages/*")) if one != file)
        file.write_bytes(next(one for one in others if len(one) <= len(content)).ljust(len(content), b"\0"))
    else:
        file.write_bytes(re.sub(rb"<xmin>(.)", lambda found: b"<xmin>%d" % (1 if found[1] == b"2" else 2), content))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    data = f"voc:{folder}"
    assert states(verify_run(copied, None, silent, data=data))["data"] is False
    monkeypatch.setenv("SPNAS_CACHE", str(copied / "cache"))
    assert spnas("verify", copied, "--data", data).exit_code == 1
    (cached,) = [
        one for one in verify_run(copied, None, silent, data=data, cache=copied / "cache") if one.part == "data"
    ]
    assert cached.holds is True, "as the cache knows it"
    assert cached.found.endswith("cache knows it by the names, sizes and times of its files")


def test_altered_settings_are_named_before_anything_is_scored(copied):
    text = (copied / "run.toml").read_text()
    (copied / "run.toml").write_text(text.replace("batch_size = ", "batch_size = 1", 1))
    *_, last = verify_run(copied, None, silent)
    assert (last.part, last.holds) == ("settings", False)
    assert "has task.training.batch_size = 1" in last.found
    (copied / "run.toml").write_text("\ufeff" + text, encoding="utf-8")  # as some editors write it
    assert all(states(verify_run(copied, None, silent)).values())
    (copied / "run.toml").write_text("not [")
    assert "remove the file, and it is written anew" in spnas("verify", copied).output
    (copied / "run.toml").unlink()
    assert all(states(verify_run(copied, None, silent)).values())
    for command in (("show", copied), ("export", copied, "--to", "source", "--out", copied / "exported")):
        assert spnas(*command).exit_code == 0, "a run is one by its archive"


def test_a_run_from_before_a_setting_is_verified_as_it_is(copied):
    """Neither its archive nor its ``run.toml`` knows what came later."""
    values = read_toml(copied / "run.toml")
    del values["rungs"], values["task"]["training"]["prefetch"]
    write_toml(values, copied / "run.toml")
    with Archive.open(copied / "archive.db") as archive:
        archive.remember("settings", json.dumps(values))
    assert all(states(verify_run(copied, None, silent)).values())


def test_other_code_is_seen(copied, monkeypatch):
    changed = {**installed.installed_code(), "spnas_detect": "0" * 32}
    monkeypatch.setattr("spnas_search.run.verification.installed_code", lambda: changed)
    (found,) = [one for one in verify_run(copied, None, silent) if one.part == "code"]
    assert found.holds is False
    assert found.found.startswith("spnas_detect ")


def test_code_that_changed_after_a_candidate_was_scored_is_told_of_that_candidate(copied):
    """A run that went on with other code forgets nothing of the code of before."""
    with Archive.open(copied / "archive.db") as archive:
        now = json.loads(archive.recall("code"))
        former = {"versions": {}, "code": {**now, "spnas_core": "0" * 32}, "until": 1}
        archive.remember("former", json.dumps([former]))
    states_of = {number: states(verify_run(copied, number, silent)) for number in (0, 1)}
    assert [(one["code"], one["packages"]) for one in states_of.values()] == [(False, None), (True, True)]


def test_a_digest_of_code_follows_content_and_not_place(tmp_path, monkeypatch):
    def digest(folder, text):
        (tmp_path / folder / "pack").mkdir(parents=True)
        (tmp_path / folder / "pack" / "__init__.py").write_text(text)
        with monkeypatch.context() as patched:
            patched.syspath_prepend(tmp_path / folder)
            return installed.code_digest("pack")

    assert digest("a", "x = 1\n") == digest("b", "x = 1\n") != digest("c", "x = 2\n")
    assert installed.code_digest("no_package_of_this_name") == ""


def test_a_score_that_differs_by_more_than_the_noise_is_seen(copied):
    with spnas_search.run.opening.Archive.open(copied / "archive.db") as archive:
        winner = archive.winner.id
        row = archive._connection.execute("SELECT metrics FROM candidates WHERE id = ?", (winner,)).fetchone()
        metrics = {**json.loads(row[0]), "AP": 0.9}
        assert metrics != json.loads(row[0])
    from dataclasses import replace

    from spnas_search.run import verification

    (found,) = [
        verification._score(archive, replace(archive[winner], metrics=metrics), _task(copied), _weights(copied, winner))
    ]
    assert found.holds is False
    assert found.found.startswith("AP 0.9000 then, ")


def _task(folder):
    from spnas_core.plugins import registry
    from spnas_search.run.opening import read_run_settings

    task = registry("tasks").get("detection").build(read_run_settings(folder).task)
    task.prepare(folder / "cache", silent)
    return task


def _weights(folder, number):
    return folder / "weights" / f"{number}.safetensors"


@pytest.mark.parametrize(
    ("reference", "message"),
    [("{}:99", "there is no candidate 99"), ("{}:{}", "has no weights to verify"), ("{}/nowhere", "holds no run")],
)
def test_what_cannot_be_verified_is_refused_in_one_line(finished, reference, message):
    with spnas_search.read_archive(finished) as archive:
        without = archive.of_kind("final")[-1].id
    refused = spnas("verify", reference.format(finished, without))
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_all_runs_below_a_folder_are_listed_with_state_and_best(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "a" / "deep" / "ended")
    shutil.copytree(finished, tmp_path / "b" / "held")
    shutil.copytree(finished, tmp_path / "c")
    (tmp_path / "c" / "archive.db").write_bytes(b"no archive")
    (tmp_path / "d").mkdir()
    with FolderLock(tmp_path / "b" / "held", "it"):
        found = {one.folder.relative_to(tmp_path).as_posix(): one for one in find_runs(tmp_path)}
        assert list(found) == ["a/deep/ended", "b/held", "c"]
        assert [one.state for one in found.values()] == ["ended", "running", "unreadable"]
        assert "archive" in found["c"].note
    ended = found["a/deep/ended"]
    with spnas_search.read_archive(finished) as archive:
        assert (ended.best, ended.architecture) == (archive.winner.id, str(archive.winner.architecture))
        assert ended.merit == archive.merit(archive.winner)
    assert (ended.children, ended.budget, ended.strategy) == (4, 4, "serial")
    assert "a/deep/ended" in spnas("runs", tmp_path).output
    assert [one["state"] for one in lines("runs", tmp_path)] == ["ended", "ended", "unreadable"]


def test_a_folder_without_runs_and_none_at_all(tmp_path):
    assert spnas("runs", tmp_path).output == f"there is no run in {tmp_path}\n"
    refused = spnas("runs", tmp_path / "nowhere")
    assert refused.exit_code == 2
    assert "is no folder" in refused.stderr


@pytest.fixture
def stopped(tmp_path):
    """A search that was stopped in its second round, where candidate 3 has failed."""

    class Stop(Silent):
        def round_started(self, phase, candidates):
            if candidates[-1].id > 6:
                raise KeyboardInterrupt

    out = tmp_path / "run"
    task = {"name": "null", "behaviour": {"4": "diverge"}}
    with pytest.raises(KeyboardInterrupt):
        spnas_search.search(**{**NULL, "task": task}, budget=8, out=out, monitor=Stop())
    return out


def test_a_larger_budget_is_searched(stopped):
    assert spnas("extend", stopped, "--candidates", 10, "--later").output.endswith("--resume\n")
    with resume_run(stopped, silent) as run:
        run_search(run, Silent())
        assert len(run.archive.of_kind("child")) == 10


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({}, "by how much"),
        ({"candidates": 8}, "has budget.candidates = 8: 8 would be no more"),
        ({"hours": 3}, "has no bound on hours: its budget is candidates = 8"),
    ],
)
def test_a_budget_that_is_no_larger_is_refused(stopped, budget, message):
    arguments = [part for name, bound in budget.items() for part in (f"--{name}", bound)]
    refused = spnas("extend", stopped, *arguments)
    assert refused.exit_code == 2
    assert message in refused.stderr


def test_the_default_budget_is_raised_like_any_other(stopped):
    values = read_toml(stopped / "run.toml")
    del values["budget"]
    write_toml(values, stopped / "run.toml")
    for arguments, message in (
        (("--candidates", CANDIDATES), f"has budget.candidates = {CANDIDATES}: {CANDIDATES} would be no more"),
        (("--hours", 3), f"has no bound on hours: its budget is candidates = {CANDIDATES}"),
        (("--candidates", 40, "--hours", 3), f"has no bound on hours: its budget is candidates = {CANDIDATES}"),
    ):
        refused = spnas("extend", stopped, *arguments)
        assert refused.exit_code == 2
        assert message in refused.stderr
    extend_budget(stopped, {"candidates": CANDIDATES + 2})
    with resume_run(stopped, silent) as run:
        run_search(run, Silent())
        assert len(run.archive.of_kind("child")) == CANDIDATES + 2


def test_a_search_that_is_over_is_neither_extended_nor_tried_again(finished):
    for arguments in (("extend", finished, "--candidates", 99), ("retry", finished)):
        refused = spnas(*arguments)
        assert refused.exit_code == 2
        assert "is over" in refused.stderr
        assert f"--from {finished}" in refused.stderr


def test_what_has_failed_is_tried_again_in_its_place(stopped):
    with spnas_search.read_archive(stopped) as archive:
        failed = [one.id for one in archive if one.status == "failed"]
        architecture = archive[failed[0]].architecture
    assert retry_failed(stopped, ()) == tuple(failed)
    settings = stopped / "run.toml"
    with resume_run(stopped, silent) as run:
        object.__setattr__(run.task, "behaviour", {})
        run_search(run, Silent())
        assert run.archive[failed[0]].status == "done"
        assert run.archive[failed[0]].architecture == architecture
        assert len(run.archive.of_kind("child")) == 8
    assert settings.exists()


@pytest.mark.parametrize(("numbers", "message"), [((0,), "candidate 0 is done"), ((99,), "there is no candidate 99")])
def test_only_failures_are_tried_again(stopped, numbers, message):
    refused = spnas("retry", stopped, *numbers)
    assert refused.exit_code == 2
    assert message in refused.stderr


def test_a_run_that_is_held_is_left_alone(stopped):
    with FolderLock(stopped, "it"):
        for arguments in (("extend", stopped, "--candidates", 20), ("retry", stopped)):
            refused = spnas(*arguments)
            assert refused.exit_code == 2
            assert "is held by process" in refused.stderr


def test_extending_needs_a_run(tmp_path):
    from spnas_core.errors import ArchiveError

    with pytest.raises(ArchiveError, match="holds no run"):
        extend_budget(tmp_path, {"candidates": 3})


def test_exact_counts_are_json():
    import torchvision

    counted = json.loads(spnas("show", "r_111-2111-211111-211", "--json").stdout)
    backbone = torchvision.models.resnet50()
    del backbone.fc
    assert counted["parameters"] == sum(parameter.numel() for parameter in backbone.parameters())
    assert counted["parameters"] == sum(stage["parameters"] for stage in counted["stages"]) == 23_508_032
    assert counted["blocks"] == 16


def test_presets_are_json():
    found = {one["name"]: one for one in lines("presets")}
    assert found["r50-1x"]["distribution"] == "spnas-detect"
    assert all(one["summary"] and one["machine"] for one in found.values())
