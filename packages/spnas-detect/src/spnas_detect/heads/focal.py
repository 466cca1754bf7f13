"""The focal loss of every anchor and class, with one tensor for the way back in place of one for each of its steps.

Lin et al., "Focal Loss for Dense Object Detection", eq. 5. With p = σ(x) for an anchor's own class and 1 - σ(x) for the
others, a logit x costs -α (1 - p)^γ log p. Value and derivative are closed formulas of the same few numbers, so both
are computed at once, a part of the anchors at a time.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

UNCOUNTED = -1
"""The label of an anchor that costs nothing."""

_PART = {"cpu": 2**17, "cuda": 2**24}
"""Logits that are computed at a time: what a cache holds, and few launches."""


def focal_sums(logits: Tensor, labels: Tensor, alpha: float, gamma: float) -> Tensor:
    """Sum the focal losses of each image's anchors over all classes.

    Args:
        logits: float32[N, A, C], of independent classes.
        labels: int64[N, A]: 1…C the class of an anchor, 0 background, UNCOUNTED.
        alpha: weight of an anchor's own class; the others have 1 - alpha.
        gamma: how fast the weight of what is classified well falls.

    Returns:
        float32[N].
    """
    if torch.compiler.is_compiling():  # which fuses the steps, and decides itself what is computed anew
        return _sums(logits, labels, alpha, gamma)
    sums: Tensor = _FocalSums.apply(logits, labels, alpha, gamma)  # type: ignore[no-untyped-call]
    return sums


class _FocalSums(torch.autograd.Function):
    """Sums and the derivative of each loss by its logit, part by part."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, alpha: float, gamma: float) -> Tensor:
        sums = logits.new_zeros(len(logits))
        slopes = torch.empty_like(logits)
        for part in _parts(logits):
            losses, slopes[:, part] = _losses_and_slopes(logits[:, part], labels[:, part], alpha, gamma)
            sums += torch.where(labels[:, part] == UNCOUNTED, 0.0, losses.sum(2)).sum(1)
        ctx.save_for_backward(slopes, labels)
        return sums

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError("the focal loss cannot be differentiated twice: what was saved is taken for constant")
        slopes, labels = ctx.saved_tensors
        scale = torch.where(labels == UNCOUNTED, 0.0, gradient[:, None])  # [N, A]
        return slopes * scale[..., None], None, None, None


def _sums(x: Tensor, labels: Tensor, alpha: float, gamma: float) -> Tensor:
    losses, _ = _losses_and_slopes(x, labels, alpha, gamma)
    return torch.where(labels == UNCOUNTED, 0.0, losses.sum(2)).sum(1)


def _losses_and_slopes(x: Tensor, labels: Tensor, alpha: float, gamma: float) -> tuple[Tensor, Tensor]:
    """Compute the loss of each logit and its derivative: as of another class, then as of the anchor's own."""
    place, has_own = (labels - 1).clamp(min=0)[..., None], labels[..., None] > 0  # [N, A, 1]
    p, cost = x.sigmoid(), functional.softplus(x)
    weight = _power(p, gamma) * (1 - alpha)
    losses, slopes = weight * cost, weight * (gamma * (1 - p) * cost + p)
    own = x.gather(2, place)
    miss, cost = (-own).sigmoid(), functional.softplus(-own)
    weight = _power(miss, gamma) * alpha
    own_losses, own_slopes = weight * cost, -weight * (gamma * own.sigmoid() * cost + miss)
    return (
        losses.scatter(2, place, torch.where(has_own, own_losses, losses.gather(2, place))),
        slopes.scatter(2, place, torch.where(has_own, own_slopes, slopes.gather(2, place))),
    )


def _parts(logits: Tensor) -> Iterator[slice]:
    images, anchors, classes = logits.shape
    step = max(1, _PART.get(logits.device.type, _PART["cuda"]) // max(1, images * classes))
    return (slice(first, first + step) for first in range(0, anchors, step))


def _power(base: Tensor, gamma: float) -> Tensor:
    return base.square() if gamma == 2 else base**gamma
