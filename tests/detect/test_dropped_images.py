"""``on_fault = "drop"``: an image with a fault of its own is left out as a whole and counted; other faults stay."""

import json

import eurocity_folder as ecp
import pytest
from coco_folder import box, image, simple
from voc_folder import write_voc
from yolo_folder import write_text, write_yolo

from spnas_core.errors import DataError
from spnas_detect.data import FaultyDataError, open_data, read_data

MISSING, BROKEN = "image(s) that are missing left out", "image(s) whose annotations are broken left out"


def yolo(root):
    return f"yolo:{write_yolo(root)}"


def voc(root):
    return f"voc:{write_voc(root, images=6)}"


def coco(root, **changes):
    images = [image(k, f"{k}.jpg") for k in range(6)]
    return f"coco:{simple(root, images, [box(k, k, 1 + k % 2, **(changes if k == 2 else {})) for k in range(6)])}"


def eurocity(root):
    for number in range(6):
        ecp.write(root, "day", "train", "ulm", number, ecp.frame(ecp.thing("pedestrian")))
    return f"ecp:{root}"


def torn_yolo(root):
    spec = yolo(root)
    write_text(root / "labels/train/000002.txt", "0 0.5 nan 0.4 0.4\n0 0.5 0.5 0.2 0.2\n")
    return spec, f"1 {BROKEN}: images/train/000002.jpg"


def yolo_in_words(root):
    spec = yolo(root)
    (root / "labels/train/000002.txt").write_bytes(b"\xff\xfe\xff")
    return spec, f"1 {BROKEN}: images/train/000002.jpg"


def listed_and_missing_in_yolo(root):
    spec = yolo(root)
    lines = "".join(f"images/train/{number:06}.jpg\n" for number in range(7))
    write_text(root / "train.txt", lines.replace("000002", "missing"))
    description = (root / "data.yaml").read_text().replace("train: images/train", "train: train.txt")
    write_text(root / "data.yaml", description)
    return spec, f"2 {MISSING}: images/train/missing.jpg, images/train/000006.jpg"


def torn_voc(root):
    spec = voc(root)
    (root / "Annotations/train002.xml").write_text("<annotation><object>")
    return spec, f"1 {BROKEN}: train002"


def voc_with_a_corner_that_is_no_number(root):
    spec = voc(root)
    file = root / "Annotations/train002.xml"
    file.write_text(file.read_text().replace("</xmin>", "x</xmin>", 1))
    return spec, f"1 {BROKEN}: train002"


def listed_and_missing_in_voc(root):
    spec = voc(root)
    (root / "JPEGImages/train002.jpg").unlink()
    return spec, f"1 {MISSING}: train002"


def torn_voc_without_lists_and_image(root):
    spec = voc(root)
    for file in (root / "ImageSets/Main").iterdir():
        file.unlink()
    (root / "ImageSets/Main").rmdir()
    (root / "ImageSets").rmdir()
    (root / "Annotations/torn.xml").write_text("<annotation><object>")
    return spec, f"1 {BROKEN}: torn"


def listed_and_missing_in_coco(root):
    spec = coco(root)
    (root / "images/2.jpg").unlink()
    return spec, f"1 {MISSING}: 2.jpg"


def coco_with_a_broken_box(root):
    return coco(root, bbox=[1, 2, 3]), f"1 {BROKEN}: 2.jpg"


def coco_with_a_broken_size(root):
    spec = coco(root)
    file = root / "annotations/train.json"
    content = json.loads(file.read_text())
    content["images"][2]["width"] = [100]
    file.write_text(json.dumps(content))
    return spec, f"1 {BROKEN}: 2.jpg"


def torn_eurocity(root):
    spec = eurocity(root)
    (root / "day/labels/train/ulm/ulm_00002.json").write_text('{"imagewidth": 192')
    return spec, f"1 {BROKEN}: day/ulm/ulm_00002"


def listed_and_missing_in_eurocity(root):
    spec = eurocity(root)
    (root / "day/img/train/ulm/ulm_00002.png").unlink()
    return spec, f"1 {MISSING}: day/ulm/ulm_00002"


SPOILT = [
    torn_yolo,
    yolo_in_words,
    listed_and_missing_in_yolo,
    torn_voc,
    voc_with_a_corner_that_is_no_number,
    listed_and_missing_in_voc,
    torn_voc_without_lists_and_image,
    listed_and_missing_in_coco,
    coco_with_a_broken_box,
    coco_with_a_broken_size,
    torn_eurocity,
    listed_and_missing_in_eurocity,
]


@pytest.mark.parametrize("spoil", SPOILT)
def test_an_image_with_a_fault_of_its_own_is_left_out_as_a_whole(tmp_path, spoil):
    spec, note = spoil(tmp_path / "data")
    with pytest.raises(DataError):
        open_data(spec, seed=0)
    data = open_data(spec, seed=0, on_fault="drop")
    assert [text for text in data.notes if "left out" in text] == [note]
    names = {record.name for records in data.splits.values() for record in records}
    assert names
    assert not names & set(note.partition(": ")[2].split(", "))


@pytest.mark.parametrize(
    ("write", "file", "old", "new", "message"),
    [
        (yolo, "labels/train/000002.txt", None, b"9 0.5 0.5 0.2 0.2", "has class 9"),
        (yolo, "data.yaml", "images/train", "images/tarin", "nothing of that name"),
        (voc, "ImageSets/Main/val.txt", None, b"\xff\xfe\xff", "is not a text file"),
        (coco, "annotations/train.json", '"categories"', '"categorys"', "no list of objects under the key"),
        (coco, "annotations/train.json", '"category_id": 2', '"category_id": 7', "has category 7"),
        (coco, "annotations/train.json", '"image_id": 2', '"image_id": 77', "belongs to image 77"),
    ],
)
def test_faults_of_lists_and_classes_stay_refused(tmp_path, write, file, old, new, message):
    spec = write(tmp_path)
    place = tmp_path / file
    if old is None:
        place.write_bytes(new)
    else:
        place.write_text(place.read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        open_data(spec, seed=0, on_fault="drop")


def test_where_every_image_is_left_out_the_first_fault_says_why(tmp_path):
    spec = yolo(tmp_path)
    for file in tmp_path.glob("labels/*/*.txt"):
        file.write_text("0 50 50 20 20\n")
    with pytest.raises(FaultyDataError, match=r"has 50, far outside 0…1: fractions"):
        read_data(spec, seed=0, options={"on_fault": "drop"})


def test_two_names_of_one_image_are_left_out_together(tmp_path):
    spec = coco(tmp_path)
    file = tmp_path / "annotations/train.json"
    file.write_text(file.read_text().replace('"2.jpg"', '"2.png"').replace('"3.jpg"', '"2.bmp"'))
    with pytest.raises(DataError, match=r"is the only one for 2\.bmp and 2\.png"):
        open_data(spec, seed=0)
    data = open_data(spec, seed=0, on_fault="drop")
    assert f"1 {MISSING}: 2.jpg" in data.notes
    assert {record.name for records in data.splits.values() for record in records} == {f"{k}.jpg" for k in (0, 1, 4, 5)}
