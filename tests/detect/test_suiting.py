"""What nobody has set follows from data and start; what somebody has set stays; shapes keep their defaults."""

import numpy as np
import pytest
from safetensors.torch import save_file
from voc_folder import write_voc

from spnas_core import Architecture
from spnas_core.configuration import read_toml
from spnas_core.errors import DataError
from spnas_detect.data import ImageRecord
from spnas_detect.detectors import DetectorDescription, DetectorSettings
from spnas_detect.jobs import TrainFolder
from spnas_detect.jobs.completion import suited_settings
from spnas_detect.settings import DetectionSettings
from spnas_detect.suiting import for_other_data, head_sizes, sample_numbers, suitable_canvas, suited
from spnas_search.cli.main import commands

START = Architecture.parse("b@8_11-21-21-21")
RESNET = Architecture.parse("r_111-2111-211111-211")
LARGE = {"image_size": [96, 96], "detector": {"neck_channels": 16, "head_channels": 32, "max_detections": 7}}


def record(width, height, sides, label=1, ignore=False):
    boxes = np.array([[0, 0, side, side] for side in sides], np.float32).reshape(-1, 4)
    labels = np.full(len(boxes), label, np.int64)
    return ImageRecord("a", lambda: None, width, height, boxes, labels, np.full(len(boxes), ignore))


@pytest.fixture
def voc(tmp_path):
    return f"voc:{write_voc(tmp_path / 'voc', images=8)}"


def test_the_canvas_is_as_small_as_the_small_boxes_of_the_rarest_class_allow():
    many, few = record(1280, 960, [400] * 500), record(1280, 960, [80] * 20, label=2)
    assert suitable_canvas([many, few]).size == (320, 256)  # 20 / 80 of 1280x960 is 320x240
    assert suitable_canvas([many]).size == (288, 224)  # the least that there is
    assert suitable_canvas([many, record(1280, 960, [80] * 3, label=2)]).size == (288, 224)  # too few to have a say
    assert suitable_canvas([many, record(1280, 960, [5] * 90, label=2, ignore=True)]).size == (288, 224)


def test_the_canvas_is_no_larger_than_the_images_and_the_published_one():
    assert suitable_canvas([record(100, 60, [4] * 9)]).size == (96, 64)
    assert suitable_canvas([record(6000, 4000, [4] * 9)]).size == (1216, 800)
    assert suitable_canvas([record(4000, 1000, [4] * 9)]).size == (1344, 320)
    assert suitable_canvas([record(600, 800, [4] * 9)] * 2 + [record(800, 600, [4])]).size == (608, 800)
    assert suitable_canvas([record(64, 64, [])]) is None


def test_heads_are_the_published_ones_for_resnet_50_and_the_demonstrations_for_its_backbone():
    published = {"neck_channels": 256, "head_channels": 1024, "pooled_size": 7, "sampling_ratio": 2}
    assert head_sizes(2048) == published
    defaults = DetectorSettings()
    assert head_sizes(64) == {name: getattr(defaults, name) for name in published}
    assert head_sizes(192)["neck_channels"] == 48
    assert [head_sizes(channels)["pooled_size"] for channels in (448, 449)] == [5, 7]


def test_numbers_follow_the_neck_and_fuller_images_have_more():
    published = sample_numbers(256, [1])
    assert {name: published[name] for name in ("rpn_proposals", "rpn_samples", "box_samples")} == {
        "rpn_proposals": 1000,
        "rpn_samples": 256,
        "box_samples": 512,
    }
    assert published["max_detections"] == 100
    few, many = sample_numbers(32, [1] * 10), sample_numbers(32, [40] * 9 + [300])
    assert (few["rpn_proposals"], few["rpn_samples"], few["box_samples"]) == (128, 32, 64)
    assert (many["rpn_samples"], many["max_detections"]) == (256, 400)
    assert many["rpn_proposals"] > few["rpn_proposals"]


@pytest.mark.parametrize("values", [{}, {"data": "shapes"}, {"data": "shapes", **LARGE}])
def test_shapes_keep_the_models_defaults(values):
    found = suited(values, RESNET, None)
    assert found.values == values
    assert found.remarks == ()


def test_photographs_get_a_canvas_and_heads_of_their_own_and_each_choice_is_said(voc):
    found = suited({"data": voc}, RESNET, None)
    assert found.values["image_size"] != [128, 128]
    assert found.values["detector"]["neck_channels"] == 256
    assert found.values["detector"]["score_threshold"] == 0.01
    assert DetectionSettings.model_validate(found.values)
    said = "\n".join(found.remarks)
    for name, value in found.values["detector"].items():
        assert f"detector.{name} = {value}" in said
    assert f"image_size = {found.values['image_size']}" in said
    assert all("\n" not in remark for remark in found.remarks)
    assert "task.image_size = " in "".join(suited({"data": voc}, RESNET, None, "task.").remarks)


