"""A network as a figure, by the command."""

import json
from xml.etree import ElementTree as ET

import pytest
from commands import NULL, budget, done, refused, rows


def label(file):
    return ET.parse(file).getroot().get("aria-label")


def test_show_draws_a_figure_of_a_code_and_of_a_candidate(tmp_path):
    figure, run = tmp_path / "figure.svg", tmp_path / "run"
    done("show", "b@8_11-21", "--image", "64x64", "--svg", figure)
    assert label(figure) == "network b@8_11-21"
    done("run", "serial", *NULL, *budget(2), "--out", run)
    done("show", f"{run}:6", "--svg", figure)
    assert label(figure) == f"network {rows(run)[6]['architecture']}"
    assert "there is no candidate 99" in refused("show", f"{run}:99")
    nowhere = tmp_path / "nowhere" / "figure.svg"
    assert refused("show", "b_11", "--svg", nowhere) == (
        f"error: {nowhere} cannot be written: No such file or directory; name another file by --svg"
    )


@pytest.mark.parametrize("command", ["show", "train", "export"])
def test_what_was_to_name_a_run_is_answered_by_talk_of_runs(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "run.toml").touch()
    options = {"show": (), "train": ("--data", "shapes"), "export": ("--to", "source")}[command]
    for text in ("runs/a:x", "runs/a:-1", "runs/a:"):
        assert refused(command, text, *options) == (
            f"error: {text!r} names no candidate of runs/a: put its number behind the colon, as runs/a:0"
        )
    for folder, number in (("nonexist", "3"), ("runs/nonexist", "3"), ("runs/nonexist", "-1"), ("nonexist", "")):
        message = refused(command, f"{folder}:{number}", *options)
        assert "a run as RUN or RUN:ID" in message or message == (
            f"error: '{folder}:{number}' is neither the folder of a run, as RUN or RUN:ID, nor the code of an "
            f"architecture: there is no run in {folder}"
        )
    assert "did you mean 'timm'" in refused(command, "tim:resnet18", *options)


def test_show_scales_a_code():
    scaled = json.loads(done("show", "b_11-211", "--scale", "1", "--json"))
    assert scaled["architecture"] == "b@72_111-2111"
    assert "must be in 0…30" in refused("show", "b_11-211", "--scale", "-1")
    message = "torchvision:resnet18 is no code, and only these are scaled: leave out --scale"
    assert message in refused("show", "torchvision:resnet18", "--scale", "1")
