"""What a cache says of the content of its data: the same wherever it lies, another whenever a score could change."""

import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from voc_folder import write_voc

from spnas_core.errors import DataError
from spnas_detect.data import DetectionData, ImageRecord, build_cache, open_cache, open_data
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask


def record(name="a", value=0, tags=((),)):
    image = np.random.default_rng(value).integers(0, 256, (40, 80, 3), np.uint8)
    return ImageRecord(
        name=name,
        read=lambda: image,
        width=80,
        height=40,
        boxes=np.asarray([[10, 20, 50, 40]], np.float32),
        labels=np.asarray([1]),
        ignore=np.asarray([False]),
        tags=tags,
    )


DATA = DetectionData(
    "mine:x", ("cat", "dog"), {"train": (record(), record("b", 1)), "validation": (record("v"),), "test": ()}, "f"
)


def content(data, tmp_path, image_size=(20, 20)):
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    return build_cache(data, tmp_path / "cache", image_size=image_size).content


def with_train(*records):
    return replace(DATA, splits={**DATA.splits, "train": records})


OTHERS = {
    "a box": with_train(replace(record(), boxes=np.asarray([[10, 20, 50, 39]], np.float32)), record("b", 1)),
    "a label": with_train(replace(record(), labels=np.asarray([2])), record("b", 1)),
    "ignored": with_train(replace(record(), ignore=np.asarray([True])), record("b", 1)),
    "a tag": with_train(record(tags=(("occluded>40",),)), record("b", 1)),
    "an area": with_train(replace(record(), areas=np.asarray([300.0])), record("b", 1)),
    "an own box": with_train(replace(record(), own_boxes=record().boxes + np.float32(1)), record("b", 1)),
    "a name": with_train(record("c"), record("b", 1)),
    "pixels": with_train(record(value=7), record("b", 1)),
    "an image less": with_train(record()),
    "an image more": with_train(record(), record("b", 1), record("c", 2)),
    "the order": with_train(record("b", 1), record()),
    "a class": replace(DATA, classes=("cat", "god")),
    "the split": replace(DATA, splits={**DATA.splits, "validation": (), "test": DATA.splits["validation"]}),
}


@pytest.mark.parametrize("change", OTHERS)
def test_whatever_training_or_scoring_sees_changes_the_content(tmp_path, change):
    before = content(DATA, tmp_path)
    assert re.fullmatch("[0-9a-f]{64}", before)
    assert content(OTHERS[change], tmp_path) != before
    assert content(DATA, tmp_path) == before


def test_the_canvas_is_part_of_the_content_and_spec_notes_and_stamps_are_not(tmp_path):
    assert content(DATA, tmp_path) != content(DATA, tmp_path, (20, 24))
    elsewhere = replace(DATA, spec="mine:elsewhere", fingerprint="g", notes=("a note",))
    assert content(DATA, tmp_path) == content(elsewhere, tmp_path)


def test_the_content_is_stored_with_the_cache(tmp_path):
    cache = build_cache(DATA, tmp_path, image_size=(20, 20))
    assert open_cache(cache.folder).content == cache.content


def test_a_copied_data_set_has_the_same_content_whatever_its_times(tmp_path):
    first = write_voc(tmp_path / "first", images=8)
    second = shutil.copytree(first, tmp_path / "deeper" / "second")
    for file in second.rglob("*"):
        os.utime(file, ns=(1, 1))
    datas = [open_data(f"voc:{folder}", seed=0) for folder in (first, second)]
    assert datas[0].fingerprint != datas[1].fingerprint
    assert content(datas[0], tmp_path) == content(datas[1], tmp_path)
    Image.new("RGB", (64, 64), "red").save(second / "JPEGImages" / "test000.jpg")
    assert content(datas[1], tmp_path) != content(datas[0], tmp_path)


def test_the_task_has_the_content_as_its_fingerprint_once_it_is_prepared(tmp_path):
    options = {"image_size": 64, "train": 4, "validation": 2, "test": 2, "max_size": 32}
    task = DetectionTask(DetectionSettings(data_options=options, image_size=(64, 64)))
    assert task.fingerprint == ""
    task.prepare(tmp_path, lambda *_: None)
    (folder,) = tmp_path.iterdir()
    assert task.fingerprint == open_cache(folder).content


@pytest.mark.parametrize("name", ["train/images.npy", "validation/annotations.npz", "cache.json"])
def test_a_cache_that_was_altered_is_noticed_and_named(tmp_path, name):
    data = open_data("shapes", seed=0, image_size=32, max_size=16, train=4, validation=2, test=2)
    folder = build_cache(data, tmp_path, image_size=(32, 32)).folder
    file = folder / name
    os.utime(file, (1, 1))
    build_cache(data, tmp_path, image_size=(32, 32))  # another time alone is nothing
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=rf"the image cache .*{folder.name} is damaged: remove the folder"):
        build_cache(data, tmp_path, image_size=(32, 32))
    file.unlink()
    with pytest.raises(DataError, match=r"is damaged: remove the folder"):
        build_cache(data, tmp_path, image_size=(32, 32))


@pytest.mark.parametrize("seals", ["", "{}", "[]", "[" * 100_000, '{"cache.json": 5}'])
def test_a_cache_without_its_seals_is_no_sound_one(tmp_path, seals):
    data = open_data("shapes", seed=0, image_size=32, max_size=16, train=4, validation=2, test=2)
    folder = build_cache(data, tmp_path, image_size=(32, 32)).folder
    (folder / "seals.json").write_text(seals)
    with pytest.raises(DataError, match=r"is damaged: remove the folder"):
        build_cache(data, tmp_path, image_size=(32, 32))
