import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spnas_core.errors import DataError
from spnas_detect.data import BACKGROUND, DetectionData, ImageRecord, crops_from, open_data


def record(name, boxes, labels=None, ignore=None, size=(100, 80)):
    """An image in which a pixel holds its own x and y."""
    y, x = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([x, y, x * 0], 2).astype(np.uint8)
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    return ImageRecord(
        name=name,
        read=lambda: pixels,
        width=size[0],
        height=size[1],
        boxes=boxes,
        labels=np.ones(len(boxes), np.int64) if labels is None else np.asarray(labels),
        ignore=np.zeros(len(boxes), bool) if ignore is None else np.asarray(ignore),
    )


def dataset(train, validation=None, classes=("cat", "dog")):
    splits = {"train": train, "validation": validation or train, "test": [record("t", [[0, 0, 50, 50]])]}
    return DetectionData("mine:x", classes, splits, "f")


def window(crop):
    """Where a crop was cut, read off its pixels."""
    first, last = crop.read()[0, 0], crop.read()[-1, -1]
    return [int(first[0]), int(first[1]), int(last[0]) + 1, int(last[1]) + 1]


def objects(data, split="train"):
    return [crop for crop in data.splits[split] if crop.label < len(data.classes) - 1]


def backgrounds(data, split="train"):
    return [crop for crop in data.splits[split] if crop.label == len(data.classes) - 1]


def test_objects_lie_in_the_middle_of_their_squares():
    data = crops_from(dataset([record("a", [[40, 30, 60, 40], [20, 30, 24, 50]], [2, 1])]), seed=0, context=1.5)
    assert data.classes == ("cat", "dog", BACKGROUND)
    assert [(crop.label, window(crop)) for crop in objects(data)] == [(1, [35, 20, 65, 50]), (0, [7, 25, 37, 55])]
    assert [crop.name for crop in objects(data)] == ["a at 35,20-65,50", "a at 7,25-37,55"]


def test_squares_are_moved_into_the_image_or_cut_to_it():
    boxes = [[0, 0, 20, 10], [85, 70, 100, 80], [0, 0, 100, 70]]
    data = crops_from(dataset([record("a", boxes)]), seed=0, context=1.0)
    assert [window(crop) for crop in objects(data)] == [[0, 0, 20, 20], [85, 65, 100, 80], [0, 0, 100, 80]]


def test_ignored_and_small_objects_give_no_crop():
    boxes = [[0, 0, 20, 20], [30, 30, 50, 50], [60, 60, 67, 64], [70, 70, 78, 72]]
    data = crops_from(dataset([record("a", boxes, ignore=[False, True, False, False])]), seed=0, context=1.0)
    assert [window(crop)[:2] for crop in objects(data)] == [[0, 0], [70, 67]]
    assert len(objects(crops_from(dataset([record("a", boxes)]), seed=0, min_side=1))) == 4


@given(st.integers(0, 2**32), st.integers(0, 12))
def test_background_shares_no_area_with_any_box(seed, count):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, [80, 60], (count + 1, 2))
    boxes = np.hstack([corners, corners + rng.uniform(5, 20, (count + 1, 2))])
    boxes[0] = [0, 0, 12, 12]
    ignore = np.arange(count + 1) % 2 == 1
    images = [record("a", boxes, ignore=ignore), record("b", [], size=(60, 60))]
    data = crops_from(dataset(images, classes=("cat",)), seed=seed, background=2.0)
    sides = {max(x2 - x1, y2 - y1) for x1, y1, x2, y2 in map(window, objects(data))}
    for crop in backgrounds(data):
        x1, y1, x2, y2 = window(crop)
        assert x2 - x1 == y2 - y1
        assert x2 - x1 in sides
        if crop.name.startswith("a"):
            overlap = np.minimum(boxes[:, 2:], [x2, y2]) - np.maximum(boxes[:, :2], [x1, y1])
            assert not (overlap > 1e-4).all(1).any()  # boxes are stored as float32


