"""A convolutional head evaluated at a few positions of a feature pyramid instead of all.

The loss of a proposal network reads a sample of a few hundred anchors; at every other position the head's gradient is
zero. Two thirds of a convolution's work in a training step are its gradients, so that most of them multiply zeros.
What the loss needs is computed from the sample's 3×3 surroundings alone: the same function, and the same gradients.

Example: ResNet-50 on 800×1216 has 81 016 positions in five levels. Dense gradients cost 2 · 81 016 products of a
surrounding with the weights; visiting 256 anchors again costs 3 · 256.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from spnas_detect.heads.anchors import Shape

OUTSIDE = -1
WORTHWHILE = 16
"""Positions for each visited one from which on a visit is faster than dense gradients, gathering included."""


def is_worthwhile(shapes: Sequence[Shape], visits: int) -> bool:
    """Say whether visiting so many positions beats dense gradients on levels of (height, width)."""
    return WORTHWHILE * visits <= sum(height * width for height, width in shapes)


def surroundings(shapes: Sequence[Shape], device: torch.device) -> Tensor:
    """List each position's 3×3 surroundings: int64[P, 9], row by row, -1 where the level ends.

    Positions are counted level by level, row by row.
    """
    tables, first = [], 0
    for height, width in shapes:
        positions = torch.arange(first, first + height * width, device=device).reshape(height, width)
        framed = functional.pad(positions, (1, 1, 1, 1), value=OUTSIDE)
        tables.append(framed.unfold(0, 3, 1).unfold(1, 3, 1).reshape(height * width, 9))
        first += height * width
    return torch.cat(tables)


def convolve_at(convolution: nn.Conv2d, features: Sequence[Tensor], positions: Tensor) -> Tensor:
    """Apply a 3×3 convolution of stride 1 and padding 1 at a few positions of each image.

    Args:
        convolution: from C to K channels.
        features: Tensor[N, C, H_l, W_l] of each level.
        positions: int64[N, S], counted level by level, row by row.

    Returns:
        Tensor[N, S, K].
    """
    shapes = [(level.shape[-2], level.shape[-1]) for level in features]
    around = surroundings(shapes, positions.device)[positions]  # [N, S, 9]
    images = torch.arange(len(positions), device=positions.device)[:, None, None]
    values, first = [], 0
    for level, (height, width) in zip(features, shapes, strict=True):  # no copy of the levels into one table
        count = height * width
        is_here = (around >= first) & (around < first + count)
        rows = torch.where(is_here, around - first, 0) + images * count
        taken = level.permute(0, 2, 3, 1).reshape(-1, level.shape[1]).index_select(0, rows.flatten())
        values.append(torch.where(is_here[..., None], taken.reshape(*around.shape, -1), 0.0))
        first += count
    weight = convolution.weight.permute(0, 2, 3, 1).flatten(1)  # [K, 9·C]
    return functional.linear(torch.stack(values).sum(0).flatten(2), weight, convolution.bias)
