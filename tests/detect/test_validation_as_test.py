"""``test = "validation"``: tests on validation images, nothing carved, and everything that names the split says so."""

import json
from dataclasses import replace

import pytest
from coco_folder import box, image, picture, write
from commands import done, invoke, refused
from voc_folder import write_voc
from yolo_folder import write_yolo

from spnas_detect.data import build_cache, open_data
from spnas_detect.data.conversion import LAYOUTS, convert
from spnas_detect.data.survey import find_faults

NOTE = "test = validation: {} images are both, so nothing that their scores decide is tested on others"
TINY = (
    *("--image-size", "64x64", "--epochs", 1, "--set", "detector.neck_channels=8"),
    *("--set", "training.batch_size=4"),
    *("--set", "device=cpu"),
)


def official(root, year="2017", train=6, validation=3):
    first = 0
    for split, count in ((f"train{year}", train), (f"val{year}", validation)):
        numbers = range(first, first + count)
        for k in numbers:
            picture(root / split / f"{k}.jpg")
        annotations = [box(k, k, 1 + k % 2) for k in numbers]
        write(root / "annotations" / f"instances_{split}.json", [image(k, f"{k}.jpg") for k in numbers], annotations)
        first += count
    return root


def names(data, split):
    return [record.name for record in data.splits[split]]


def is_shared(data):
    """What holds wherever the validation images are the test images."""
    assert names(data, "test") == names(data, "validation")
    assert NOTE.format(len(data.splits["test"])) in data.notes
    assert not any(note.startswith("test split carved") for note in data.notes)
    return data.tests_on_validation


@pytest.mark.parametrize("year", ["2017", "2014"])
def test_cocos_own_files_train_on_all_of_train_and_test_on_validation(tmp_path, year):
    data = open_data(f"folder:{official(tmp_path, year)}", seed=0)
    assert is_shared(data)
    assert names(data, "train") == [f"{k}.jpg" for k in range(6)]
    assert names(data, "test") == ["6.jpg", "7.jpg", "8.jpg"]


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        ({"test": "carved"}, (5, 3, 1)),
        ({"validation": "carved"}, (4, 1, 1)),
        ({"test": "instances_val2017.json", "validation": "carved"}, (5, 1, 3)),
    ],
)
def test_other_splits_of_cocos_own_files_are_a_choice(tmp_path, options, counts):
    data = open_data(f"coco:{official(tmp_path)}", seed=0, **options)
    assert tuple(map(len, data.splits.values())) == counts
    assert not data.tests_on_validation
    assert not any(note.startswith("test = validation") for note in data.notes)


def test_other_files_of_coco_carve_unless_asked(tmp_path):
    root = official(tmp_path, year="")
    assert not open_data(f"coco:{root}", seed=0).tests_on_validation
    data = open_data(f"coco:{root}", seed=0, test="validation")
    assert is_shared(data)
    assert len(data.splits["train"]) == 6


def test_yolo_and_voc_share_on_request_even_where_there_are_test_images(tmp_path):
    for kind, root in (("yolo", write_yolo(tmp_path / "yolo")), ("voc", write_voc(tmp_path / "voc", images=6))):
        before = open_data(f"{kind}:{root}", seed=0)
        assert not before.tests_on_validation
        data = open_data(f"{kind}:{root}", seed=0, test="validation")
        assert is_shared(data)
        assert names(data, "train") == names(before, "train")
        assert names(data, "validation") == names(before, "validation")
        assert data.fingerprint != before.fingerprint
    carved = open_data(f"voc:{root}", seed=0, test="carved")
    assert tuple(map(len, carved.splits.values())) == (5, 3, 1)


def test_a_validation_split_that_is_carved_is_the_test_split_too(tmp_path):
    root = write_voc(tmp_path, images=6)
    for name in ("val", "test"):
        (root / "ImageSets" / "Main" / f"{name}.txt").unlink()
    data = open_data(f"voc:{root}", seed=0, test="validation")
    assert is_shared(data)
    assert tuple(map(len, data.splits.values())) == (5, 1, 1)


def test_unknown_words_are_refused(tmp_path):
    message = refused("data", "convert", f"voc:{write_voc(tmp_path)}", tmp_path / "x", "--to", "coco",
                      "--data-option", "test=valdation")  # fmt: skip
    assert "voc has no test 'valdation'; did you mean 'validation'?" in message


def test_shared_images_are_looked_at_and_cached_once(tmp_path):
    data = open_data(f"coco:{official(tmp_path / 'coco')}", seed=0)
    told = []
    cache = build_cache(data, tmp_path / "cache", image_size=(64, 64), progress=lambda *now: told.append(now))
    assert told[-1] == (9, 9)
    assert cache.tests_on_validation
    assert cache.split("test") is cache.split("validation")
    assert len(cache.split("test")) == 3
    own = build_cache(
        open_data(f"coco:{tmp_path}/coco", seed=0, test="carved"), tmp_path / "cache", image_size=(64, 64)
    )
    assert not own.tests_on_validation
    assert own.content != cache.content
    twice = [
        replace(one, boxes=one.boxes.repeat(2, 0), labels=one.labels.repeat(2), ignore=one.ignore.repeat(2), areas=None)
        for one in data.splits["validation"]
    ]
    shared = replace(data, splits={**data.splits, "validation": twice, "test": twice})
    faults = [fault for fault in find_faults(shared, opens_images=False) if fault.kind == "duplicate box"]
    assert [fault.where for fault in faults] == names(shared, "validation")


def test_conversion_writes_shared_images_once_and_says_how_to_read_them(tmp_path):
    data = open_data(f"coco:{official(tmp_path / 'coco')}", seed=0)
    for kind, layout in LAYOUTS.items():
        written = convert(data, layout, tmp_path / f"{kind}-new")
        assert written.images == {"train": 6, "validation": 3, "test": 0}
        assert written.notes[-1] == (
            "the test images are the validation images, written once: read the new data with test=validation"
        )
        again = open_data(f"{kind}:{tmp_path}/{kind}-new", seed=0, test="validation")
        assert tuple(map(len, again.splits.values())) == (6, 3, 3)


def test_everything_that_is_printed_or_written_says_so(tmp_path):
    root, out = official(tmp_path / "coco"), tmp_path / "out"
    output = done("train", "b@4_1-2", "--data", f"coco:{root}", *TINY, "--out", out)
    assert f"data: {NOTE.format(3)}" in output
    assert "scoring on 3 test = validation images" in output
    assert "b@4_1-2 on test = validation images, after 1 epoch" in output
    assert json.loads((out / "scores.json").read_text())["split"] == "test = validation"
    weights = out / "weights.safetensors"
    output = done("evaluate", weights, "--data", f"coco:{root}", "--device", "cpu")
    assert "3 images of the test = validation split of coco:" in output
    assert NOTE.format(3) in output
    result = invoke("evaluate", weights, "--data", f"coco:{root}", "--device", "cpu", "--split", "validation", "--json")
    assert json.loads(result.stdout)["info"]["split"] == "validation"
    output = done("data", "check", f"coco:{root}")
    assert output.count("validation: 3 images (") == 1
    assert "test: 3 images" not in output
    assert NOTE.format(3) in output
