"""A look at a data set finds everything that is wrong with it, and says what a training would say."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from tiny_training import tiny_settings
from voc_folder import write_voc

from spnas_core.errors import DataError
from spnas_detect.data import (
    DetectionData,
    Fault,
    FaultyDataError,
    ImageRecord,
    build_cache,
    open_data,
    open_image_folder,
    read_data,
)
from spnas_detect.data._base import READERS
from spnas_detect.data.faults import FaultCollector
from spnas_detect.data.survey import find_faults
from spnas_detect.inference.evaluation import evaluate
from spnas_detect.jobs import train as train_detector
from spnas_detect.processes.launcher import attempt
from spnas_search.cli.main import commands


def check(spec, *options):
    """What ``spnas data check`` says: its exit code and its JSON."""
    result = CliRunner().invoke(commands, ["data", "check", spec, "--json", *options])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result.exit_code, json.loads(result.stdout)


def train(spec, out):
    """How ``spnas train`` ends: its exit code and what it prints."""
    given = ["train", "b@8_1-2", "--data", spec, "--image-size", "64x64", "--epochs", "1", "--out", str(out)]
    result = CliRunner().invoke(commands, given)
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result.exit_code, result.output


@pytest.fixture
def voc(tmp_path):
    return write_voc(tmp_path / "voc", images=8)


def spoil_voc(voc):
    """Break five things; the name of the file and a word of each."""
    annotations = voc / "Annotations"
    (annotations / "train001.xml").write_text("<annotation>")
    (annotations / "train002.xml").unlink()
    text = (annotations / "validation000.xml").read_text()
    text = text.replace("<name>", "<name/><other>", 1).replace("</name>", "</other>", 1)
    (annotations / "validation000.xml").write_text(
        text.replace("</annotation>", "<object><name>disc</name></object></annotation>")
    )
    (voc / "JPEGImages" / "test001.jpg").unlink()
    return [
        ("broken annotation", "train001.xml", "malformed XML"),
        ("broken annotation", "train002.xml", "does not exist, but ImageSets/Main lists"),
        ("broken annotation", "validation000.xml", "object 1 has no <name>"),
        ("broken annotation", "validation000.xml", "has <xmin> None, not a number"),
        ("missing image", "test001.xml", "names the image test001.jpg"),
    ]


def agree(found, expected):
    return len(found) == len(expected) and all(
        fault.kind == kind and place in fault.where and word in fault.text
        for fault, (kind, place, word) in zip(found, expected, strict=True)
    )


def test_voc_goes_on_after_a_broken_file(voc):
    expected = spoil_voc(voc)
    data = read_data(f"voc:{voc}", seed=0, options={})
    assert agree(data.faults, expected), data.faults
    assert [len(data.splits[split]) for split in ("train", "validation", "test")] == [6, 4, 3]
    with pytest.raises(FaultyDataError) as caught:
        open_data(f"voc:{voc}", seed=0)
    assert caught.value.faults == data.faults
    assert "malformed XML" in str(caught.value)
    assert str(caught.value).endswith(f"; and 4 more faults: spnas data check voc:{voc} lists all")


def test_one_fault_is_worded_alone_and_a_spec_is_quoted():
    first, second = Fault("a", "x", "first"), Fault("b", "y", "second")
    assert str(FaultyDataError("voc:my data", [first])) == "first"
    message = "first; and 1 more fault: spnas data check 'voc:my data' lists all"
    assert str(FaultyDataError("voc:my data", [first, second])) == message


def test_lists_that_are_no_text_are_all_named(voc):
    for name in ("val", "test"):
        (voc / "ImageSets" / "Main" / f"{name}.txt").write_bytes(b"\xff\xfe")
    faults = read_data(f"voc:{voc}", seed=0, options={}).faults
    assert [fault.where.rpartition("/")[2] for fault in faults] == ["val.txt", "test.txt"]


def test_classes_that_were_not_given_are_all_named(voc):
    data = read_data(f"voc:{voc}", seed=0, options={"classes": ["disc", "ring"]})
    assert sorted(fault.text.rpartition("class ")[2].split(";")[0] for fault in data.faults) == [
        "'square'",
        "'triangle'",
    ]


def test_where_nothing_is_left_the_broken_files_are_the_reason(voc):
    for file in (voc / "Annotations").iterdir():
        file.write_text("")
    with pytest.raises(FaultyDataError) as caught:
        read_data(f"voc:{voc}", seed=0, options={})
    assert len(caught.value.faults) == 17
    assert "malformed XML" in str(caught.value)
    assert "has no box" in caught.value.faults[-1].text
    code, report = check(f"voc:{voc}")
    assert (code, report["usable"], len(report["faults"])) == (1, False, 17)


@pytest.fixture
def coco(tmp_path):
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    (root / "images").mkdir()
    images = [{"id": k, "file_name": f"{k}.jpg", "width": 100, "height": 80} for k in range(10)]
    for image in images:
        Image.new("RGB", (100, 80), (10, 200, 30)).save(root / "images" / image["file_name"])
    content = {
        "images": images,
        "annotations": [{"id": k, "image_id": k, "category_id": 1, "bbox": [1, 1, 30, 40]} for k in range(10)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    for name in ("train", "val"):
        (root / "annotations" / f"{name}.json").write_text(json.dumps(content))
    return root


def test_coco_goes_on_after_a_broken_entry(coco):
    file = coco / "annotations" / "train.json"
    content = json.loads(file.read_text())
    content["images"][0]["width"] = "wide"
    content["images"][1]["file_name"] = "none.jpg"
    content["categories"].append({"id": 3})
    content["annotations"][2]["bbox"] = [1, 1, 2]
    content["annotations"][3]["category_id"] = 9
    content["annotations"][4]["image_id"] = 99
    content["annotations"][5]["category_id"] = 3  # its category is the fault, not this
    file.write_text(json.dumps(content))
    (coco / "annotations" / "val.json").write_text("{")
    expected = [
        ("broken annotation", "train.json: category 3", "has no name"),
        ("broken annotation", "train.json: image 0", "has width 'wide'"),
        ("missing image", "train.json: image 1", "lists the image none.jpg"),
        ("broken annotation", "train.json: annotation 2", "has bbox [1, 1, 2]"),
        ("broken annotation", "train.json: annotation 3", "has category 9"),
        ("broken annotation", "train.json: annotation 4", "belongs to image 99"),
        ("broken annotation", "val.json", "malformed JSON"),
    ]
    data = read_data(f"coco:{coco}", seed=0, options={})
    assert agree(data.faults, expected), data.faults
    assert sum(map(len, data.splits.values())) == 8


def test_coco_lists_without_one_another_are_one_fault(coco):
    file = coco / "annotations" / "train.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "categories": None}))
    with pytest.raises(DataError, match="no list of objects under the key 'categories'") as caught:
        read_data(f"coco:{coco}", seed=0, options={"validation": "carved"})
    assert len(caught.value.faults) == 2  # and the consequence: no box is left


def test_absolute_file_names_of_coco_do_not_name_the_folder(coco):
    file = coco / "annotations" / "train.json"
    content = json.loads(file.read_text())
    for image in content["images"]:
        image["file_name"] = str(coco / "images" / image["file_name"])
    file.write_text(json.dumps(content))
    names = {record.name for record in open_data(f"coco:{coco}", seed=0).splits["train"]}
    assert names <= {f"images/{k}.jpg" for k in range(10)}


def test_eurocity_goes_on_after_a_broken_file(tmp_path):
    box = {"identity": "pedestrian", "x0": 10, "y0": 20, "x1": 40, "y1": 80}
    contents = [{"imagewidth": 192, "imageheight": 128, "children": [box, box]} for _ in range(8)]
    contents[1] = "{"
    contents[2] = {**contents[2], "children": [{**box, "x0": None}, box, {**box, "identity": 3}]}
    for number, content in enumerate(contents):
        for kind in ("labels", "img"):
            (tmp_path / "day" / kind / "train" / "ulm").mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "day" / "labels" / "train" / "ulm" / f"ulm_{number}.json").write_text(text)
        if number != 3:
            Image.new("RGB", (192, 128)).save(tmp_path / "day" / "img" / "train" / "ulm" / f"ulm_{number}.png")
    data = read_data(f"ecp:{tmp_path}", seed=0, options={})
    expected = [
        ("broken annotation", "ulm_1.json", "malformed JSON"),
        ("broken annotation", "ulm_2.json", "object 1 has x0 None"),
        ("broken annotation", "ulm_2.json", "object 3 has identity 3"),
        ("missing image", "ulm_3.json", "which does not exist"),
    ]
    assert agree(data.faults, expected), data.faults
    assert sum(map(len, data.splits.values())) == 6


def test_folders_of_classes_are_all_named(tmp_path):
    for name in ("ant", "bee", "cat", "dog"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "ant" / "0.png")
    with pytest.raises(DataError) as caught:
        open_image_folder(tmp_path, seed=0)
    for name in ("bee", "cat", "dog"):
        assert f"{tmp_path / name} holds no image" in str(caught.value)


def test_images_that_do_not_decode_are_all_found(voc, tmp_path):
    for name in ("train000", "train005", "validation001", "test002"):
        file = voc / "JPEGImages" / f"{name}.jpg"
        file.write_bytes(file.read_bytes()[:200])
    data = open_data(f"voc:{voc}", seed=0)
    with pytest.raises(FaultyDataError) as caught:
        build_cache(data, tmp_path / "cache", image_size=(64, 64))
    assert [fault.where for fault in caught.value.faults] == ["train000", "train005", "validation001", "test002"]
    assert "train000.jpg does not decode" in str(caught.value)
    assert f"and 3 more faults: spnas data check voc:{voc} lists all" in str(caught.value)
    assert not (tmp_path / "cache").exists()
    assert [fault for fault in find_faults(data, opens_images=True) if fault.is_fatal] == list(caught.value.faults)


def test_a_reader_that_gives_no_pixels_is_named(voc, tmp_path):
    data = open_data(f"voc:{voc}", seed=0)
    grey = replace(data.splits["train"][0], read=lambda: np.zeros((64, 64), np.uint8))
    data = replace(data, splits={**data.splits, "train": [grey, *data.splits["train"][1:]]})
    with pytest.raises(DataError, match=r"image train000 was read as uint8\[64, 64\], not as uint8\[H, W, 3\]"):
        build_cache(data, tmp_path / "cache", image_size=(64, 64))


def test_check_lists_broken_annotations_and_broken_images_in_one_look(voc):
    expected = spoil_voc(voc)
    image = voc / "JPEGImages" / "train003.jpg"
    image.write_bytes(image.read_bytes()[:200])
    code, report = check(f"voc:{voc}")
    assert (code, report["usable"]) == (1, False)
    fatal = [(fault["kind"], fault["where"]) for fault in report["faults"] if fault["kind"] != "box without area"]
    assert len(fatal) == len(expected) + 1
    assert fatal[-1] == ("unreadable image", "train003")
    result = CliRunner().invoke(commands, ["data", "check", f"voc:{voc}"])
    assert result.exit_code == 1
    for _, _, word in expected:
        assert word in result.output
    assert f"error: voc:{voc} cannot be used: 6 of its 6 faults forbid it" in result.output


def without_boxes(voc, split):
    for file in (voc / "Annotations").glob(f"{split}*.xml"):
        head, _, _ = file.read_text().partition("<object>")
        file.write_text(f"{head}</annotation>")


def no_validation_box(voc):
    without_boxes(voc, "validation")


def no_test_box(voc):
    without_boxes(voc, "test")


def no_training_box(voc):
    without_boxes(voc, "train")


def boxes_outside(voc):
    for file in (voc / "Annotations").glob("train*.xml"):
        text = file.read_text().replace("<width>64<", "<width>6400<").replace("<xmin>", "<xmin>30")
        file.write_text(text.replace("<xmax>", "<xmax>60"))


def broken_image(voc):
    (voc / "JPEGImages" / "test001.jpg").write_bytes(b"")


def normalised(voc):
    for file in (voc / "Annotations").glob("*.xml"):
        text = file.read_text()
        for corner in ("xmin", "ymin", "xmax", "ymax"):
            text = text.replace(f"<{corner}>", f"<{corner}>0.0")
        file.write_text(text)


FATAL = [
    spoil_voc,
    no_training_box,
    no_validation_box,
    no_test_box,
    boxes_outside,
    broken_image,
    normalised,
]


@pytest.mark.parametrize("change", FATAL)
def test_check_and_training_refuse_alike(voc, tmp_path, change):
    change(voc)
    code, report = check(f"voc:{voc}")
    assert (code, report["usable"]) == (1, False)
    trained, output = train(f"voc:{voc}", tmp_path / "out")
    assert trained == 2, output
    assert any(fault["text"] in output for fault in report["faults"]), (output, report["faults"])
    assert not (tmp_path / "out").exists()


def test_scoring_refuses_what_a_training_would(voc, tmp_path):
    result = train_detector(tiny_settings(data=f"voc:{voc}", data_options={}, epochs=1), tmp_path / "out")
    normalised(voc)
    with pytest.raises(DataError, match=r"4 of the 4 test images of .* normalised to 0…1 do, first test000"):
        evaluate(result.weights, f"voc:{voc}")


def harmless(voc):
    file = voc / "Annotations" / "train000.xml"
    text = file.read_text()
    first = text[text.index("<object>") : text.index("</object>") + len("</object>")]
    file.write_text(text.replace(first, first + first).replace("<width>64<", "<width>65<"))
    without_boxes(voc, "train001")


def test_check_and_training_take_alike(voc, tmp_path):
    harmless(voc)
    code, report = check(f"voc:{voc}")
    assert (code, report["usable"]) == (0, True)
    assert [fault["kind"] for fault in report["faults"]] == ["duplicate box", "size differs"]
    assert train(f"voc:{voc}", tmp_path / "out")[0] == 0


def mine(**changes):
    values = {
        "name": "a",
        "read": lambda: np.zeros((40, 80, 3), np.uint8),
        "width": 80,
        "height": 40,
        "boxes": np.asarray([[10, 20, 50, 40]], np.float32),
        "labels": np.asarray([1]),
        "ignore": np.asarray([False]),
    }
    good = ImageRecord(**values)
    return DetectionData("mine", ("cat",), {"train": [ImageRecord(**{**values, **changes})], "validation": [good],
                                           "test": []}, "f")  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        mine(labels=np.asarray([2])),
        mine(labels=np.asarray([0])),
        mine(tags=((), ())),
        mine(own_boxes=np.zeros((2, 4), np.float32)),
        mine(areas=np.zeros(2)),
        mine(ignore=np.asarray([True])),
        mine(read=lambda: np.zeros((4, 4, 3), np.uint8)),
    ],
    ids=["class above", "class 0", "tags", "own boxes", "areas", "ignored", "outside"],
)
def test_check_and_training_refuse_alike_what_only_plugins_give(tmp_path, monkeypatch, data):
    found = [fault for fault in find_faults(data, opens_images=True) if fault.is_fatal]
    with pytest.raises(FaultyDataError) as caught:
        build_cache(data, tmp_path, image_size=(20, 20))
    assert list(caught.value.faults) == found
    monkeypatch.setitem(READERS, "mine", lambda *_, **__: data)
    with pytest.raises(FaultyDataError):
        build_cache(open_data("mine", seed=0), tmp_path, image_size=(20, 20))


def test_the_error_survives_pickling_and_other_processes():
    error = FaultyDataError("voc:x", [Fault("a", "x", "first"), Fault("b", "y", "second")])
    back = pickle.loads(pickle.dumps(error))
    assert (str(back), back.faults) == (str(error), error.faults)

    def fail():
        raise error

    outcome = attempt(fail, ())
    assert (outcome.ending, outcome.error, outcome.text) == ("refused", "DataError", str(error))


def test_a_file_that_cannot_be_looked_at_is_a_fault_like_others(tmp_path):
    faults = FaultCollector("voc:x")
    assert faults.attempt("broken annotation", "here", (tmp_path / ("x" * 300)).read_text) is None
    (fault,) = faults.found
    assert "cannot be looked at: File name too long" in fault.text
