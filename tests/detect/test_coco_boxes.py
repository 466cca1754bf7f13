"""What becomes of the boxes, polygons and masks that COCO files hold."""

import numpy as np
import pytest
from coco_folder import BOX, CORNERS, box, boxes, image, load, records, repairs, simple
from pycocotools import mask

from spnas_core.errors import DataError


def without_box(**changes):
    return {key: value for key, value in box(9, 0, 2, **changes).items() if value != "gone"}


FROM_OUTLINE = "boxes taken from their segmentation"


@pytest.mark.parametrize("bbox", ["gone", None, []])
@pytest.mark.parametrize(
    ("segmentation", "expected"),
    [
        ([[10, 20, 40.5, 25, 30, 60]], [10, 20, 40.5, 60]),
        ([10, 20, 40.5, 25, 30, 60], [10, 20, 40.5, 60]),
        ([[10, 20, 40, 25, 30, 60], [50, 5, 60, 5, 60, 30], [1, 1, 2, 2]], [10, 5, 60, 60]),
        ([[-7, 20, 40, 25, 30, 600]], [0, 20, 40, 80]),
    ],
)
def test_segmentations_give_the_box_around_their_polygons(tmp_path, bbox, segmentation, expected):
    extra = without_box(bbox=bbox, segmentation=segmentation)
    data = load(simple(tmp_path, annotations=[*(box(k, k) for k in range(6)), extra]))
    assert boxes(data)[1] == ("dog", *expected)
    assert repairs(data)[FROM_OUTLINE] == (1, ("annotations/train.json: annotation 9",))


@pytest.mark.parametrize("segmentation", [[[10, 20, 40, 25]], [[1, 2]], [[1, 2, 3, 4], [5, 6]], [[]]])
def test_polygons_without_a_surface_are_degenerate(tmp_path, segmentation):
    extra = without_box(bbox="gone", segmentation=segmentation)
    data = load(simple(tmp_path, annotations=[*(box(k, k) for k in range(6)), extra]))
    assert boxes(data) == [("cat", *CORNERS)]
    assert data.dropped == ("0.jpg",)
    assert data.notes[0] == "1 degenerate box dropped: 0.jpg"


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("is_text", [True, False])
def test_masks_in_run_lengths_have_the_box_that_pycocotools_gives(tmp_path, seed, is_text):
    rng = np.random.default_rng(seed)
    pixels = np.zeros((80, 100), np.uint8)
    x, y = rng.integers(0, 60, 2)
    pixels[y : y + 20, x : x + 30] = rng.random((20, 30))[: len(pixels[y : y + 20])] < (0.05, 0.9)[seed % 2]
    if seed == 6:
        pixels[:] = 1
    coded = mask.encode(np.asfortranarray(pixels))
    left, top, width, height = mask.toBbox(coded).tolist()
    changes = np.flatnonzero(np.diff(np.concatenate([[0], pixels.ravel("F"), [2]])))
    plain = np.diff(np.concatenate([[0], changes])).tolist()
    segmentation = {"size": [80, 100], "counts": coded["counts"].decode() if is_text else plain}
    extra = without_box(bbox="gone", segmentation=segmentation, iscrowd=1)
    data = load(simple(tmp_path, annotations=[*(box(k, k) for k in range(6)), extra]))
    assert boxes(data)[1] == ("dog", left, top, left + width, top + height)
    assert records(data)["0.jpg"].ignore.tolist() == [False, True]


def test_an_empty_mask_is_degenerate(tmp_path):
    extra = without_box(bbox="gone", segmentation={"size": [80, 100], "counts": [8000]})
    assert load(simple(tmp_path, annotations=[*(box(k, k) for k in range(6)), extra])).dropped == ("0.jpg",)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 2, 3, 4, 5, 6, 7]], r"annotation 9 has a polygon \[1, 2, 3, 4, 5, 6, 7\]: numbers x, y"),
        ([[1, 2, 3, 4, 5, "x"]], r"annotation 9 has a polygon"),
        ("outline", r"annotation 9 has segmentation 'outline': polygons or run lengths"),
        (
            {"size": [80, 100], "counts": [1, 2]},
            r"annotation 9 has a mask of 3 pixels, and size \[80, 100\] makes 8000",
        ),
        (
            {"size": [100, 80], "counts": [10, 20, 7970]},
            r"annotation 9 has a mask of 80x100 pixels, and its image has 100x80: size is \[height, width\]",
        ),
        (
            {"size": [10**12, 10**12], "counts": [10**23, 9 * 10**23]},
            r"annotation 9 has a mask of 10{12}x",
        ),
        ({"size": [80], "counts": [80]}, r"annotation 9 has a mask with size \[80\]"),
        (
            {"size": [80, 100], "counts": "ä"},
            r"annotation 9 has a mask with size .* and counts that are no run lengths",
        ),
    ],
)
def test_unusable_segmentations_are_refused(tmp_path, segmentation, message):
    extra = without_box(bbox="gone", segmentation=segmentation)
    with pytest.raises(DataError, match=message):
        load(simple(tmp_path, annotations=[*(box(k, k) for k in range(6)), extra]))


