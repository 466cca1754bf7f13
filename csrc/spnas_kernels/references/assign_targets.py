"""Assignment from the matrix of IoUs, a part of the boxes at a time."""

from collections.abc import Iterator

import torch
from torch import Tensor

BACKGROUND, NEITHER = -1, -2
PART = 2**22  # IoUs held at a time


def assign_targets(
    boxes: Tensor,
    objects: Tensor,
    labels: Tensor,
    foreground: float,
    background: float,
    keeps_best: bool,
    ignored_overlap: float,
) -> Tensor:
    """As ``spnas_kernels.assign_targets``."""
    boxes = boxes.expand(len(objects), -1, -1)
    images, count = boxes.shape[:2]
    if objects.shape[1] == 0:
        return labels.new_full((images, count), BACKGROUND if background > 0 else NEITHER)  # an IoU of 0 is not below 0
    best_of_object = objects.new_zeros(objects.shape[:2])
    if keeps_best:
        for _, part in _parts(boxes, objects):
            best_of_object = torch.maximum(best_of_object, _ious(part, objects, labels > 0).amax(1))
    rows = []
    for _, part in _parts(boxes, objects):
        ious = _ious(part, objects, labels > 0)  # [N, part, G]
        # Not argmax: which of equal ones that gives is nobody's promise.
        best = ious.amax(2)
        first = (ious == best[..., None]).to(torch.uint8).argmax(2)
        is_object = best.double() >= foreground
        if keeps_best:
            is_object = is_object | ((ious == best_of_object[:, None]) & (ious > 0)).any(2)
        in_ignored = (_shares(part, objects, labels < 0).double() >= ignored_overlap).any(2)
        is_background = (best.double() < background) & ~in_ignored
        rows.append(torch.where(is_object, first, torch.where(is_background, BACKGROUND, NEITHER)))
    return torch.cat(rows, dim=1) if rows else labels.new_empty(images, 0)


def _parts(boxes: Tensor, objects: Tensor) -> Iterator[tuple[int, Tensor]]:
    step = max(1, PART // max(1, objects.shape[0] * objects.shape[1]))
    for first in range(0, boxes.shape[1], step):
        yield first, boxes[:, first : first + step]


def _ious(boxes: Tensor, objects: Tensor, is_meant: Tensor) -> Tensor:
    """float32[N, A, G]; zero where there is no object."""
    shared = _intersections(boxes, objects)
    ious = shared / (_areas(boxes)[:, :, None] + _areas(objects)[:, None] - shared)
    return torch.where(is_meant[:, None] & (shared > 0) & ious.isfinite(), ious, 0.0)


def _shares(boxes: Tensor, regions: Tensor, is_meant: Tensor) -> Tensor:
    """float32[N, A, G]: share of a box's area inside a region."""
    shared = _intersections(boxes, regions)
    shares = shared / _areas(boxes)[:, :, None]
    return torch.where(is_meant[:, None] & (shared > 0) & shares.isfinite(), shares, 0.0)


def _intersections(boxes: Tensor, objects: Tensor) -> Tensor:
    low = torch.maximum(boxes[:, :, None, :2], objects[:, None, :, :2])
    high = torch.minimum(boxes[:, :, None, 2:], objects[:, None, :, 2:])
    sides = high - low
    sides = torch.where(sides > 0, sides, 0.0)
    return sides[..., 0] * sides[..., 1]


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
