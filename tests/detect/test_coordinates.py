"""Boxes that are no pixels are doubted, and refused where that is what the data is like."""

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from voc_folder import write_voc

from spnas_core.errors import DataError
from spnas_detect.data import ImageRecord, build_cache, open_data, read_data
from spnas_detect.data.coordinates import unit_faults
from spnas_detect.data.survey import find_faults
from spnas_search.cli.main import commands

UNIT = [0.25, 0.1, 0.5, 0.75]
PIXELS = [10, 20, 50, 40]


def record(boxes, name="a", size=(80, 40)):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    return ImageRecord(name, lambda: None, *size, boxes, np.ones(len(boxes), np.int64), np.zeros(len(boxes), np.bool_))


def faults(*records):
    return [(fault.where, fault.is_fatal) for fault in unit_faults("mine:x", "training", records)]


def test_most_images_normalised_is_fatal_and_says_what_to_multiply_by():
    records = [record([UNIT, UNIT], "a"), record([UNIT], "b"), record([PIXELS], "c"), record([], "d")]
    first, *others = unit_faults("mine:x", "training", records)
    assert first.is_fatal
    assert first.text == (
        "2 of the 3 training images of mine:x that have boxes have all of them in the first pixel, as coordinates "
        "normalised to 0…1 do, first a: multiply x by the image's width and y by its height, there 80 and 40"
    )
    assert [(fault.where, fault.is_fatal) for fault in others] == [("a", False), ("b", False)]
    assert "multiply x by 80 and y by 40" in others[0].text


def test_half_of_the_images_are_only_listed():
    assert faults(record([UNIT], "a"), record([UNIT], "b"), record([PIXELS]), record([PIXELS])) == [
        ("a", False),
        ("b", False),
    ]


def test_a_lone_tiny_box_makes_no_data_unusable():
    assert faults(record([UNIT])) == [("a", False)]
    assert faults(record([UNIT, PIXELS])) == []


def test_images_of_few_pixels_may_have_boxes_of_one():
    assert faults(*(record([UNIT, UNIT], size=(8, 400)) for _ in range(9))) == []
    assert faults() == []


def test_percent_are_doubted_where_they_fill_their_range_in_large_images():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 80, (12, 3, 2))
    boxes = np.concatenate([corners, corners + 20], 2)
    boxes[0, 0] = [0, 0, 99, 98]
    (fault,) = unit_faults("mine:x", "training", [record(some, size=(640, 480)) for some in boxes])
    assert (fault.kind, fault.is_fatal) == ("boxes in percent", False)
    assert "multiply x by a hundredth of the image's width" in fault.text
    boxes[5, 0] = [10, 10, 101, 20]
    assert faults(*(record(some, size=(640, 480)) for some in boxes)) == []
    assert faults(*(record(some * 0.5, size=(640, 480)) for some in boxes)) == []
    assert faults(*(record(some, size=(150, 120)) for some in boxes)) == []


def normalised_voc(root):
    write_voc(root, images=8)
    for file in (root / "Annotations").iterdir():
        text = re.sub(r"<([xy]m\w\w)>(\d+)<", lambda m: f"<{m[1]}>{(int(m[2]) - 0.5) / 64:.4f}<", file.read_text())
        file.write_text(text)
    return f"voc:{root}"


def normalised_coco(root):
    (root / "annotations").mkdir(parents=True)
    (root / "images").mkdir()
    images = [{"id": k, "file_name": f"{k}.jpg", "width": 100, "height": 80} for k in range(10)]
    boxes = [{"id": k, "image_id": k, "category_id": 1, "bbox": [0.1, 0.2, 0.3, 0.5]} for k in range(10)]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}
    (root / "annotations" / "train.json").write_text(json.dumps(content))
    for image in images:
        Image.new("RGB", (100, 80)).save(root / "images" / image["file_name"])
    return f"coco:{root}"


def normalised_eurocity(root):
    box = {"identity": "pedestrian", "x0": 0.1, "y0": 0.2, "x1": 0.4, "y1": 0.8}
    for number in range(10):
        for kind, suffix in (("labels", "json"), ("img", "png")):
            file = root / "day" / kind / "train" / "ulm" / f"ulm_{number}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            if suffix == "json":
                file.write_text(json.dumps({"imagewidth": 100, "imageheight": 80, "children": [box]}))
            else:
                Image.new("RGB", (100, 80)).save(file)
    return f"ecp:{root}"


@pytest.mark.parametrize("write", [normalised_voc, normalised_coco, normalised_eurocity])
def test_every_reader_leaves_normalised_boxes_where_they_are_recognised(tmp_path, write):
    spec = write(tmp_path / "data")
    data = open_data(spec, seed=0)
    with pytest.raises(DataError, match=r"training images of .* normalised to 0…1 do, first"):
        build_cache(data, tmp_path / "cache", image_size=(64, 64))
    found = find_faults(read_data(spec, seed=0, options={}), opens_images=False)
    listed = [fault for fault in found if fault.kind == "normalised boxes" and not fault.is_fatal]
    assert len(listed) == sum(len(split) for split in data.splits.values())
    result = CliRunner().invoke(commands, ["data", "check", spec, "--no-decode"])
    assert result.exit_code == 1
    assert "multiply x by the image's width" in result.output


def test_data_in_pixels_has_no_such_fault(tmp_path):
    write_voc(tmp_path / "voc", images=24)
    assert find_faults(read_data(f"voc:{tmp_path / 'voc'}", seed=0, options={}), opens_images=False) == []