def test_background_is_as_frequent_as_the_mean_class():
    images = [record(str(i), [[0, 0, 10, 10]] * 3, [1, 1, 2]) for i in range(20)]
    for background, count in ((1.0, 30), (0.5, 15), (2.0, 60)):
        data = crops_from(dataset(images), seed=0, background=background)
        assert len(backgrounds(data)) == count
        assert len(objects(data)) == 60
    data = crops_from(dataset(images), seed=0, background=0)
    assert data.classes == ("cat", "dog")
    assert len(data.splits["train"]) == 60


def test_full_images_give_fewer_background_crops_and_a_note():
    full = [record("a", [[0, 0, 100, 80], [10, 10, 30, 30], [40, 10, 60, 30], [70, 10, 90, 30]])]
    data = crops_from(dataset(full), seed=0)
    assert backgrounds(data) == []
    assert data.notes[0] == "train: 4 object crops, 0 background crops of 2 wanted: images are too full"


def test_same_seed_gives_the_same_crops():
    images = [record(str(i), [[20, 20, 30, 30]] * 2, [1, 2]) for i in range(10)]

    def crops(seed):
        data = crops_from(dataset(images), seed=seed)
        return [(part, crop.name, crop.label) for part in data.splits for crop in data.splits[part]]

    assert crops(0) == crops(0)
    assert crops(0) != crops(1)
    prints = {crops_from(dataset(images), seed=seed, context=c).fingerprint for seed in (0, 1) for c in (1.0, 2.0)}
    assert len(prints) == 4
    assert crops_from(dataset(images), seed=0).fingerprint == crops_from(dataset(images), seed=0).fingerprint


def test_splits_keep_apart_and_the_test_images_are_never_read():
    shapes = open_data("shapes", seed=0, train=6, validation=3, test=1)
    data = crops_from(shapes, seed=0)
    assert set(data.splits) == {"train", "validation"}
    for part, crops in data.splits.items():
        assert {crop.name.partition("-")[0] for crop in crops} == {part}
    boxes = sum(len(record.labels) for record in shapes.splits["train"])
    assert len(objects(data)) == boxes
    crop = data.splits["train"][0]
    image = next(r for r in shapes.splits["train"] if crop.name.startswith(r.name)).read()
    x1, y1, x2, y2 = (int(part) for corner in crop.name.split(" at ")[1].split("-") for part in corner.split(","))
    assert np.array_equal(crop.read(), image[y1:y2, x1:x2])


def test_unusable_settings_and_data_are_refused():
    data = dataset([record("a", [[0, 0, 20, 20]])])
    for options, message in (
        ({"context": 0.5}, r"context of crops is 0\.5: it must be in 1…4"),
        ({"min_side": 0}, "min_side of crops is 0"),
        ({"background": -1}, "background of crops is -1"),
        ({"background": float("inf")}, "background of crops is inf"),
        ({"min_side": 21}, r"no object in the train images of mine:x is 21 pixels long: lower min_side"),
    ):
        with pytest.raises(DataError, match=message):
            crops_from(data, seed=0, **options)
    one = dataset([record("a", [[0, 0, 20, 20]])], classes=("cat",))
    with pytest.raises(DataError, match="would have the classes cat: two are needed"):
        crops_from(one, seed=0, background=0)
    clash = dataset([record("a", [[0, 0, 20, 20]])], classes=("cat", BACKGROUND))
    with pytest.raises(DataError, match="the classes cat, background, background"):
        crops_from(clash, seed=0)


def test_an_image_smaller_than_annotated_is_named_when_its_crop_is_read():
    wrong = record("w", [[90, 70, 100, 80]])
    small = ImageRecord("w", lambda: np.zeros((20, 30, 3), np.uint8), 100, 80, wrong.boxes, wrong.labels, wrong.ignore)
    crop = objects(crops_from(dataset([small]), seed=0))[0]
    with pytest.raises(DataError, match=r"image w is 30x20 instead of 100x80, so it has nothing at 87,67"):
        crop.read()
