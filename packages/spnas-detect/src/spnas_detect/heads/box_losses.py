"""Losses of refined boxes, of each box before summing: distances of deltas, or what two boxes lack in overlap."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from spnas_detect.heads.boxes import Weights, decode, encode

BoxLoss = Literal["smooth-l1", "l1", "giou", "diou", "ciou"]
OverlapLoss = Literal["giou", "diou", "ciou"]

SMOOTHNESS = 1 / 9
"""Where the smooth L1 loss turns from quadratic to linear, in units of encoded deltas."""

_EPSILON = 1e-7


def box_loss(
    kind: BoxLoss, deltas: Tensor, references: Tensor, objects: Tensor, weights: Weights, is_positive: Tensor
) -> Tensor:
    """Compare refined boxes with the objects that they stand for.

    ``smooth-l1`` (Girshick, "Fast R-CNN", eq. 3) and ``l1`` sum over the four deltas; the others compare decoded boxes.

    Args:
        kind: of the loss.
        deltas: Tensor[…, 4], predicted.
        references: Tensor[…, 4], anchors or proposals, of positive width and height.
        objects: Tensor[…, 4] of positive width and height; anything where there is no object.
        weights: of the encoding of deltas.
        is_positive: bool[…], which boxes stand for an object.

    Returns:
        Tensor[…], 0 where a box stands for no object; nothing flows backwards there.
    """
    chosen = is_positive[..., None]
    objects = torch.where(chosen, objects, references)
    if kind in get_args(OverlapLoss):
        # Deltas of other boxes may be anything, and a gradient of infinity would come out as NaN behind the mask.
        losses = overlap_loss(kind, decode(torch.where(chosen, deltas, 0.0), references, weights), objects)  # type: ignore[arg-type]
    else:
        wanted = encode(objects, references, weights)
        if kind == "l1":
            losses = functional.l1_loss(deltas, wanted, reduction="none").sum(-1)
        else:
            losses = functional.smooth_l1_loss(deltas, wanted, beta=SMOOTHNESS, reduction="none").sum(-1)
    return torch.where(is_positive, losses, 0.0)


def overlap_loss(kind: OverlapLoss, boxes: Tensor, objects: Tensor) -> Tensor:
    """Say how far boxes are from objects, as 1 - IoU plus a term that tells apart boxes that do not overlap.

    ``giou``: the share of the smallest enclosing box that neither covers (Rezatofighi et al., "Generalized Intersection
    over Union", algorithm 1). ``diou``: the squared distance of the centres over that of the enclosing box's corners;
    ``ciou``: and α·v, where v = 4/π²·(atan w/h - atan w'/h')² is how much the shapes differ, and α = v / (1 - IoU + v)
    is no function to be derived (Zheng et al., "Distance-IoU Loss", eqs. 7 to 11). As torchvision's, but without a mask
    whose result has a size to be waited for.

    Args:
        kind: of the loss.
        boxes: Tensor[…, 4] of (x1, y1, x2, y2), x1 <= x2, y1 <= y2.
        objects: Tensor[…, 4] of the same.

    Returns:
        Tensor[…] from 0: up to 2 for ``giou`` and ``diou``, 3 for ``ciou``.

    Example: a box (0, 0, 2, 2) and an object (1, 0, 3, 2) share 2 of 6, and are enclosed by (0, 0, 3, 2), which has
    nothing besides: ``giou`` is 2/3; the centres are 1 apart, the corners √13: ``diou`` is 2/3 + 1/13.
    """
    shared_sides = torch.minimum(boxes[..., 2:], objects[..., 2:]) - torch.maximum(boxes[..., :2], objects[..., :2])
    shared = shared_sides.clamp(min=0).prod(-1)
    sides, object_sides = boxes[..., 2:] - boxes[..., :2], objects[..., 2:] - objects[..., :2]
    united = sides.prod(-1) + object_sides.prod(-1) - shared
    iou = shared / (united + _EPSILON)
    around = torch.maximum(boxes[..., 2:], objects[..., 2:]) - torch.minimum(boxes[..., :2], objects[..., :2])
    if kind == "giou":
        area = around.prod(-1)
        return 1 - iou + (area - united) / (area + _EPSILON)
    apart = (boxes[..., :2] + boxes[..., 2:] - objects[..., :2] - objects[..., 2:]) / 2
    loss = 1 - iou + apart.square().sum(-1) / (around.square().sum(-1) + _EPSILON)
    if kind == "diou":
        return loss
    shape, object_shape = (torch.atan(both[..., 0] / both[..., 1]) for both in (sides, object_sides))
    differ = 4 / math.pi**2 * (object_shape - shape).square()
    with torch.no_grad():
        share = differ / (1 - iou + differ + _EPSILON)
    return loss + share * differ
