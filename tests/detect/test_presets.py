"""Presets of trainings: each is a whole training's settings, and what is typed goes on top."""

import pytest
import torch
from commands import done, invoke, refused
from torch import nn
from voc_folder import write_voc

from spnas_core.backbones import read_network, unchanged
from spnas_core.configuration import read_toml, validate
from spnas_core.errors import ConfigError
from spnas_core.plugins import registry
from spnas_core.presets import Preset, find_preset
from spnas_detect.detectors import build_detector
from spnas_detect.detectors.levels import check_levels
from spnas_detect.jobs import TrainSettings
from spnas_detect.jobs.presets import training_values

TOP = 'summary = "for tests"\nmachine = "any"\n'
TINY = (
    TOP + 'extends = "demo"\n[task]\nimage_size = [64, 64]\n[task.detector]\nneck_channels = 8\nhead_channels = 16\n'
    "[task.training]\nbatch_size = 4\n[train]\narchitecture = 'b@8_1-2'\nepochs = 1\n"
)


def write(folder, text, name="mine"):
    file = folder / f"{name}.toml"
    file.write_text(text, encoding="utf-8")
    return file


SEARCHES = {"regularized", "large-scale", "hierarchical", "pnas", "nash"}
SEARCHES |= {"detnas", "darts", "snas", "proxyless-gradient", "auto-deeplab"}
SEARCHES |= {"nasnet", "eas", "nas-fpn", "mnasnet", "proxyless", "metaqnn", "blockqnn"}


@pytest.mark.parametrize("name", sorted(registry("presets").items))
def test_every_preset_is_a_trainings_settings(name):
    values = training_values(find_preset(name))
    if name in SEARCHES:  # which say nothing of a training, and so name no architecture
        assert "architecture" not in values
        values["architecture"] = "b@8_1-2-2-2"
    settings = validate(TrainSettings, values)
    check_levels(settings.detector, read_network(settings.architecture))
    assert settings.init is None


def test_the_defaults_are_spelt_out():
    values = training_values(find_preset("defaults"))
    assert validate(TrainSettings, values) == TrainSettings(architecture=values["architecture"])


def test_the_smallest_efficientdet_has_the_published_sizes():
    settings = validate(TrainSettings, training_values(find_preset("efficientdet-d0")))
    network = read_network(settings.architecture)
    detector, *_ = build_detector(unchanged(network), 90, settings.detector, {}, generator=torch.Generator())
    assert settings.image_size == (512, 512)
    assert [len(detector.neck.laterals), len(detector.neck.cells)] == [5, 3]
    assert detector.neck.out_channels == 64
    assert len(detector.head.anchors.sizes()) == 5
    towers = [module for name, module in detector.head.named_modules() if isinstance(module, nn.Conv2d)]
    assert len(towers) == 2 * (3 + 1)
    published = settings.training.model_copy(update={"batch_size": 128})
    assert published.peak_learning_rate(inherits=False) == pytest.approx(0.16)
    assert settings.epochs == 300


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nepoch = 1\n", "[train] has a key 'epoch': there is none; did you mean 'epochs'?"),
        ("[train]\nimage_size = [64, 64]\n", "[train] has a key 'image_size': it stands in [task]"),
        ("[train]\nepochs = 0\n", "epochs is 0"),
        ("[task.detector]\nnek = 'fpn'\n", "there is no setting 'detector.nek'; did you mean 'neck'?"),
        ("[task]\nname = 'null'\n", "it is for the task 'null': only detectors can be trained here"),
    ],
)
def test_a_wrong_file_names_preset_file_and_key(tmp_path, text, message):
    file = write(tmp_path, TOP + text)
    with pytest.raises(ConfigError) as caught:
        training_values(Preset("mine", file))
    assert str(caught.value).startswith(f"preset mine ({file}): ")
    assert message in str(caught.value)
    assert message in refused("train", "b@8_1-2", "--preset", file, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unknown_preset_suggests_the_nearest(tmp_path):
    error = refused("train", "--preset", "r50-2x", "--out", tmp_path / "out")
    assert error.startswith("error: 'r50-2x' is not among the registered presets; did you mean 'r50-")


SHAPES = [part for one in ("image_size=64", "train=8", "validation=4", "test=4") for part in ("--data-option", one)]


def test_a_preset_names_its_backbone_and_options_go_on_top(tmp_path):
    file, out = write(tmp_path, TINY), tmp_path / "out"
    config = write(tmp_path, "seed = 3\n[training]\nbatch_size = 2\n", "config")
    done("train", "--preset", file, "--config", config, "--set", "detector.head_channels=8", *SHAPES, "--out", out)
    saved = read_toml(out / "train.toml")
    assert (saved["architecture"], saved["epochs"], saved["seed"]) == ("b@8_1-2", 1, 3)
    assert (saved["detector"]["neck_channels"], saved["detector"]["head_channels"]) == (8, 8)
    assert saved["training"]["batch_size"] == 2
    done("train", "b@8_1-1", "--preset", file, *SHAPES, "--out", tmp_path / "other")
    assert read_toml(tmp_path / "other" / "train.toml")["architecture"] == "b@8_1-1"


def test_a_resumed_training_takes_no_preset(tmp_path):
    result = invoke("train", "--preset", "small", "--out", tmp_path / "out", "--resume")
    assert result.exit_code == 2
    assert "leave out --preset" in result.output


def test_a_published_recipe_does_not_begin_without_weights(tmp_path):
    error = refused("train", "--preset", "r50-1x", *SHAPES, "--out", tmp_path / "out")
    assert "name weights to start from with --init" in error


def test_a_comparison_trains_all_alike_and_goes_on_without_its_data(tmp_path):
    voc = write_voc(tmp_path / "voc", images=8)
    file = write(tmp_path, TINY.replace('extends = "demo"\n', "").replace("image_size = [64, 64]\n", ""))
    command = ("compare", "b@8_1-2", "b@32_1-2", "--preset", file, "--data", f"voc:{voc}", "--seeds", "1")
    out = tmp_path / "out"
    first = done(*command, "--out", out)
    assert "chosen: image_size" in first
    saved = [read_toml(out / name / "train.toml") for name in ("1-0", "2-0")]
    assert saved[0]["detector"] == saved[1]["detector"]
    assert saved[0]["image_size"] == saved[1]["image_size"] != [128, 128]
    voc.rename(tmp_path / "gone")
    again = done(*command, "--out", out)
    assert "chosen" not in again
