"""``spnas data check``."""

import json

import numpy as np
from click.testing import CliRunner
from voc_folder import write_voc

from spnas_core import Architecture
from spnas_core.errors import DataError
from spnas_detect.commands.data import data_group
from spnas_detect.data import DetectionData, ImageRecord
from spnas_detect.data.survey import find_faults, recall_limit, statistics, suggest
from spnas_detect.suiting import suited
from spnas_search.cli.main import commands


def _record(name, boxes, labels, ignore=None, read=None):
    return ImageRecord(
        name=name,
        read=read or (lambda: np.zeros((200, 200, 3), np.uint8)),
        width=200,
        height=200,
        boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
        labels=np.asarray(labels, np.int64),
        ignore=np.asarray(ignore or [False] * len(labels), np.bool_),
    )


def test_statistics_are_those_counted_by_hand():
    one = _record("one", [[0, 0, 10, 40], [0, 0, 100, 100], [0, 0, 5, 5]], [1, 2, 2], [False, False, True])
    found = statistics([one, _record("two", [], [])], ("cat", "dog"))
    assert (found["images"], found["boxes"], found["ignored"], found["without_boxes"]) == (2, 2, 1, 1)
    assert (found["small"], found["medium"], found["large"]) == (1, 0, 1)
    assert found["classes"]["cat"] == {"boxes": 1, "share": 0.5, "images": 1}
    assert found["side"] == [20, 28, 60, 92, 100]


def test_a_training_split_of_which_nothing_can_be_read_is_one_of_the_faults(tmp_path):
    root = write_voc(tmp_path / "voc", images=6)
    (root / "ImageSets" / "Main" / "train.txt").write_text("nowhere1\nnowhere2\n")
    result = CliRunner().invoke(commands, ["data", "check", f"voc:{root}"])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exc_info
    assert "nowhere1" in result.output
    assert "the training split" in result.output


def test_faults_are_found_by_name():
    def broken():
        raise DataError("image c.jpg does not decode")

    records = [
        _record("a", [[0, 0, 9, 9]] * 2, [1, 1]),
        _record("b", [], [], read=lambda: np.zeros((9, 9, 3), np.uint8)),
        _record("c", [], [], read=broken),
    ]
    good = [_record("d", [[0, 0, 9, 9]], [1])]
    data = DetectionData("mine:x", ("cat",), {"train": records, "validation": good, "test": good}, "f")
    found = {fault.where: (fault.kind, fault.is_fatal) for fault in find_faults(data, opens_images=True)}
    assert found == {
        "a": ("duplicate box", False),
        "b": ("size differs", False),
        "c": ("unreadable image", True),
        "d": ("in two splits", False),
    }
    assert [fault.where for fault in find_faults(data, opens_images=False)] == ["a"]


def test_the_recall_limit_by_hand():
    (note,) = recall_limit("validation", [600, 10, 0], 50)
    assert note == (
        "validation images hold up to 600 objects, 1 of 3 more than max_detections = 50: recall cannot exceed 9.8 %: "
        "set detector.max_detections"  # 60 of 610
    )
    assert recall_limit("validation", [50, 0], 50) == recall_limit("test", [], 50) == ()


def test_a_limit_is_that_of_the_detector_that_a_training_would_build(tmp_path):
    """60 objects in an image: 50 detections are kept by default, and 100 where the data decides."""
    root = write_voc(tmp_path / "voc", images=6)
    for file in (root / "Annotations").glob("*.xml"):
        text = file.read_text()
        one = text[text.index("<object>") : text.index("</object>") + len("</object>")]
        boxes = "".join(one.replace("<xmin>", f"<xmin>{number}.") for number in range(60))
        file.write_text(text.replace(one, boxes, 1))
    result = CliRunner().invoke(commands, ["data", "check", f"voc:{root}"])
    assert "recall cannot exceed" not in result.output
    found = CliRunner().invoke(commands, ["data", "check", f"voc:{root}", "--json"])
    assert json.loads(found.output)["splits"]["train"]["boxes"] > 60


def test_suggestions_beat_the_defaults_on_small_boxes():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 150, (100, 2))
    boxes = np.concatenate([corners, corners + rng.uniform([4, 12], [6, 18], (100, 2))], 1)
    found = suggest([_record("a", boxes, [1] * 100)], (2.8, 4.0), (1.0,))
    assert found["suggested"]["iou50"] > found["default"]["iou50"]
    assert found["image_size"] == (200, 200)


def test_a_canvas_scales_the_boxes_and_says_how_small_it_may_be():
    records = [_record("a", [[0, 0, 40, 40]] * 20, [1] * 20)]
    found = suggest(records, (2.8, 4.0), (1.0,), (100, 150))
    assert found["least_side"] == 20  # images of 200x200 fit at half their size
    assert found["least_shorter_side"] == 64  # 40 pixels, in steps of 32


def test_json_parses_and_unusable_data_exit_with_1():
    result = CliRunner().invoke(data_group, ["check", "shapes", "--json", "--no-decode"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["splits"]["train"]["images"] == 256
    refused = CliRunner().invoke(data_group, ["check", "voc:nowhere"])
    assert refused.exit_code == 1
    assert refused.output.startswith("error: ")


def test_the_report_says_which_canvas_a_training_would_take(tmp_path):
    spec = f"voc:{write_voc(tmp_path / 'voc', images=4)}"
    output = CliRunner().invoke(commands, ["data", "check", spec]).output
    canvas = suited({"data": spec}, Architecture.parse("b@8_1-2"), None).values["image_size"]
    assert f"name no canvas take {canvas[0]}x{canvas[1]}." in output
    assert "name no canvas" not in CliRunner().invoke(commands, ["data", "check", "shapes", "--no-decode"]).output


def test_the_report_shows_classes_sizes_and_anchors():
    result = CliRunner().invoke(commands, ["data", "check", "shapes", "--image-size", "160x160"])
    assert result.exit_code == 0, result.output
    for text in ("triangle", "aspect ratio", "Faults: 0.", "On a canvas of 160x160", "suggested: anchor_scales"):
        assert text in result.output
