"""Lines of label files: what is put right and counted, and what is a fault."""

import numpy as np
import pytest
from PIL import Image
from yolo_folder import BOX, load_yolo, record_of, spoil, write_boxes, write_text, write_yolo

from spnas_core.errors import DataError
from spnas_detect.data import FaultyDataError, Repair, build_cache, open_data, read_data


@pytest.fixture
def root(tmp_path):
    return write_boxes(tmp_path / "birds", [f"images/{split}/{name}" for split in ("train", "val") for name in "abc"])


def a(root, **options):
    """The record whose labels ``spoil`` writes."""
    return record_of(load_yolo(root, **options), "images/train/a.jpg")


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        ("0 0.5 0.5 0.2 0.4", [[40, 24, 60, 56]]),
        ("\r\n0\t0.5\t0.5\t0.2\t0.4  \r\n\r\n", [[40, 24, 60, 56]]),
        ("\ufeff0 .5 0.5e0 2e-1 0.4\n", [[40, 24, 60, 56]]),
        ("0.0 0.5 0.5 0.2 0.4\n", [[40, 24, 60, 56]]),
        ("", []),
        ("\n \n", []),
        ("0 0.4 0.3 0.6 0.3 0.6 0.7", [[40, 24, 60, 56]]),
        ("0 0.4 0.3 0.6 0.3 0.6 0.7 0.4 0.7", [[40, 24, 60, 56]]),
        ("0 0.5 0.5 0.2 0", []),
    ],
)
def test_lines_are_read_as_they_are_meant(root, text, boxes):
    spoil(root, text)
    record = a(root, test="images/val")
    np.testing.assert_allclose(record.boxes, np.reshape(boxes, (-1, 4)), atol=1e-4)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_read(root, encoding):
    (root / "labels" / "train" / "a.txt").write_bytes("1 0.5 0.5 0.2 0.4\r\n".encode(encoding))
    record = a(root, test="images/val")
    assert (record.labels.tolist(), record.boxes.tolist()) == ([2], [[40, 24, 60, 56]])


def test_repairs_are_counted_with_their_places(root):
    file = root / "labels" / "train" / "a.txt"
    lines = ["0 0,5 0,5 0,2 0,4", "0 0.02 0.5 0.1 0.4", "0 0.9500005 0.5 0.1 0.4", "0 0.5 0.5 -0.01 0.1"]
    spoil(root, "\n".join([*lines, "1 -0.05 0 1.05 0 1 1"]))
    data = load_yolo(root, test="images/val", mixed="boxes")
    np.testing.assert_allclose(
        record_of(data, "images/train/a.jpg").boxes,
        [[40, 24, 60, 56], [0, 24, 7, 56], [90, 24, 100, 56], [0, 0, 100, 80]],
        atol=1e-4,
    )
    assert data.notes[0] == "1 degenerate box dropped: images/train/a.jpg"
    assert set(data.repairs) == {
        Repair("boxes that leave their image, clipped", 2, (f"{file}: line 2", f"{file}: line 5")),
        Repair("decimal commas, read as points", 1, (f"{file}: line 1",)),
        Repair("polygons, read as their bounding boxes", 1, (f"{file}: line 5",)),
    }
    assert data.dropped == ("images/train/a.jpg",)


def test_corners_in_the_place_of_centres_are_doubted(root):
    for name in ("train/a", "train/b", "train/c", "val/a", "val/b", "val/c"):
        spoil(root, "0 0.6 0.6 0.9 0.9\n", name)
    said = "6 of 6 boxes leave their image: they may be corners, and no centres and sizes"
    assert said in load_yolo(root).notes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{BOX}7 0.5 0.5 0.2 0.4", r"a\.txt: line 2 has class 7, but .*data\.yaml names 2 class\(es\), 0…1: name it"),
        ("-1 0.5 0.5 0.2 0.4", r"line 1 has class -1, but .* names 2"),
        ("1.5 0.5 0.5 0.2 0.4", r"line 1 has class '1\.5': a whole number is expected"),
        ("dog 0.5 0.5 0.2 0.4", r"line 1 has class 'dog': write its number, which is 1"),
        ("cow 0.5 0.5 0.2 0.4", r"line 1 has class 'cow': a whole number is expected, .*data\.yaml"),
        ("0 nan 0.5 0.2 0.4", r"line 1 has 'nan', not a number"),
        ("0 0.5 inf 0.2 0.4", r"line 1 has 'inf', not a number"),
        ("0 0.5 1_0 0.2 0.4", r"line 1 has '1_0', not a number"),
        ("0 50% 0.5 0.2 0.4", r"line 1 has '50%', not a number"),
        ("0 0.5, 0.5, 0.2, 0.4", r"line 1 has '0\.5,': columns are separated by spaces"),
        ("0,0.5,0.5,0.2,0.4", r"line 1 has 1 column\(s\): class, cx, cy, w and h are expected, separated by spaces"),
        ("0 0.5 0.5", r"line 1 has 3 column\(s\): class, cx, cy, w and h are expected"),
        ("0 320 240 40 32", r"line 1 has 320, far outside 0…1: fractions .*divide x by its width 100 and y by .* 80"),
        ("0 0.5 0.5 -0.2 0.4", r"line 1 has -0\.2, far outside 0…1"),
        ("0 0.5 0.5 0.2 0.4 0.87", r"line 1 is a box with a confidence or a track behind it, as predictions have"),
        ("0 0.5 0.5 0.2 0.4 0.87 12", r"line 1 has 12, far outside 0…1: .*; if it is a track's number, remove it"),
        ("0 0.1 0.1 0.9 0.1 0.9 0.9 0.4", r"line 1 has 8 column\(s\): coordinates come in pairs"),
        (
            f"0 0.1 0.1 0.9 0.1 0.9 0.9\n{BOX}",
            r"line 2 has two points in a file of polygons: a polygon needs three; if",
        ),
    ],
)
def test_lines_that_cannot_be_used_are_faults_with_file_and_line(root, text, message):
    spoil(root, text)
    with pytest.raises(DataError, match=message):
        load_yolo(root)
    data = read_data(f"yolo:{root}", seed=0, options={"test": "images/val"})
    assert all(fault.where == str(root / "labels" / "train" / "a.txt") for fault in data.faults)
    assert len(data.splits["train"]) == 3


