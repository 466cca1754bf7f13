"""A balanced sample of anchors or proposals for a loss, of fixed size."""

from typing import NamedTuple

import torch
from torch import Tensor


class Sample(NamedTuple):
    """S boxes of each of N images.

    Attributes:
        rows: int64[N, S], which boxes.
        is_positive: bool[N, S].
        is_valid: bool[N, S]; False where an image has fewer boxes to offer.
    """

    rows: Tensor
    is_positive: Tensor
    is_valid: Tensor


def sample(positive: Tensor, negative: Tensor, count: int, positive_fraction: float, noise: Tensor) -> Sample:
    """Draw from each image's positives up to a fraction, and fill up with negatives.

    A function of its input alone: who gives the same noise gets the same sample.

    Args:
        positive: bool[N, A].
        negative: bool[N, A], nowhere true together with it.
        count: S, boxes of each image; at most A are drawn.
        positive_fraction: at most ⌊count · fraction⌋ positives are drawn, and one at least, unless the fraction is 0.
        noise: float32[N, A], uniform in [0, 1): the order of the draw.

    Returns:
        The sample, positives first.

    Example: count 4, fraction 0.5; of the boxes + + + - - - with noise .1 .9 .5 .3 .2 .8 the positives with the most
    noise are drawn (1 and 2) and then the negatives with the most (5 and 3).
    """
    boxes = positive.shape[1]
    most = min(max(1, int(count * positive_fraction)) if positive_fraction else 0, boxes)
    if most < boxes:
        best = torch.where(positive, noise, -1.0).topk(most, dim=1, sorted=False).indices
        positive = torch.zeros_like(positive).scatter(1, best, True) & positive
    # Three bands: positives above 2, negatives in [0, 1), the rest below 0.
    keys = torch.where(positive, noise + 2, torch.where(negative, noise, -1.0))
    drawn, rows = keys.topk(min(count, boxes), dim=1)
    return Sample(rows, drawn >= 2, drawn >= 0)
