"""Random cases of suppression and assignment: their results are indices, so they must be equal."""

import ctypes
import math
import random

import device
import torch
from torch import Tensor

from spnas_kernels.references import assign_targets as assignment_reference
from spnas_kernels.references import nms_grouped as suppression_reference


def some_boxes(rng: random.Random, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Boxes that overlap, at times on whole numbers, without area or equal."""
    start = torch.rand(*shape, 2, dtype=dtype) * rng.choice([5, 40, 100])
    size = torch.rand(*shape, 2, dtype=dtype) * rng.choice([0, 20, 20, 60])
    boxes = torch.cat([start, start + size], -1)
    if rng.random() < 0.4:
        boxes = boxes.round()  # overlaps that are simple fractions, and many equal boxes
    return boxes


def spoil(rng: random.Random, values: Tensor, chance: float, nonsense: list[float]) -> None:
    """Overwrite a few values in place."""
    if rng.random() < chance and values.numel():
        for _ in range(rng.choice([1, 2, 9])):
            values.view(-1)[rng.randrange(values.numel())] = rng.choice(nonsense)


class Suppression:
    """Boxes, scores and groups of some images, and which of the boxes hold a NaN."""

    def __init__(self, rng: random.Random, images: int) -> None:
        is_long = rng.random() < 0.05  # some groups need a mask then, or several turns without one
        count = rng.choice([257, 600, 1025, 1026, 1285]) if is_long else rng.choice([1, 5, 31, 32, 63, 64, 65, 70, 130])
        wide = [rng.choice([torch.float32, torch.float32, torch.float64]) for _ in "bs"]
        self.boxes = some_boxes(rng, images, count, dtype=wide[0])
        self.scores = torch.rand(images, count, dtype=wide[1]) - 0.3
        if rng.random() < 0.4:
            self.scores = (self.scores * 8).round() / 8  # ties, and both zeros
        if is_long:
            self.boxes = self.boxes / 4  # crowded, so that few are kept: the reference takes a time for each
        spoil(rng, self.scores, 0.3, [math.inf, -math.inf, math.nan, -0.0])
        spoil(rng, self.boxes, 0.2, [math.nan, math.inf, -math.inf])
        most = rng.choice([1, 1, 2]) if is_long else rng.choice([1, 3, 9])
        self.groups = torch.randint(most, (images, count)) - rng.choice([0, 2**62])
        self.threshold = rng.choice([0.0, 0.1] if is_long else [0.0, 0.1, 1 / 3, 0.5, 0.5, 0.7, 1.0])
        self.is_nan = self.boxes.isnan().any(-1) | self.scores.isnan()

    def describe(self) -> str:
        return f"{tuple(self.boxes.shape)} {self.boxes.dtype} {self.scores.dtype} threshold {self.threshold}"


def nms_ragged(library: ctypes.CDLL, rng: random.Random, seed: int) -> None:
    case = Suppression(rng, 1)
    count = case.scores.shape[1]
    keep, counts = device.nms_grouped(
        library, seed, case.boxes, case.scores, case.groups, case.threshold, count, masks_infinity=False
    )
    there = (~case.is_nan[0]).nonzero()[:, 0]
    part = (values[0][there] for values in (case.boxes, case.scores, case.groups))
    expected = there[suppression_reference.nms_grouped(*part, case.threshold)]
    if not torch.equal(keep[0, : int(counts)], expected):
        raise AssertionError(f"{keep[0].tolist()} is not {expected.tolist()}: {case.describe()}")


def nms_padded(library: ctypes.CDLL, rng: random.Random, seed: int) -> None:
    case = Suppression(rng, rng.choice([1, 1, 2, 3]))
    count = case.scores.shape[1]
    max_keep = rng.choice([0, 1, 7, 64, count, count + 5])
    keep, counts = device.nms_grouped(
        library, seed, case.boxes, case.scores, case.groups, case.threshold, max_keep, masks_infinity=True
    )
    # What holds a NaN is left out on a device, as padding is; the reference refuses it on the CPU.
    boxes = torch.where(case.is_nan[..., None], 0.0, case.boxes)
    scores = torch.where(case.is_nan, -math.inf, case.scores)
    expected, expected_counts = suppression_reference.nms_grouped_padded(
        boxes, scores, case.groups, case.threshold, max_keep
    )
    if not (torch.equal(keep, expected) and torch.equal(counts, expected_counts)):
        raise AssertionError(f"{keep.tolist()} is not {expected.tolist()}: max_keep {max_keep}, {case.describe()}")


def assign_targets(library: ctypes.CDLL, rng: random.Random, seed: int) -> None:
    images = rng.choice([1, 2, 3])
    count, per_image = rng.choice([1, 31, 32, 200, 255, 256, 257, 600]), rng.choice([0, 1, 3, 9, 20])
    boxes = some_boxes(rng, *([count] if rng.random() < 0.5 else [images, count]))
    objects = some_boxes(rng, images, per_image)
    if per_image and rng.random() < 0.3:
        copies = min(count, per_image)
        objects[:, :copies] = boxes[..., :copies, :]  # IoUs of exactly one
    spoil(rng, boxes, 0.2, [math.nan, math.inf, -math.inf])
    spoil(rng, objects, 0.2, [math.nan, math.inf, -math.inf])
    labels = torch.randint(-1, 3, (images, per_image))
    # Where there are no objects, the reference takes a box for background even if no IoU is below the threshold 0.
    foreground, background = rng.choice([(0.5, 0.5), (0.7, 0.3), (0.2, 0.1), (1.0, 0.0 if per_image else 0.1)])
    thresholds = foreground, background, rng.random() < 0.6, rng.choice([0.5, 0.1, 1.0])
    rows = device.assign_targets(library, seed, boxes, objects, labels, *thresholds)
    expected = assignment_reference.assign_targets(boxes, objects, labels, *thresholds)
    if not torch.equal(rows, expected):
        wrong = (rows != expected).nonzero()[0].tolist()
        raise AssertionError(
            f"box {wrong} gets row {int(rows[tuple(wrong)])}, not {int(expected[tuple(wrong)])}: "
            f"{tuple(boxes.shape)} {tuple(objects.shape)} {thresholds}"
        )