def test_whatever_is_set_stays(voc):
    found = suited({"data": voc, **LARGE}, RESNET, None)
    detector = found.values["detector"]
    assert found.values["image_size"] == LARGE["image_size"]
    assert LARGE["detector"].items() <= detector.items()
    assert {"pooled_size", "anchor_scales"} <= detector.keys()
    for anchors in ({"anchor_scales": [3.0]}, {"anchor_sizes": [[8.0]]}, {"aspect_ratios": [1.0]}):
        kept = suited({"data": voc, "detector": anchors}, START, None).values["detector"]
        assert {key: kept[key] for key in kept if "anchor" in key or "aspect" in key} == anchors


def test_nothing_is_read_where_nothing_is_left_to_choose(voc):
    complete = suited({"data": voc}, START, None).values
    gone = {**complete, "data": "voc:/nowhere/at/all"}
    assert suited(gone, START, None).values == gone
    with pytest.raises(DataError):
        suited({"data": "voc:/nowhere/at/all"}, START, None)


def test_a_detector_of_one_stage_gets_no_box_head(voc):
    detector = suited({"data": voc, "detector": {"detector": "retinanet"}}, START, None).values["detector"]
    assert detector.keys() == {
        *("detector", "neck_channels", "score_threshold", "max_detections", "anchor_scales", "aspect_ratios")
    }


def test_anchors_are_chosen_for_the_strides_of_the_levels(voc):
    fine = suited({"data": voc}, START, None).values["detector"]["anchor_scales"]
    coarse = suited({"data": voc, "detector": {"levels": ["s4"]}}, START, None).values["detector"]["anchor_scales"]
    assert max(coarse) < max(fine)


def test_sizes_are_those_of_the_detector_whose_weights_it_begins_with(voc, tmp_path):
    import json

    import torch

    settings = DetectorSettings(neck_channels=24, head_channels=40, pooled_size=3)
    said = DetectorDescription(str(START), ("a",), settings, (64, 64)).metadata()
    file = tmp_path / "w.safetensors"
    save_file({"x": torch.zeros(1)}, file, {"spnas": json.dumps(said)})
    found = suited({"data": voc}, START, str(file))
    assert {"neck_channels": 24, "head_channels": 40, "pooled_size": 3}.items() <= found.values["detector"].items()
    assert any(f"as the detector of {file}" in remark for remark in found.remarks)
    save_file({"x": torch.zeros(1)}, file)
    assert suited({"data": voc}, START, str(file)).values["detector"]["neck_channels"] == 32


@pytest.mark.parametrize("init", ["torchvision:a.pth", "torchvision-backbone:a.pth"])
def test_weights_of_torchvision_beside_the_demonstrations_learning_rate_are_a_warning(init):
    (warning,) = suited({}, RESNET, init, "task.").remarks
    assert "task.training.finetune_learning_rate = 0.003" in warning
    assert "--preset r50-1x" in warning
    assert suited({"training": {"finetune_learning_rate": 0.0001}}, RESNET, init).remarks == ()
    assert suited({"training": {"optimizer": "sgd"}}, RESNET, init).remarks == ()
    assert suited({}, RESNET, "mine.safetensors").remarks == suited({}, RESNET, None).remarks == ()


def test_other_data_does_not_take_over_what_generated_data_has_decided():
    complete = DetectionSettings().model_dump(mode="json")
    left = for_other_data(complete, "voc:x")
    assert "image_size" not in left
    assert not {"anchor_scales", "aspect_ratios", "max_detections"} & left["detector"].keys()
    assert left["detector"]["neck_channels"] == complete["detector"]["neck_channels"]
    assert left["training"] == complete["training"]
    for same in (None, "shapes", "shapes:x"):
        assert for_other_data(complete, same) == complete
    assert for_other_data({**complete, "data": "voc:y"}, "voc:x") == {**complete, "data": "voc:y"}


def test_settings_of_a_training_are_completed(voc):
    settings, remarks = suited_settings({"architecture": str(START), "data": voc, "epochs": 3})
    assert settings.epochs == 3
    assert settings.image_size != (128, 128)
    assert len(remarks) == 4
    plain, none = suited_settings({"architecture": str(START)})
    assert plain == type(plain)(architecture=str(START))
    assert none == ()


def invoke(*arguments):
    from click.testing import CliRunner

    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


def test_train_says_and_saves_what_it_chose_and_goes_on_with_it(voc, tmp_path):
    out = tmp_path / "out"
    small = ("--set", "detector.neck_channels=8", "--set", "training.batch_size=4", "--epochs", "1")
    result = invoke("train", "b@8_1-2", "--data", voc, *small, "--out", out)
    assert result.exit_code == 0, result.output
    settings = read_toml(out / "train.toml")
    assert f"chosen: image_size = {settings['image_size']}: " in result.output.replace("\n", " ")
    assert settings["image_size"] != [128, 128]
    assert settings["detector"]["neck_channels"] == 8
    before = (out / "train.toml").read_text()
    again = invoke("train", "--out", out, "--resume")
    assert again.exit_code == 0, again.output
    assert "chosen" not in again.output
    assert (out / "train.toml").read_text() == before
    assert TrainFolder(out).read_settings().as_dict() == settings
    assert "holds a training already" in invoke("train", "b@8_1-2", "--data", "voc:/gone", "--out", out).output
