"""Paths on the command line: empty ones are refused, and commands that are printed can be typed."""

import shlex

import pytest
from commands import NULL, budget, done, invoke, refused

from spnas_search.cli import searching

EMPTY = [
    ("run", "serial", *NULL, "--out", ""),
    ("run", "serial", *NULL, "--cache", ""),
    ("run", "serial", *NULL, "--config", ""),
    ("run", "serial", *NULL, "--from", ""),
    ("train", "b@8_1-2", "--data", "shapes", "--out", ""),
    ("train", "", "--data", "shapes"),
    ("compare", "b@8_1-2", "", "--data", "shapes"),
    ("study", "signal", *NULL, "--out", ""),
    ("plugins", "new", "mine", "--out", ""),
    ("data", "convert", "shapes", "", "--to", "coco"),
    ("candidates", ""),
    ("extend", "", "--candidates", "9"),
    ("report", ""),
    ("verify", ""),
    ("show", ""),
    ("export", "", "--to", "source"),
    ("evaluate", ""),
    ("predict", "", "image.jpg", "--out", "found"),
    ("predict", "weights.safetensors", "", "--out", "found"),
]


@pytest.mark.parametrize("typed", EMPTY, ids=" ".join)
def test_an_empty_path_is_not_the_current_folder(tmp_path, monkeypatch, typed):
    monkeypatch.chdir(tmp_path)
    assert "an empty text names nothing: name a file or a folder" in refused(*typed)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "data",
    [
        "voc:~no-such-user/x",
        "coco:~no-such-user/x",
        "yolo:~no-such-user/x",
        "folder:~no-such-user/x",
        "ecp:~no-such-user/x",
    ],
)
def test_a_home_of_nobody_is_a_folder_that_there_is_not(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    pretraining = ("--set", "strategy.reignition.most=1", "--set", "task.pretraining.data=~no-such-user/x")
    for typed in (
        ("data", "check", data),
        ("data", "convert", data, "~no-such-user/out", "--to", "coco"),
        ("train", "b@8_1-2", "--data", data, "--out", "training"),
        ("run", "serial", "--data", data, "--out", "run"),
        ("run", "serial", "--data", "shapes", *pretraining, "--out", "run"),
    ):
        found = invoke(*typed)
        assert found.exit_code == (1 if "check" in typed else 2)
        assert "~no-such-user/x" in found.output
    assert not any(tmp_path.iterdir())


def test_a_search_that_is_stopped_prints_a_command_that_goes_on(tmp_path, monkeypatch):
    out = tmp_path / "a run"

    def stop(*_):
        raise KeyboardInterrupt

    def said(*typed):
        return shlex.split(invoke(*typed).output.splitlines()[-1].split("o on with: spnas ")[1])

    monkeypatch.setattr(searching, "run_search", stop)
    given = (*NULL, *budget(2))
    wanted = ["run", "--out", str(out), "--resume"]
    assert said("run", "serial", *given, "--out", out) == wanted
    monkeypatch.undo()
    assert said("extend", out, "--candidates", "3", "--later") == wanted
    done(*wanted)


def test_a_training_without_weights_prints_a_command_that_goes_on(tmp_path):
    training = tmp_path / "a training"
    training.mkdir()
    (training / "train.toml").touch()
    assert f"spnas train --out '{training}' --resume" in refused("evaluate", training, "--data", "shapes")
