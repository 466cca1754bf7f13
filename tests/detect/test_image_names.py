"""Images that have another extension or case than annotated are found by their stem."""

import json

import numpy as np
import pytest
from image_data import load, picture, save_coco
from PIL import Image
from voc_folder import write_voc

from spnas_core.errors import DataError
from spnas_detect.data import open_data, read_image


@pytest.mark.parametrize("stored", ["a.JPG", "a.jpeg", "a.png", "a.webp", "a.TIFF", "A.jpg", "A.bmp"])
def test_coco_finds_an_image_by_its_stem_and_counts_it(folder, stored):
    Image.fromarray(picture()).save(folder / "images" / stored)
    data = load(save_coco(folder, train={"a.jpg": (30, 20)}))
    assert data.splits["train"][0].name == "a.jpg"
    assert data.splits["train"][0].read().shape == (20, 30, 3)
    assert data.notes == (f"1 image(s) found under another extension or case than annotated, first a.jpg as {stored}",)


def test_several_images_of_a_stem_are_named_and_none_is_guessed(folder):
    for stored in ("a.png", "A.webp", "a.v2.png"):
        Image.fromarray(picture()).save(folder / "images" / stored)
    (folder / "images" / "a.txt").write_text("no image")
    save_coco(folder, train={"a.jpg": (30, 20)})
    with pytest.raises(DataError, match=r"image .*a\.jpg does not exist, and A\.webp, a\.png might all be meant"):
        load(folder)
    save_coco(folder, train={"a.v2.jpg": (30, 20), "a.png": (30, 20)})
    assert "first a.v2.jpg as a.v2.png" in load(folder).notes[0]


def test_one_file_does_not_stand_for_two_annotated_images(folder):
    Image.fromarray(picture()).save(folder / "images" / "a.png")
    save_coco(folder, train={"a.jpg": (30, 20), "a.png": (30, 20)})
    with pytest.raises(DataError, match=r"a\.png is the only one for a\.jpg and a\.png, which are annotated apart"):
        load(folder)


def test_an_image_that_is_nowhere_is_still_missing(folder):
    with pytest.raises(DataError, match=r"lists the image a\.jpg, which none of these folders holds"):
        load(save_coco(folder, train={"a.jpg": (30, 20)}))


@pytest.mark.parametrize("written", ["<filename>train000.jpg</filename>", "<filename>other</filename>", ""])
def test_voc_finds_an_image_by_its_stem_and_counts_what_the_annotation_said_otherwise(tmp_path, written):
    root = write_voc(tmp_path / "voc", images=6)
    image = root / "JPEGImages" / "train000.jpg"
    pixels = read_image(image)
    image.unlink()
    Image.fromarray(pixels).save(image.with_suffix(".WEBP"), lossless=True)
    file = root / "Annotations" / "train000.xml"
    file.write_text(file.read_text().replace("<filename>train000.jpg</filename>", written))
    data = open_data(f"voc:{root}", seed=0)
    np.testing.assert_array_equal(data.splits["train"][0].read(), pixels)
    found = "1 image(s) found under another extension or case than annotated, first train000.jpg as train000.WEBP"
    assert data.notes == ((found,) if "train000" in written else ())
    Image.fromarray(pixels).save(image.with_suffix(".png"))
    with pytest.raises(DataError, match=r"train000\.WEBP, train000\.png might all be meant"):
        open_data(f"voc:{root}", seed=0)


def test_voc_takes_the_file_that_the_annotation_names(tmp_path):
    root = write_voc(tmp_path / "voc", images=6)
    Image.fromarray(picture()).save(root / "JPEGImages" / "train000.png")
    file = root / "Annotations" / "train000.xml"
    assert open_data(f"voc:{root}", seed=0).splits["train"][0].read().shape == (64, 64, 3)
    file.write_text(file.read_text().replace("train000.jpg", "train000.png"))
    data = open_data(f"voc:{root}", seed=0)
    np.testing.assert_array_equal(data.splits["train"][0].read(), picture())
    assert data.notes == ()


def test_eurocity_finds_an_image_by_its_stem(tmp_path):
    for split in ("train", "val"):
        for number in range(3):
            labels = tmp_path / "day" / "labels" / split / "ulm"
            images = tmp_path / "day" / "img" / split / "ulm"
            for place in (labels, images):
                place.mkdir(parents=True, exist_ok=True)
            child = {"identity": "pedestrian", "x0": 2, "y0": 3, "x1": 12, "y1": 19, "tags": [], "children": []}
            content = {"imagewidth": 30, "imageheight": 20, "children": [child]}
            (labels / f"{number}.json").write_text(json.dumps(content))
            Image.fromarray(picture()).save(images / f"{number}.{'JPG' if number == 1 else 'png'}", quality=95)
    data = open_data(f"ecp:{tmp_path}", seed=0)
    assert "2 image(s) found under another extension or case than annotated, first 1.png as 1.JPG" in data.notes
    assert sum(map(len, data.splits.values())) == 6
