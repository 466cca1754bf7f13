"""Suppression one kept box at a time."""

import torch
from torch import Tensor


def nms_grouped(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """As ``spnas_kernels.nms_grouped``, for float32 and float64 and without a limit."""
    valid = _valid(boxes, scores)
    return _kept(boxes, scores, groups, iou_threshold, valid)


def nms_grouped_padded(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, max_keep: int
) -> tuple[Tensor, Tensor]:
    """As ``spnas_kernels.nms_grouped_padded``, for float32 and float64."""
    valid = _valid(boxes, scores) & (scores != -torch.inf)
    keep = groups.new_full((len(boxes), max_keep), -1)
    counts = groups.new_zeros(len(boxes))
    for image in range(len(boxes)):
        best = _kept(boxes[image], scores[image], groups[image], iou_threshold, valid[image])[:max_keep]
        keep[image, : len(best)] = best
        counts[image] = len(best)
    return keep, counts


def _valid(boxes: Tensor, scores: Tensor) -> Tensor:
    """Which boxes hold no NaN, which the CPU refuses."""
    if boxes.device.type == "cpu":
        for name, values in (("boxes", boxes.flatten(0, -2)), ("scores", scores.flatten())):
            rows = values.isnan().nonzero()
            if len(rows):
                raise RuntimeError(f"{name} must not hold NaN: the one of box {int(rows[0, 0])} does")
    return ~(boxes.isnan().any(-1) | scores.isnan())


def _kept(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, valid: Tensor) -> Tensor:
    order = scores.sort(descending=True, stable=True).indices
    order = order[valid[order]]
    # The lower index first holds over all groups, so what is kept is read off the common order.
    stays = torch.zeros_like(valid)
    for group in torch.unique(groups[order]):
        rest = order[groups[order] == group]
        while len(rest):
            best, rest = rest[0], rest[1:]
            stays[best] = True
            # A Python number would be rounded to the boxes' dtype before the comparison.
            rest = rest[~(_iou(boxes[best], boxes[rest]).double() > iou_threshold)]
    return order[stays[order]]


def _iou(box: Tensor, others: Tensor) -> Tensor:
    size = (box[2:] - box[:2]).prod()
    sizes = (others[:, 2:] - others[:, :2]).prod(-1)
    sides = torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])
    # Infinite coordinates give NaN, which torch's clamp would keep; it is no overlap.
    sides = torch.where(sides > 0, sides, 0.0)
    shared = sides[:, 0] * sides[:, 1]
    return shared / (size + sizes - shared)
