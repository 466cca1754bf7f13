"""Losses of padded batches: sums over what counts, divided by how much counts."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from spnas_detect.heads.box_losses import BoxLoss, box_loss
from spnas_detect.heads.boxes import Weights
from spnas_detect.heads.normalisation import normaliser


def objectness_loss(logits: Tensor, is_positive: Tensor, is_valid: Tensor) -> Tensor:
    """Mean binary cross-entropy over the valid ones of Tensor[N, S]."""
    losses = functional.binary_cross_entropy_with_logits(logits, is_positive.to(logits.dtype), reduction="none")
    return torch.where(is_valid, losses, 0.0).sum() / normaliser(is_valid.sum())


def class_loss(logits: Tensor, labels: Tensor, is_valid: Tensor) -> Tensor:
    """Mean cross-entropy of Tensor[N, S, C + 1] with labels int64[N, S] in 0…C over the valid ones."""
    losses = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return torch.where(is_valid.flatten(), losses, 0.0).sum() / normaliser(is_valid.sum())


class BoxObjective(NamedTuple):
    """How refined boxes are compared with their objects.

    Attributes:
        loss: see ``box_loss``.
        weight: that it is multiplied by.
    """

    loss: BoxLoss
    weight: float = 1.0


SMOOTH_L1 = BoxObjective("smooth-l1")
L1 = BoxObjective("l1")


def regression_loss(
    objective: BoxObjective,
    deltas: Tensor,
    references: Tensor,
    objects: Tensor,
    weights: Weights,
    is_positive: Tensor,
    count: Tensor,
) -> Tensor:
    """Box losses of the positives of Tensor[N, S, 4], summed, divided by a count over all ranks, and weighted.

    The count includes negatives, so the weight between both losses does not depend on how many positives there were.
    Arguments as of ``box_loss``.
    """
    losses = box_loss(objective.loss, deltas, references, objects, weights, is_positive)
    return losses.sum() / normaliser(count) * objective.weight
