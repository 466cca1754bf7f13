"""On a terminal that cannot redraw (``TERM=dumb``: an editor's shell) everything comes in plain lines."""

import sys

import pytest
from commands import NULL, budget, done

from spnas_core.commands.console import make_console
from spnas_detect.commands.counting import Counting
from spnas_detect.commands.progress import TrainProgress
from spnas_detect.jobs import Speed
from spnas_detect.training import StepRecord
from spnas_search.cli.reading import Reading

SPEED = Speed(10.0, 5.0, 2**30)


@pytest.fixture(autouse=True)
def dumb(monkeypatch):
    """Standard output is taken for a terminal; what kind it is, is said by TERM."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")


def test_a_search_says_what_finishes(tmp_path):
    output = done("run", "serial", *NULL, *budget(3), "--out", tmp_path)
    assert output.count("child ") >= 3
    assert "\x1b" not in output


def test_a_training_prints_its_steps(capsys):
    progress = TrainProgress()
    for step in (1, 2):
        progress.step(StepRecord(step, 2, 0, 0.1, 4, {"box": 1.0}), SPEED)
    progress.close()
    assert "step 2/2  loss 1.000 (box 1.000)" in capsys.readouterr().out


@pytest.mark.parametrize("make", [lambda: TrainProgress().reading, lambda: Reading(make_console())])
def test_reading_is_told_once_it_is_done(make, capsys):
    for images in range(1, 4):
        make()("images", images, 3)
    assert capsys.readouterr().out == "images: 3 done\n"


def test_nothing_is_counted_over_what_cannot_be_overwritten(capsys):
    Counting("detecting")(1, 2)
    assert capsys.readouterr().err == ""


def test_elsewhere_lines_are_overwritten(capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    Counting("detecting")(1, 2)
    Reading(make_console())("images", 1, 3)
    assert capsys.readouterr() == ("images: 1/3\r", "\rdetecting: 1/2")
