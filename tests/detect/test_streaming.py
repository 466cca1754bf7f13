"""Decoding while reading gives what the cache gives."""

import numpy as np
import pytest
import torch

from spnas_core.errors import DataError
from spnas_detect.data import DetectionData, ImageRecord, StreamedSplit, build_cache

CANVAS = (48, 32)


def record(name, width, height, boxes, *, annotated=None, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    said = annotated or (width, height)
    count = len(boxes)
    return ImageRecord(
        name,
        lambda: pixels,
        *said,
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.arange(1, count + 1, dtype=np.int64),
        np.arange(count) % 2 == 1,
    )


RECORDS = [
    record("wide", 90, 30, [(1, 2, 30, 20), (5.5, 3, 80, 29)]),
    record("tall", 20, 77, [], seed=1),
    record("exact", 48, 32, [(0, 0, 48, 32)], seed=2),
    # annotated larger than it is: the second box lies outside its pixels, the first reaches over the edge
    record("smaller than said", 40, 40, [(10, 10, 60, 30), (50, 50, 60, 60)], annotated=(80, 80), seed=3),
]


@pytest.fixture
def both(tmp_path):
    data = DetectionData("made", ("a", "b"), {"train": RECORDS, "validation": [], "test": []}, "f")
    return StreamedSplit(RECORDS, CANVAS), build_cache(data, tmp_path, image_size=CANVAS).split("train")


@pytest.mark.parametrize("annotations_first", [False, True])
def test_a_streamed_split_reads_as_the_cached_one(both, annotations_first):
    streamed, cached = both
    assert len(streamed) == len(cached)
    assert streamed.names == cached.names
    order = [2, 0, 3, 1]
    if not annotations_first:
        assert torch.equal(streamed.images(order), cached.images(order))
    for index in range(len(cached)):
        for field in ("boxes", "labels", "ignore", "canvas_boxes"):
            one, other = getattr(streamed, field)(index), getattr(cached, field)(index)
            assert one.dtype == other.dtype
            assert torch.equal(one, other), field
        for field in ("scale", "size", "resized"):
            assert getattr(streamed, field)(index) == getattr(cached, field)(index), field
    assert torch.equal(streamed.images(order), cached.images(order))


def test_changing_what_was_read_changes_no_record(both):
    streamed, _ = both
    streamed.boxes(0).zero_()
    streamed.labels(0).zero_()
    streamed.ignore(0).fill_(value=True)
    assert streamed.boxes(0).any()
    assert streamed.labels(0).tolist() == [1, 2]
    assert streamed.ignore(0).tolist() == [False, True]
    assert RECORDS[0].labels.tolist() == [1, 2]


def test_an_image_that_does_not_decode_is_named():
    def fail():
        raise OSError("torn")

    broken = ImageRecord("torn.jpg", fail, 1, 1, *(np.zeros(0, kind) for kind in (np.float32, np.int64, np.bool_)))
    with pytest.raises(DataError, match=r"image torn\.jpg cannot be read: torn"):
        StreamedSplit([RECORDS[0], broken], CANVAS).images([0, 1])
    with pytest.raises(IndexError):
        StreamedSplit(RECORDS, CANVAS).images([4])
    with pytest.raises(IndexError):
        StreamedSplit(RECORDS, CANVAS).size(-1)
