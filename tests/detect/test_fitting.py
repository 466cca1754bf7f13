"""Boxes go where the pixels go: onto the canvas, and back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection.transform import resize_boxes

from spnas_detect.data import DetectionData, ImageRecord, StreamedSplit, build_cache
from spnas_detect.data.fitting import fitted_size, to_canvas, to_image
from spnas_detect.training.loop import to_original_pixels

SIZES = st.tuples(st.integers(1, 4000), st.integers(1, 4000))
SHARES = torch.rand(20, 2, 2, generator=torch.Generator().manual_seed(0)).sort(1).values.flatten(1)
"""(x1, y1, x2, y2) as parts of an image's sides."""

CASES = [((333, 500), (100, 100)), ((1999, 1500), (192, 144)), ((500, 33), (100, 100)), ((52, 40), (96, 64))]


def boxes_in(size):
    return torch.cat([SHARES, torch.tensor([[0.0, 0, 1, 1]])]) * torch.tensor([*size, *size])


@given(SIZES, SIZES)
def test_boxes_are_scaled_as_torchvision_scales_them_and_come_back(image, canvas):
    boxes, fitted = boxes_in(image), fitted_size(image, canvas)
    found = to_canvas(boxes, image, fitted)
    torch.testing.assert_close(found, resize_boxes(boxes, image[::-1], fitted[::-1]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[-1], torch.tensor([0.0, 0.0, *map(float, fitted)]))  # all of what it occupies
    torch.testing.assert_close(to_image(found, image, fitted), boxes, rtol=1e-5, atol=1e-3)


@given(SIZES)
def test_an_image_that_keeps_its_size_keeps_its_boxes_to_the_bit(size):
    boxes = boxes_in(size)
    assert torch.equal(to_canvas(boxes, size, size), boxes)
    assert torch.equal(to_image(boxes, size, size), boxes)


def test_boxes_that_leave_the_image_are_cut_there():
    boxes = torch.tensor([[-3.0, -1, 70, 120], [5, 110, 8, 115]])
    assert to_image(boxes, (333, 500), (67, 100)).tolist() == [
        [0, 0, 333, 500],
        pytest.approx([5 * 333 / 67, 500, 8 * 333 / 67, 500]),
    ]


def white_corner(size):
    """An image whose last quarter is white, and the box of that."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[height // 2 :, width // 2 :] = 255
    box = np.asarray([[width // 2, height // 2, width, height]], np.float32)
    return ImageRecord("corner", lambda: pixels, width, height, box, np.ones(1, np.int64), np.zeros(1, np.bool_))


@pytest.fixture(params=CASES)
def splits(request, tmp_path):
    size, canvas = request.param
    records = [white_corner(size)]
    data = DetectionData("made", ("white",), {"train": records, "validation": [], "test": []}, "f")
    return StreamedSplit(records, canvas), build_cache(data, tmp_path, image_size=canvas).split("train")


def test_an_object_at_the_far_edge_has_its_pixels_and_is_found_in_the_image(splits):
    for split in splits:
        (image,), (box,) = split.images([0]), split.canvas_boxes(0)
        assert box[2:].tolist() == pytest.approx(split.resized(0))
        assert image[:, split.resized(0)[1] - 1, split.resized(0)[0] - 1].tolist() == [255] * 3
        found = {"boxes": box[None], "scores": torch.ones(1), "labels": torch.ones(1, dtype=torch.int64)}
        torch.testing.assert_close(to_original_pixels(split, 0, found)["boxes"], split.boxes(0), rtol=1e-5, atol=1e-3)
