"""Reports of trainings and comparisons: what lies in their folders, in whatever state, and how to do it again."""

import json
import shlex

import pytest
from click.testing import CliRunner
from commands import done, refused
from pages import cells, parse_page, sections

from spnas_core.lock import FolderLock
from spnas_detect.commands.assembling import train_settings
from spnas_detect.commands.compare import compare, compared_settings
from spnas_detect.commands.train import train_command
from spnas_detect.jobs import TrainFolder, TrainSettings
from spnas_detect.reporting.again import toml_of
from spnas_detect.reporting.curves import MOST_POINTS, curve
from spnas_search.cli.main import commands

CLASS = "<img src=x onerror=alert(1)>"
SCORES = {"AP": 0.5, "AP50": 0.75, f"AP/{CLASS}": 0.25, "AP/dog": None}
CODES = ["b@8_1-2", "b@8_11-2"]
SETTINGS = [
    *("--image-size", "64x64", "--epochs", "1", "--seed", "3", "--neck", "pafpn"),
    *("--data-option", "image_size=64", "--data-option", "train=10", "--data-option", "validation=4"),
    *("--data-option", "test=4", "--data-option", "max_size=32", "--set", "training.batch_size=4"),
    *("--set", "training.scale_range=[0.5, 1.0]", "--set", "detector.anchor_scales=[1.0, 2.0]"),
]


def read(folder):
    done("report", folder)
    return parse_page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture
def training(tmp_path):
    """The folder of a training of two lines, not over."""
    folder = TrainFolder(tmp_path / "training")
    folder.write_settings(TrainSettings(architecture="b@8_11-21", image_size=(64, 64), epochs=5))
    lines = [{"step": step, "loss": 3 / step, "loss_box": 1 / step, "validation/AP": step / 10} for step in (1, 2)]
    (folder.path / "scalars.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '{"step": 3, "lo')
    return folder


def test_a_training_shows_scores_curves_network_and_its_command(training):
    training.scores.write_text(json.dumps({"split": "test", "scores": SCORES, "seconds": 61.0}))
    page = read(training.path)
    found = sections(page)
    assert list(found) == ["scores", "curves", "network", "again"]
    assert page.one("p", class_="status").text == "The training is over, and scored on test images."
    table = [["all classes", "0.500", "0.750"], [CLASS, "0.250", ""], ["dog", "–", ""]]
    assert cells(found["scores"].one("table")) == table
    losses, scores = found["curves"].all("svg", class_="chart")
    assert len([one for one in losses.all("path") if one.attributes["class"] in {"strong", "plain"}]) == 2
    assert len(list(scores.all("circle"))) == 2
    assert found["network"].one("svg").attributes["aria-label"] == "network b@8_11-21"
    command = shlex.split(next(iter(found["again"].all("pre"))).text)
    assert command[:2] == ["spnas", "train"]
    given = train_command.make_context("train", command[2:]).params
    assert train_settings(given.pop("reference"), given, None) == training.read_settings()
    assert not list(page.all("img"))


def test_a_training_that_is_not_over_says_where_it_stands(training):
    assert read(training.path).one("p", class_="status").text == "The training was stopped at step 2."
    with FolderLock(training.path, "it"):
        status = read(training.path).one("p", class_="status")
    assert status.text == "The training is going on, at step 2."
    assert "going" in status.attributes["class"]
    (training.path / "scalars.jsonl").unlink()
    assert "No step is noted yet." in sections(read(training.path))["curves"].text
    assert "--resume" in sections(read(training.path))["again"].text


def test_what_was_altered_is_named_in_one_line(training, tmp_path):
    training.scores.write_text("[]")
    assert f"{training.scores} holds no scores" in refused("report", training.path)
    training.scores.unlink()
    (training.path / "scalars.jsonl").write_bytes(b'{"step": "4"}\n')
    assert read(training.path).one("p", class_="status").text == "The training was stopped at step 4."
    (training.path / "scalars.jsonl").write_bytes(b"\xff\n")
    assert f"{training.path / 'scalars.jsonl'} cannot be read" in refused("report", training.path)
    (training.path / "scalars.jsonl").unlink()
    training.config.write_text("detector = 3")
    assert "spnas train" in sections(read(training.path))["again"].text
    (tmp_path / "plan.json").write_text("{}")
    assert "holds no plan of a comparison" in refused("report", tmp_path)


def test_long_curves_are_averaged():
    points = curve([{"step": step, "loss": float(step % 2)} for step in range(10 * MOST_POINTS)], "loss")
    assert len(points) == MOST_POINTS
    assert {value for _, value in points} == {0.5}
    assert curve([{"step": 1, "loss": None}, {"step": 2}], "loss") == []


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    out = tmp_path_factory.mktemp("comparisons") / "of two"
    result = CliRunner().invoke(commands, ["compare", *CODES, *SETTINGS, "--seeds", "2", "--out", str(out)])
    assert result.exit_code == 0, result.output
    return out


def test_a_comparison_shows_scores_differences_and_curves(compared):
    (compared / "9-1").mkdir(exist_ok=True)
    (compared / "9-1" / "train.toml").touch()  # somebody else's
    page, result = read(compared), json.loads((compared / "compare.json").read_text())
    found = sections(page)
    assert page.one("p", class_="status").text == "The comparison is over: 4 trainings, scored on test images."
    rows = cells(found["scores"].one("table"))
    assert [row[0] for row in rows] == CODES
    assert rows[1][3:5] == [f"{score:.3f}" for score in result["architectures"][1]["scores"]]
    assert "±" in rows[1][6]
    assert len(list(found["scores"].all("svg"))) == 1
    lines = [one for one in found["curves"].one("svg").all("path") if one.attributes["class"] in {"strong", "plain"}]
    assert len(lines) <= 4
    assert len(list(found["networks"].all("svg"))) == 2


def test_the_command_in_it_compares_the_same(compared, tmp_path):
    text = next(iter(sections(read(compared))["again"].all("pre"))).text
    argv = shlex.split(text.replace("\\\n", ""))
    assert argv[:2] == ["spnas", "compare"]
    given = compare.make_context("compare", argv[2:]).params
    settings, _ = compared_settings(given.pop("references"), given, tmp_path / "none")
    assert given["seeds"] == 2
    trained = [TrainFolder(compared / f"{place}-3").read_settings() for place in (1, 2)]
    assert settings == trained


def test_a_comparison_that_is_not_over_lists_what_is_finished(compared):
    result = compared / "compare.json"
    kept, scores = result.read_text(), (compared / "2-4" / "scores.json")
    held = scores.read_text()
    try:
        result.unlink()
        scores.unlink()
        page = read(compared)
    finally:
        result.write_text(kept)
        scores.write_text(held)
    assert "was stopped with 3 trainings finished: the same command" in page.one("p", class_="status").text
    assert [row[2] == "not finished" for row in cells(sections(page)["scores"].one("table"))] == [False] * 3 + [True]


@pytest.mark.parametrize("value", [1, 0.5, True, "a 'b' \"c\"", [1, 2.5], {"a": [1], "b c": "d"}])
def test_values_are_written_as_they_are_read(value):
    from spnas_core.configuration import read_assignment

    assert read_assignment("--set", f"key={toml_of(value)}", "") == ("key", value)
