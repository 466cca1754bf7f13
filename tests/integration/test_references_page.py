"""docs/references.md has every reference of the paper, and what it calls working works."""

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from commands import NULL, budget, done, rows
from PIL import Image
from workshop import Begun, fill_stock, stop_at_work

from spnas_core.backbones import blank_network, read_network
from spnas_search.cli.main import commands

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "references.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if re.match(r"\| \d", line)]
TINY = ("--set", "training.batch_size=4", "--set", "detector.neck_channels=8")
SMALL = ("--image-size", "64x64", "--epochs", "1", *TINY)
GENERATED = ("--set", "data_options={image_size=64, train=8, validation=2, test=2, max_size=32, min_size=12}")
FEW = {"regularized": "population=4", "large-scale": "population=4", "hierarchical": "population=4"}
"""Members that a search of four children can have."""


def commands_of(row):
    """The commands of a row, none or several."""
    return re.findall("`([^`]+)`", row[3])


def of(command):
    """The rows that work by a command of spnas."""
    every = [(row[0], shlex.split(one)[1:]) for row in ROWS for one in commands_of(row)]
    chosen = [(f"{number}-{words[-1]}", words) for number, words in every if words[0] == command]
    assert chosen
    return pytest.mark.parametrize("words", [words for _, words in chosen], ids=[name for name, _ in chosen])


def test_every_reference_has_its_row():
    assert [int(row[0]) for row in ROWS] == list(range(1, 48))
    assert all(bool(row[3]) != row[2].startswith(("not built", "no system")) for row in ROWS)
    assert all(bool(commands_of(row)) == bool(row[3]) for row in ROWS)
    assert all(one.split()[1] in {"show", "run", "train", "study"} for row in ROWS for one in commands_of(row))


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return fill_stock(tmp_path_factory.mktemp("stock"))


@pytest.fixture
def place(stock, tmp_path, monkeypatch):
    """A folder with all that the commands name."""
    stock.lay_out(tmp_path)
    for number in range(8):
        split = "train" if number < 6 else "val"
        for kind in ("labels", "img"):
            (tmp_path / "ECP" / "day" / kind / split / "ulm").mkdir(parents=True, exist_ok=True)
        person = {"identity": "pedestrian", "x0": 10, "y0": 20, "x1": 30, "y1": 60, "tags": [], "children": []}
        frame = {"identity": "frame", "imagewidth": 96, "imageheight": 64, "children": [person]}
        name = f"ulm_{number:05d}"
        (tmp_path / "ECP" / "day" / "labels" / split / "ulm" / f"{name}.json").write_text(json.dumps(frame))
        Image.new("RGB", (96, 64), (9, 99, 199)).save(tmp_path / "ECP" / "day" / "img" / split / "ulm" / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@of("show")
def test_networks_are_counted_and_built(words):
    assert done(*words)
    assert blank_network(read_network(words[-1])).feature_info.nominal_strides()[:4] == [4, 8, 16, 32]


@of("run")
def test_searches_run(words, tmp_path):
    few = ["--set", "strategy.round=2"]
    few += [part for name, value in FEW.items() if name in words for part in ("--set", f"strategy.{value}")]
    small = [*NULL, *few, *budget(4, 0), "--set", "final.rescores=0"]
    assert "4/4 children" in done(*words, *small, "--out", tmp_path / "run")


LITTLE = (
    *("--set", "task.image_size=[64, 64]", "--set", f"task.{GENERATED[1]}", "--set", "task.training.batch_size=4"),
    *("--set", "task.detector.neck_channels=8", "--set", "task.detector.head_channels=16"),
    *("--set", "executor.name=inline", "--set", "warm_start_epochs=1", "--set", "noise_seeds=2"),
    *("--set", "final.rescores=0"),
)
"""A search of detectors that takes seconds."""


@pytest.mark.parametrize(
    ("preset", "less"),
    [
        ("proxyless-gradient", ["--set", "task.recalibration_batches=1", "--start", "b@8_11-21-21-2"]),
        ("nas-fpn", ["--set", "strategy.epochs=1", "--set", "strategy.round=2"]),
    ],
)
def test_searches_of_detectors_run(preset, less, tmp_path):
    done("run", "--preset", preset, *LITTLE, *less, *budget(2, 0), "--out", tmp_path / "run")
    assert [row["status"] for row in rows(tmp_path / "run") if row["kind"] == "child"] == ["done"] * 2


@of("study")
def test_studies_are_made(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["--codes", "5"] if "spaces" in words else ["--searches", "2", "--ranked", "0"]
    done(*words, *NULL, *small, *budget(2))
    assert done(*words[:2], *words[-2:], "--report")


@of("train")
def test_trainings_run(words, place, stock, monkeypatch):
    if "--init" in words or "--preset" in words:  # large ones come as far as their work, settings checked
        stop_at_work(stock, monkeypatch)
        ended = CliRunner().invoke(commands, [*words, "--data", "voc:PATH/TO/VOC"])
        assert isinstance(ended.exception, Begun), ended.output
        return
    done(*words, *SMALL, *([] if "--data" in words else GENERATED), "--out", place / "out")
    assert (place / "out" / "scores.json").exists()
