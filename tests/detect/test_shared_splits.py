"""Splits that share images: what tests on the images that it chose by is said to, and nothing is carved of those."""

import json

import pytest
from coco_folder import box, image, picture, write
from voc_folder import write_voc
from yolo_folder import names_of, write_text, write_yolo

from spnas_detect.data import build_cache, open_data

NOTE = "test = validation: {} images are both, so nothing that their scores decide is tested on others"
YAML = "train: {train}\nval: images/val\ntest: {test}\nnames: [square, disc, triangle, ring]\n"


def yolo(root, train="images/train", test="images/val"):
    write_yolo(root)
    write_text(root / "data.yaml", YAML.format(train=train, test=test))
    return f"yolo:{root}"


def voc(root):
    lists = write_voc(root, images=6) / "ImageSets" / "Main"
    (lists / "test.txt").write_bytes((lists / "val.txt").read_bytes())
    return f"voc:{root}"


def coco(root, tests=(6, 7, 8), area=1200):
    for number in range(9):
        picture(root / "images" / f"{number}.jpg")
    for split, numbers in (("train", range(6)), ("val", (6, 7, 8)), ("test", tests)):
        annotations = [box(k, k, 1 + k % 2, area=area if split == "test" else 1200) for k in numbers]
        write(root / "annotations" / f"{split}.json", [image(k, f"{k}.jpg") for k in numbers], annotations)
    return f"coco:{root}"


@pytest.mark.parametrize("write_data", [yolo, voc, coco])
def test_a_test_split_that_is_the_validation_split_is_called_so(tmp_path, write_data):
    data = open_data(write_data(tmp_path / "data"), seed=0)
    assert data.tests_on_validation
    assert NOTE.format(3) in data.notes
    assert tuple(map(len, data.splits.values())) == (6, 3, 3)
    assert not any("images are in the" in note for note in data.notes)
    cache = build_cache(data, tmp_path / "cache", image_size=(64, 64))
    assert cache.split("test") is cache.split("validation")


@pytest.mark.parametrize(("tests", "area"), [((7, 8), 1200), ((6, 7, 8), 900)])
def test_validation_images_that_test_with_others_or_otherwise_annotated_are_counted(tmp_path, tests, area):
    data = open_data(coco(tmp_path, tests, area), seed=0)
    assert not data.tests_on_validation
    assert data.notes == (f"{len(tests)} validation images are in the test split too, first {min(tests)}.jpg",)


def test_images_that_validate_are_not_carved(tmp_path):
    data = open_data(yolo(tmp_path, train="[images/train, images/val]", test=""), seed=0)
    validation = set(names_of(data, "validation"))
    assert not data.tests_on_validation
    assert names_of(data, "test")
    assert not validation & set(names_of(data, "test"))
    assert "3 training images are in the validation split too, first images/val/000000.jpg" in data.notes
    assert "test split carved from training images by seed 0: 1 images" in data.notes
    assert len(data.splits["train"]) + 1 == 9


def test_images_that_test_are_not_carved_to_validate(tmp_path):
    root = write_voc(tmp_path, images=6)
    lists = root / "ImageSets" / "Main"
    (lists / "val.txt").unlink()
    with (lists / "train.txt").open("a") as file:
        file.write((lists / "test.txt").read_text())
    for seed in range(4):
        data = open_data(f"voc:{root}", seed=seed)
        assert not set(names_of(data, "validation")) & set(names_of(data, "test"))


def test_where_all_training_images_validate_nothing_else_can_test(tmp_path):
    spec = yolo(tmp_path, train="images/val", test="")
    data = open_data(spec, seed=0)
    assert data.tests_on_validation
    assert NOTE.format(3) in data.notes
    carved = open_data(spec, seed=0, test="carved")
    assert not carved.tests_on_validation
    assert "1 validation images are in the test split too" in " ".join(carved.notes)


def test_files_of_one_name_in_other_folders_are_other_images(tmp_path):
    root = tmp_path / "coco"
    for split in ("train", "val"):
        for number in range(6):
            picture(root / split / f"{number}.jpg")
        write(
            root / "annotations" / f"{split}.json",
            [image(k, f"{k}.jpg") for k in range(6)],
            [box(k, k, 1 + k % 2) for k in range(6)],
        )
    data = open_data(f"coco:{root}", seed=0)
    assert not data.tests_on_validation
    assert tuple(map(len, data.splits.values())) == (5, 6, 1)
    assert json.dumps(data.notes).count("too") == 0
