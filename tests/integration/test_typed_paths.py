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
]


@pytest.mark.parametrize("typed", EMPTY, ids=" ".join)
def test_an_empty_path_is_not_the_current_folder(tmp_path, monkeypatch, typed):
    monkeypatch.chdir(tmp_path)
    assert "an empty text names nothing: name a file or a folder" in refused(*typed)
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
