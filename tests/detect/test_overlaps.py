"""Images that two splits share are counted and named, wherever data is looked at or learnt from."""

import json
import shutil
from itertools import product

import numpy as np
import pytest
from commands import done, invoke
from PIL import Image
from voc_folder import write_voc
from yolo_folder import write_yolo

from spnas_detect.data import build_cache, open_data
from spnas_detect.data.cache.content import pixel_digest
from spnas_detect.data.overlaps import find_overlaps, image_file, overlap_notes


@pytest.fixture
def root(tmp_path):
    """Ten training images; one is listed for the test, too, one copied to validation, one stored otherwise."""
    root = write_voc(tmp_path / "voc", images=10)
    lists, images, annotations = root / "ImageSets" / "Main", root / "JPEGImages", root / "Annotations"
    with (lists / "test.txt").open("a") as file:
        file.write("train001\n")
    shutil.copy(images / "train002.jpg", images / "validation000.jpg")
    shutil.copy(annotations / "train002.xml", annotations / "validation000.xml")
    (images / "test003.jpg").unlink()
    with Image.open(images / "train004.jpg") as image:
        image.save(images / "test003.png")
    shutil.copy(annotations / "train004.xml", annotations / "test003.xml")
    return root


FOUND = {
    ("validation", "validation000", "train", "train002", "bytes"),
    ("test", "test003", "train", "train004", "pixels"),
    ("test", "train001", "train", "train001", "file"),
}


def plain(overlaps):
    return {(one.split, one.name, one.earlier, one.earlier_name, one.same) for one in overlaps}


def compared_one_by_one(data):
    """Every image of a later split beside every one of an earlier split."""
    found = set()
    for earlier, later in (("train", "validation"), ("train", "test"), ("validation", "test")):
        for one, other in product(data.splits[later], data.splits[earlier]):
            if image_file(one) == image_file(other):
                same = "file"
            elif image_file(one).read_bytes() == image_file(other).read_bytes():
                same = "bytes"
            elif np.array_equal(one.read(), other.read()):
                same = "pixels"
            else:
                continue
            found.add((later, one.name, earlier, other.name, same))
    return found


def test_overlaps_are_those_of_comparing_each_image_with_each(root):
    data = open_data(f"voc:{root}", seed=0)
    digests = {split: [pixel_digest(record.read()) for record in records] for split, records in data.splits.items()}
    assert compared_one_by_one(data) == FOUND
    assert plain(find_overlaps(data.splits, digests)) == FOUND
    assert plain(find_overlaps(data.splits)) == {one for one in FOUND if one[-1] != "pixels"}


def test_a_training_is_told_and_its_cache_remembers(root, tmp_path):
    data = open_data(f"voc:{root}", seed=0)
    assert "1 training images are in the test split too, first train001" in data.notes
    notes = build_cache(data, tmp_path / "cache", image_size=(32, 32)).notes
    assert "validation images that train has, too: 1 with the same bytes: validation000 = train002" in notes
    assert "test images that train has, too: 1 with the same pixels: test003 = train004" in notes
    clean = build_cache(open_data("shapes", seed=0, train=4, validation=2, test=2), tmp_path, image_size=(32, 32))
    assert clean.notes == ()


def test_data_check_lists_them_and_takes_the_data(root):
    report = json.loads(done("data", "check", f"voc:{root}", "--json"))
    texts = [fault["text"] for fault in report["faults"] if fault["kind"] == "in two splits"]
    assert sorted(texts) == [
        "image test003 of the test split is image train004 of the training split, too: the same pixels",
        "image train001 of the test split is image train001 of the training split, too: the same file",
        "image validation000 of the validation split is image train002 of the training split, too: the same bytes",
    ]
    quick = invoke("data", "check", f"voc:{root}", "--no-decode")
    assert quick.exit_code == 0
    assert quick.output.count("in two splits: ") == 2


def test_many_are_counted_and_three_are_named(tmp_path):
    root = write_yolo(tmp_path, images=10)
    for number in range(4):
        shutil.copy(root / "images" / "train" / f"{number:06}.jpg", root / "images" / "val" / f"{number:06}.jpg")
    data = open_data(f"yolo:{root}", seed=0)
    (note,) = overlap_notes(find_overlaps(data.splits))
    named = ", ".join(f"images/val/{number:06}.jpg = images/train/{number:06}.jpg" for number in range(3))
    assert note == f"validation images that train has, too: 4 with the same bytes: {named}, …"


def test_shared_test_images_are_no_overlap(tmp_path):
    root = write_yolo(tmp_path, images=6)
    report = json.loads(done("data", "check", f"yolo:{root}", "--data-option", "test=validation", "--json"))
    assert report["faults"] == []
    assert len(report["notes"]) == 1
