import os

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from spnas_core.errors import DataError
from spnas_detect.data import open_image_folder


def add(root, *names, colour=(10, 20, 30)):
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), colour).save(file)


@pytest.fixture
def flat(tmp_path):
    root = tmp_path / "flat"
    add(root, *(f"{name}/{i}.jpg" for name in ("dog", "ant", "cat") for i in range(10)))
    return root


@pytest.fixture
def split(tmp_path):
    root = tmp_path / "split"
    for part, count in (("train", 4), ("val", 2)):
        add(root, *(f"{part}/{name}/{i}.png" for name in ("dog", "ant") for i in range(count)))
    return root


def names(data, part):
    return [image.name for image in data.splits[part]]


def test_train_and_val_agree_with_torchvision(split):
    add(split, *(f"train/dog/{place}/still/x.JPG" for place in "dgbazfc"), "train/ant/.hidden.png")
    (split / "train" / "dog" / "notes.txt").write_text("no image")
    data = open_image_folder(split, seed=0)
    for part, folder in (("train", "train"), ("validation", "val")):
        peer = ImageFolder(split / folder)
        assert list(data.classes) == peer.classes
        expected = [(file.removeprefix(f"{split}/"), label) for file, label in peer.samples if "/.hidden" not in file]
        assert [(image.name, image.label) for image in data.splits[part]] == expected
    assert data.notes == ()


def test_pixels_are_read_on_demand(split):
    add(split, "train/dog/0.png", colour=(250, 0, 0))
    data = open_image_folder(split, seed=0)
    (split / "train" / "dog" / "1.png").unlink()
    images = {image.name: image for image in data.splits["train"]}
    pixels = images["train/dog/0.png"].read()
    assert pixels.shape == (4, 6, 3)
    assert pixels[0, 0].tolist() == [250, 0, 0]
    with pytest.raises(DataError, match=r"image .*train/dog/1\.png does not exist"):
        images["train/dog/1.png"].read()


def test_flat_folder_carves_a_fifth_of_each_class_by_the_seed(flat):
    data = open_image_folder(flat, seed=0)
    assert data.classes == ("ant", "cat", "dog")
    for part, count in (("train", 8), ("validation", 2)):
        assert np.bincount([image.label for image in data.splits[part]]).tolist() == [count] * 3
    assert sorted(names(data, "train") + names(data, "validation")) == sorted(
        f"{name}/{i}.jpg" for name in data.classes for i in range(10)
    )
    assert data.notes == ("validation split carved from training images by seed 0: 6 images",)
    drawn = [names(open_image_folder(flat, seed=seed), "validation") for seed in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1]
    assert len({tuple(one) for one in drawn}) == 3


def test_train_folder_without_val_carves_too(split):
    for image in sorted((split / "val").rglob("*.png")):
        image.unlink()
    for folder in ("val/dog", "val/ant", "val"):
        (split / folder).rmdir()
    data = open_image_folder(split, seed=0)
    assert (len(data.splits["train"]), len(data.splits["validation"])) == (6, 2)
    assert data.classes == ("ant", "dog")


def test_a_class_may_be_called_train(tmp_path):
    add(tmp_path, *(f"{name}/{i}.jpg" for name in ("train", "plane") for i in range(2)))
    data = open_image_folder(tmp_path, seed=0)
    assert data.classes == ("plane", "train")
    assert names(data, "train")[0].startswith("plane/")


def test_a_class_of_one_image_only_trains(flat):
    add(flat, "eel/0.jpg")
    data = open_image_folder(flat, seed=0)
    assert "eel/0.jpg" in names(data, "train")
    assert len(data.splits["validation"]) == 6


def test_classes_without_a_validation_image_are_noted(split):
    for image in (split / "val" / "dog").iterdir():
        image.unlink()
    assert open_image_folder(split, seed=0).notes == ("1 class(es) have no validation image, first dog",)


def test_fingerprint_follows_files_and_seed(flat):
    first = open_image_folder(flat, seed=0).fingerprint
    assert open_image_folder(flat, seed=0).fingerprint == first
    seen = {first, open_image_folder(flat, seed=1).fingerprint}
    os.utime(flat / "dog" / "0.jpg", ns=(1, 1))
    seen.add(open_image_folder(flat, seed=0).fingerprint)
    add(flat, "dog/new.jpg")
    seen.add(open_image_folder(flat, seed=0).fingerprint)
    assert len(seen) == 4


def test_slices_and_ends_are_those_of_a_sequence(flat):
    images = open_image_folder(flat, seed=0).splits["train"]
    assert [image.name for image in images[2:5]] == [images[i].name for i in (2, 3, 4)]
    assert images[-1].name == images[23].name
    with pytest.raises(IndexError):
        images[24]


def test_unusable_folders_are_refused(tmp_path, flat, split):
    with pytest.raises(DataError, match=r"nowhere is not a folder: expected PATH/train/CLASS"):
        open_image_folder(tmp_path / "nowhere", seed=0)
    (flat / "empty").mkdir()
    with pytest.raises(DataError, match=r"class folder .*flat/empty holds no image: add some, or remove it"):
        open_image_folder(flat, seed=0)
    with pytest.raises(DataError, match=r"dog holds 0 class folder\(s\), at least 2 are needed"):
        open_image_folder(flat / "dog", seed=0)
    add(split, "val/dogs/1.png")
    with pytest.raises(DataError, match=r"val/dogs is not among the training classes; did you mean 'dog'\?"):
        open_image_folder(split, seed=0)
    add(tmp_path / "one", "a/1.jpg", "b/1.jpg")
    with pytest.raises(DataError, match="has one image only: none is left to validate with"):
        open_image_folder(tmp_path / "one", seed=0)
    add(tmp_path / "bare", "train/a/1.jpg", "train/b/1.jpg")
    (tmp_path / "bare" / "val").mkdir()
    with pytest.raises(DataError, match=r"bare/val holds no image"):
        open_image_folder(tmp_path / "bare", seed=0)
