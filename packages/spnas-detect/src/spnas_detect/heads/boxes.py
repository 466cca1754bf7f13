"""Arithmetic on boxes, (x1, y1, x2, y2) in pixels, for whole batches."""

import math

import torch
from torch import Tensor

LONGEST = math.log(1000 / 16)
"""Largest logarithm of a side's growth that is decoded; keeps exp from overflowing early in training."""

Weights = tuple[float, float, float, float]


def encode(boxes: Tensor, references: Tensor, weights: Weights) -> Tensor:
    """Say how references become boxes.

    Args:
        boxes: Tensor[…, 4], of positive width and height.
        references: Tensor[…, 4], anchors or proposals, of positive width and height.
        weights: multiply (dx, dy, dw, dh), so that their spread is about one.

    Returns:
        Tensor[…, 4] of (dx, dy, dw, dh): the centre's shift in sides of the reference, the logarithm of the sides'
        growth. Girshick et al., "Rich feature hierarchies", appendix C.
    """
    centres, sides = _centre_form(boxes)
    own_centres, own_sides = _centre_form(references)
    scale = boxes.new_tensor(weights)
    return torch.cat([(centres - own_centres) / own_sides, torch.log(sides / own_sides)], dim=-1) * scale


def decode(deltas: Tensor, references: Tensor, weights: Weights) -> Tensor:
    """Undo ``encode``; a side grows to at most 62.5 times the reference's.

    Args:
        deltas: Tensor[…, 4].
        references: Tensor[…, 4] that broadcasts with it.
        weights: as for ``encode``.

    Returns:
        Tensor[…, 4].
    """
    own_centres, own_sides = _centre_form(references)
    shift, growth = (deltas / deltas.new_tensor(weights)).chunk(2, dim=-1)
    centres = shift * own_sides + own_centres
    half = growth.clamp(max=LONGEST).exp() * own_sides * 0.5
    return torch.cat([centres - half, centres + half], dim=-1)


def clip(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Clip Tensor[N, …, 4] to float32[N, 2] of (height, width)."""
    limits = sizes.flip(-1).repeat(1, 2).reshape(sizes.shape[0], *[1] * (boxes.dim() - 2), 4)
    return torch.minimum(boxes.clamp(min=0), limits)


def is_at_least(boxes: Tensor, side: float) -> Tensor:
    """Say bool[…] of Tensor[…, 4] whether both sides are at least so long; False where a coordinate is NaN."""
    return (boxes[..., 2:] - boxes[..., :2] >= side).all(-1)


def is_within(boxes: Tensor, ranges: Tensor) -> Tensor:
    """Say bool[N, A] of Tensor[N, A, 4] whether √(width · height) lies in Tensor[N, 2], both ends included."""
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    low, high = ranges.square()[:, None].unbind(-1)
    return (area >= low) & (area <= high)


def take(values: Tensor, rows: Tensor) -> Tensor:
    """Take from Tensor[N, A, …] the rows int64[N, B] of each image: Tensor[N, B, …]."""
    index = rows.reshape(*rows.shape, *[1] * (values.dim() - 2)).expand(*rows.shape, *values.shape[2:])
    return values.gather(1, index)


def _centre_form(boxes: Tensor) -> tuple[Tensor, Tensor]:
    sides = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * sides, sides
