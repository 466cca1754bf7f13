"""What becomes of a run or a training when its data moves or changes: it goes on, or names the data."""

import json
import os
import re
import shutil

import pytest
from commands import done, invoke, refused
from PIL import Image
from voc_folder import write_voc

from spnas_core.lock import FolderLock
from spnas_search.run import read_archive
from spnas_search.studies.searches.study import read_searches_results

TINY = (
    *("--set", "task.image_size=[64, 64]", "--set", "start=b@8_1-2-2-2", "--set", "executor.name=inline"),
    *("--set", "warm_start_epochs=1", "--set", "strategy.epochs=1", "--set", "executor.cores=1"),
    *("--set", "budget.candidates=1", "--set", "final.seeds=1", "--set", "final.epochs=1"),
)


def move_boxes(voc):
    for file in (voc / "Annotations").glob("*.xml"):
        file.write_text(re.sub(r"<xmin>\d+</xmin>", "<xmin>1</xmin>", file.read_text()))


def halve(voc):
    listed = voc / "ImageSets" / "Main" / "train.txt"
    names = listed.read_text().split()
    listed.write_text("\n".join(names[::2]))


def add_a_class(voc):
    file = min((voc / "Annotations").glob("train*.xml"))
    file.write_text(re.sub("<name>[a-z]+</name>", "<name>hexagon</name>", file.read_text(), count=1))