def test_boxes_beside_polygons_can_be_read_as_boxes(root):
    spoil(root, f"0 0.1 0.1 0.9 0.1 0.9 0.9\n{BOX}")
    assert a(root, mixed="boxes", test="images/val").boxes[1].tolist() == [40, 24, 60, 56]


def test_keypoints_are_left_out_where_the_description_declares_them(root):
    text = (root / "data.yaml").read_text()
    write_text(root / "data.yaml", f"{text}kpt_shape: [2, 3]\n")
    spoil(root, "0 0.5 0.5 0.2 0.4 0.45 0.4 2 0 0 0\n")
    data = load_yolo(root, test="images/val")
    assert record_of(data, "images/train/a.jpg").boxes.tolist() == [[40, 24, 60, 56]]
    assert Repair("keypoints of objects, left out", 1, (f"{root}/labels/train/a.txt: line 1",)) in data.repairs
    spoil(root, "0 0.5 0.5 0.2 0.4 0.45 0.4\n")
    with pytest.raises(
        DataError, match=r"line 1 has 7 columns, but kpt_shape of .* gives keypoints of 3 numbers behind"
    ):
        load_yolo(root)


def test_missing_labels_are_no_objects_and_counted(root):
    (root / "labels" / "train" / "a.txt").unlink()
    spoil(root, "", "train/b")
    data = load_yolo(root, test="images/val")
    assert [len(record.boxes) for record in data.splits["train"]] == [0, 0, 1]
    what = "images without a label file, taken as images without objects"
    assert data.repairs == (Repair(what, 1, ("images/train/a.jpg",)),)


def test_labels_without_an_image_are_counted(root):
    (root / "images" / "train" / "a.jpg").unlink()
    repair = Repair("label files without an image, not read", 1, (f"{root}/labels/train/a.txt",))
    assert load_yolo(root, test="images/val").repairs == (repair,)


def test_no_label_at_all_says_where_labels_are_looked_for(root):
    (root / "labels").rename(root / "annotations")
    with pytest.raises(
        DataError, match=r"has 6 image\(s\), and none of them a label file: .*labels/.*\.txt and .*images"
    ):
        load_yolo(root)


def test_no_box_at_all_is_refused(tmp_path):
    root = write_boxes(tmp_path, [f"images/train/{name}" for name in "abc"], labels="", keys="train: images/train\n")
    with pytest.raises(DataError, match=r"data\.yaml has no box in any of its annotations"):
        load_yolo(root)


def test_images_without_a_header_are_faults_before_any_is_decoded(root, monkeypatch):
    (root / "images" / "train" / "a.jpg").write_bytes(b"no image")
    spoil(root, "9 0.5 0.5 0.2 0.4")
    Image.init()
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("decoded"))
    with pytest.raises(FaultyDataError) as caught:
        load_yolo(root)
    assert [fault.kind for fault in caught.value.faults] == ["unreadable image", "unknown class"]


def test_labels_that_are_no_text_are_faults(root):
    (root / "labels" / "train" / "a.txt").write_bytes(b"\xff\xd8\xff\xe0 JFIF")
    with pytest.raises(DataError, match=r"a\.txt is not a text file in UTF-8 or UTF-16 \(byte 0 is not in UTF-8\)"):
        load_yolo(root)


def test_the_fingerprint_follows_labels_and_names(root):
    first = load_yolo(root).fingerprint
    assert load_yolo(root).fingerprint == first
    spoil(root, f"{BOX}{BOX}")
    second = load_yolo(root).fingerprint
    (root / "labels" / "train" / "a.txt").unlink()
    third = load_yolo(root).fingerprint
    write_text(root / "data.yaml", "train: images/train\nval: images/val\nnames: [cow, dog]\n")
    assert len({first, second, third, load_yolo(root).fingerprint}) == 4


def test_the_cache_takes_it(tmp_path):
    data = load_yolo(write_yolo(tmp_path / "shapes"))
    shapes = open_data("shapes", seed=3, image_size=64, max_size=32, train=6, validation=3, test=3)
    cache = build_cache(data, tmp_path / "cache", image_size=(32, 32))
    np.testing.assert_allclose(cache.split("test").canvas_boxes(0), shapes.splits["test"][0].boxes / 2, atol=1e-3)
