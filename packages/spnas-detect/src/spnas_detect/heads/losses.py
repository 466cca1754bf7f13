"""Losses of padded batches: sums over what counts, divided by how much counts."""

import torch
from torch import Tensor
from torch.nn import functional

from spnas_detect.heads.normalisation import normaliser

SMOOTHNESS = 1 / 9
"""Where the smooth L1 loss turns from quadratic to linear, in units of encoded deltas."""


def objectness_loss(logits: Tensor, is_positive: Tensor, is_valid: Tensor) -> Tensor:
    """Mean binary cross-entropy over the valid ones of Tensor[N, S]."""
    losses = functional.binary_cross_entropy_with_logits(logits, is_positive.to(logits.dtype), reduction="none")
    return torch.where(is_valid, losses, 0.0).sum() / normaliser(is_valid.sum())


def class_loss(logits: Tensor, labels: Tensor, is_valid: Tensor) -> Tensor:
    """Mean cross-entropy of Tensor[N, S, C + 1] with labels int64[N, S] in 0…C over the valid ones."""
    losses = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return torch.where(is_valid.flatten(), losses, 0.0).sum() / normaliser(is_valid.sum())


def regression_loss(deltas: Tensor, wanted: Tensor, is_positive: Tensor, count: Tensor) -> Tensor:
    """Smooth L1 of the positives of Tensor[N, S, 4], summed, divided by a count over all ranks.

    Girshick, "Fast R-CNN", eq. 3; the count includes negatives, so the weight between both losses does not depend on
    how many positives there were.
    """
    losses = functional.smooth_l1_loss(deltas, wanted, beta=SMOOTHNESS, reduction="none").sum(-1)
    return torch.where(is_positive, losses, 0.0).sum() / normaliser(count)


def focal_loss(logits: Tensor, is_class: Tensor, alpha: float, gamma: float) -> Tensor:
    """Focal loss of each logit, of any shape, before summing. Lin et al., "Focal Loss for Dense Object Detection".

    Args:
        logits: of independent classes.
        is_class: bool of the same shape.
        alpha: weight of the positives; negatives have 1 - alpha.
        gamma: how fast the weight of well classified ones falls.
    """
    targets = is_class.to(logits.dtype)
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    probability = logits.sigmoid()
    miss = torch.where(is_class, 1 - probability, probability)
    return torch.where(is_class, alpha, 1 - alpha) * miss**gamma * cross_entropy