def repaint(voc):
    file = voc / "JPEGImages" / "validation000.jpg"
    Image.new("RGB", (64, 64), "red").save(file)


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A run that was begun from a relative path and stopped after its start, with the folder of its data."""
    monkeypatch.chdir(tmp_path)
    write_voc(tmp_path / "voc")
    done("run", *TINY, "--data", "voc:voc", "--out", "run", "--set", "budget.candidates=0", "--set", "final.seeds=0")
    return tmp_path


@pytest.mark.parametrize("change", [move_boxes, halve, add_a_class, repaint])
def test_a_run_does_not_go_on_with_other_data(begun, change):
    change(begun / "voc")
    message = refused("run", "--resume", "--out", begun / "run")
    assert "has changed" in message
    assert "--data" in message
    with read_archive(begun / "run") as archive:
        assert archive[0].status == "done"


def test_a_run_finds_its_data_from_any_folder(begun, monkeypatch):
    elsewhere = begun / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    done("run", "--resume", "--out", begun / "run")
    done("evaluate", f"{begun / 'run'}:0")
    done("train", f"{begun / 'run'}:0", "--epochs", "1", "--out", "trained")


def test_a_run_goes_on_where_its_data_lies_now(begun):
    moved = begun / "moved" / "here"
    moved.parent.mkdir()
    shutil.copytree(begun / "voc", moved)
    shutil.rmtree(begun / "voc")
    message = refused("run", "--resume", "--out", begun / "run")
    assert "is not a folder" in message
    assert "--resume --data" in message
    done("run", "--resume", "--out", begun / "run", "--data", f"voc:{moved}")
    done("run", "--resume", "--out", begun / "run")
    assert str(moved) in (begun / "run" / "run.toml").read_text()
    add_a_class(moved)
    other = begun / "other"
    shutil.copytree(moved, other)
    assert "has changed" in refused("run", "--resume", "--out", begun / "run", "--data", f"voc:{other}")
    assert str(moved) in (begun / "run" / "run.toml").read_text()


def test_a_study_of_searches_goes_on_where_its_data_lies_now(tmp_path, monkeypatch):
    """The search that was under way, and those that had not begun."""
    voc, out = write_voc(tmp_path / "voc"), tmp_path / "study"
    given = [*TINY, "--set", "final.seeds=0", "--searches", "2", "--ranked", "0", "--epochs", "1"]

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("spnas_search.studies.searches.study.look_at", interrupt)
        result = invoke("study", "searches", "random", *given, "--data", f"voc:{voc}", "--out", out)
    assert result.exit_code == 130, result.output
    moved = tmp_path / "moved"
    shutil.move(voc, moved)
    assert "--resume --data" in refused("study", "searches", "--resume", "--out", out)
    done("study", "searches", "--resume", "--out", out, "--data", f"voc:{moved}")
    assert len(read_searches_results(out).plan.judged["random"]) == 2
    for number in range(2):
        assert str(moved) in (out / "searches" / "random" / str(number) / "run.toml").read_text()


def test_a_series_goes_on_where_its_data_lies_now(tmp_path):
    """Its searches that have begun, and those that have not."""
    voc, out = write_voc(tmp_path / "voc"), tmp_path / "series"
    given = [*TINY, "--set", "budget.candidates=0", "--set", "final.seeds=0"]
    done("run", "serial", *given, "--data", f"voc:{voc}", "--seeds", "1", "--out", out)
    moved, other = tmp_path / "moved", tmp_path / "other"
    shutil.copytree(voc, other)
    add_a_class(other)
    shutil.move(voc, moved)
    assert "has changed" in refused("run", "--resume", "--out", out, "--data", f"voc:{other}")
    assert str(other) not in (out / "series.toml").read_text()
    done("run", "--resume", "--out", out, "--data", f"voc:{moved}", "--seeds", "2")
    done("run", "--resume", "--out", out, "--seeds", "3")
    assert str(moved) in (out / "series.toml").read_text()
    for seed in range(3):
        assert str(moved) in (out / f"seed-{seed}" / "run.toml").read_text()


def test_a_training_does_not_go_on_with_other_annotations(tmp_path):
    voc = write_voc(tmp_path / "voc")
    out = tmp_path / "training"
    given = ("--set", "image_size=[64, 64]", "--set", "training.batch_size=8", "--epochs", "2")
    done("train", "b@8_1-2-2-2", "--data", f"voc:{voc}", *given, "--out", out)
    (out / "scores.json").unlink()
    moved = tmp_path / "moved"
    shutil.copytree(voc, moved)
    shutil.rmtree(voc)
    assert "--resume --data" in refused("train", "--resume", "--out", out)
    done("train", "--resume", "--out", out, "--data", f"voc:{moved}")
    move_boxes(moved)
    message = refused("train", "--resume", "--out", out)
    assert "data" in message
    assert str(moved) in message


def test_a_class_with_brackets_is_printed_as_it_is(tmp_path):
    voc = write_voc(tmp_path / "voc")
    for file in (voc / "Annotations").glob("*.xml"):
        text = file.read_text().replace("square", "car [front]").replace("disc", "car [rear]").replace("ring", "[/b]")
        file.write_text(text)
    given = ("--set", "image_size=[64, 64]", "--epochs", "1", "--out", tmp_path / "training")
    output = done("train", "b@8_1-2-2-2", "--data", f"voc:{voc}", *given)
    for name in ("car [front]", "car [rear]", "[/b]"):
        assert name in output
    checked = json.loads(done("data", "check", f"voc:{voc}", "--json"))
    assert "car [front]" in checked["splits"]["train"]["classes"]
    assert "car [front]" in done("data", "check", f"voc:{voc}")


@pytest.mark.parametrize("name", ["it's", 'say "voc"', "back\\slash", "no\u00a0break", "[bold]"])
def test_a_path_arrives_as_it_was_typed(tmp_path, name):
    voc = write_voc(tmp_path / name, images=8)
    assert "error" not in done("data", "check", f"voc:{voc}")
    given = ("--set", "image_size=[64, 64]", "--epochs", "1", "--out", tmp_path / "training")
    done("train", "b@8_1-2-2-2", "--data", f"voc:{voc}", *given)


def test_options_of_the_data_are_options_of_every_command(tmp_path):
    given = ("--set", "image_size=[64, 64]", "--epochs", "1", "--out", tmp_path / "training")
    for option in ("train=16", "validation=8", "test=8", "image_size=64", "max_size=32"):
        given = (*given, "--data-option", option)
    assert "8 test images" in done("train", "b@8_1-2-2-2", *given)
    assert "did you mean 'train'" in refused(
        "train", "b@8_1-2-2-2", "--data-option", "trian=3", "--out", tmp_path / "b"
    )
    assert "did you mean 'train'" in refused("run", *TINY, "--data-option", "trian=3", "--out", tmp_path / "c")


def test_a_second_process_on_the_same_training_is_refused(tmp_path):
    voc = write_voc(tmp_path / "voc")
    out = tmp_path / "training"
    given = ("b@8_1-2-2-2", "--data", f"voc:{voc}", "--set", "image_size=[64, 64]", "--epochs", "1", "--out", out)
    out.mkdir()
    with FolderLock(out, "the training"):
        assert f"the training in {out} is held by process {os.getpid()}" in refused("train", *given)
    done("train", *given)
    assert not (out / "lock").exists()