@pytest.mark.parametrize("changes", [{"bbox": []}, {"bbox": None, "segmentation": []}, {"bbox": "gone"}])
def test_annotations_without_a_box_are_left_out_and_counted(tmp_path, changes):
    data = load(simple(tmp_path, annotations=[*(box(k, k) for k in range(6)), without_box(**changes)]))
    assert boxes(data) == [("cat", *CORNERS)]
    assert repairs(data)["annotations without a box, left out"] == (1, ("annotations/train.json: annotation 9",))


def test_boxes_may_be_texts(tmp_path):
    annotations = [box(k, k, bbox=["10", "20.0", " 30", "4e1"]) for k in range(6)]
    data = load(simple(tmp_path, annotations=annotations))
    assert boxes(data) == [("cat", *CORNERS)]
    assert repairs(data)["boxes written as texts, read as numbers"][0] == 6
    with pytest.raises(DataError, match=r"annotation 0 has bbox \['10', 'wide'"):
        load(simple(tmp_path, annotations=[box(0, 0, bbox=["10", "wide", "3", "4"]), *annotations[1:]]))


def test_boxes_beyond_their_image_are_clipped_and_rounding_is_not_counted(tmp_path):
    wild = [[-5, -5, 200, 200], [60, 70, 40.01, 10.02]]
    data = load(simple(tmp_path, annotations=[box(k, k % 6, bbox=wild[k] if k < 2 else BOX) for k in range(6)]))
    assert boxes(data) == [("cat", 0, 0, 100, 80)]
    assert boxes(data, "1.jpg") == [("cat", 60, 70, 100, 80)]
    assert repairs(data)["boxes that leave their image, clipped"] == (1, ("0.jpg",))


AS_NUMBERS = "polygons written as texts or as pairs, read as numbers"
SQUARE = [10 * 80 + 20, *([40, 40] * 29), 40, 80 * 100 - (39 * 80 + 60)]  # run lengths of the usual box


@pytest.mark.parametrize(
    ("changes", "repaired"),
    [
        ({"bbox": [10, 20, "30", "40.0"]}, "boxes written as texts, read as numbers"),
        ({"bbox": ["10", 20.0, " 30", 40]}, "boxes written as texts, read as numbers"),
        ({"segmentation": [["10", "20", "40", "20", "40", "60"]]}, AS_NUMBERS),
        ({"segmentation": [[[10, 20], [40, 20], [40, 60]]]}, AS_NUMBERS),
        ({"segmentation": [[10, 20], [40, 20], [40, 60]]}, AS_NUMBERS),
        ({"segmentation": [["10", "20"], [40, 20], [40, 60.0]]}, AS_NUMBERS),
        ({"bbox": [None] * 4, "segmentation": [[10, 20, 40, 20, 40, 60]]}, FROM_OUTLINE),
        ({"bbox": ["", "", "", ""], "segmentation": {"size": ["80", 100.0], "counts": SQUARE}}, FROM_OUTLINE),
    ],
)
def test_numbers_are_read_however_they_are_written(tmp_path, changes, repaired):
    extra = {**without_box(bbox="gone"), **changes}
    data = load(simple(tmp_path, annotations=[*(box(k, k) for k in range(6)), extra]))
    assert boxes(data)[1][1:] == (10, 20, 40, 60)
    assert repaired in repairs(data)


@pytest.mark.parametrize("empty", [[], [None] * 4, "", None])
def test_a_box_of_nothing_is_no_box(tmp_path, empty):
    extra = without_box(bbox=empty, segmentation=[])
    data = load(simple(tmp_path, annotations=[*(box(k, k) for k in range(6)), extra]))
    assert repairs(data)["annotations without a box, left out"][0] == 1


@pytest.mark.parametrize(
    ("value", "is_ignored"),
    [
        *((value, True) for value in (1, 1.0, "1.0", " 1", True, "true", "TRUE")),
        *((value, False) for value in (0, "0.0", False, "False", "", None)),
    ],
)
def test_crowds_are_told_however_that_is_written(tmp_path, value, is_ignored):
    data = load(simple(tmp_path, annotations=[box(k, k, iscrowd=value if k == 0 else 0) for k in range(6)]))
    assert records(data)["0.jpg"].ignore.tolist() == [is_ignored]


@pytest.mark.parametrize("size", [("", 80), (100, 64.5), (None, None), ("100.5", "80"), (-1, 80), ([], 80)])
def test_sizes_without_a_usable_number_come_from_the_image(tmp_path, size):
    images = [image(k, f"{k}.jpg") for k in range(6)]
    images[0].update(zip(("width", "height"), size, strict=True))
    data = load(simple(tmp_path, images))
    assert (records(data)["0.jpg"].width, records(data)["0.jpg"].height) == (100, 80)
    assert repairs(data)["image sizes that were missing or unusable, taken from the image file"] == (1, ("0.jpg",))


def test_digits_are_names_of_classes(tmp_path):
    root = simple(tmp_path, categories=[{"id": 1, "name": 7}, {"id": 2, "name": "dog"}])
    assert load(root).classes == ("7", "dog")
