"""The focal loss of every anchor and class, without a copy of the logits for each of its steps.

Lin et al., "Focal Loss for Dense Object Detection", eq. 5. With p = σ(x) for an anchor's own class and 1 - σ(x) for the
others, a logit x costs -α (1 - p)^γ log p. Value and derivative are closed formulas, so the backward pass computes them
anew from the logits, a part at a time.
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
    """Sums forward, the derivative of the logits backward; both part by part."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, alpha: float, gamma: float) -> Tensor:
        ctx.save_for_backward(logits, labels)
        ctx.alpha, ctx.gamma = alpha, gamma
        sums = logits.new_zeros(len(logits))
        for part in _parts(logits):
            sums += _sums(logits[:, part], labels[:, part], alpha, gamma)
        return sums

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        logits, labels = ctx.saved_tensors
        slopes = torch.empty_like(logits)
        for part in _parts(logits):
            of = labels[:, part]
            scale = torch.where(of == UNCOUNTED, 0.0, gradient[:, None])  # [N, part]
            slopes[:, part] = _slopes(logits[:, part], of, ctx.alpha, ctx.gamma) * scale[..., None]
        return slopes, None, None, None


def _sums(x: Tensor, labels: Tensor, alpha: float, gamma: float) -> Tensor:
    losses = (1 - alpha) * _power(x.sigmoid(), gamma) * functional.softplus(x)
    own = _own(x, labels)
    own_losses = alpha * _power((-own).sigmoid(), gamma) * functional.softplus(-own)
    return torch.where(labels == UNCOUNTED, 0.0, _with_own(losses, labels, own_losses).sum(2)).sum(1)


def _slopes(x: Tensor, labels: Tensor, alpha: float, gamma: float) -> Tensor:
    """Derive each loss by its logit."""
    p = x.sigmoid()
    slopes = (1 - alpha) * _power(p, gamma) * (gamma * (1 - p) * functional.softplus(x) + p)
    own = _own(x, labels)
    miss = (-own).sigmoid()
    own_slopes = -alpha * _power(miss, gamma) * (gamma * own.sigmoid() * functional.softplus(-own) + miss)
    return _with_own(slopes, labels, own_slopes)


def _parts(logits: Tensor) -> Iterator[slice]:
    images, anchors, classes = logits.shape
    step = max(1, _PART.get(logits.device.type, _PART["cuda"]) // max(1, images * classes))
    return (slice(first, first + step) for first in range(0, anchors, step))


def _power(base: Tensor, gamma: float) -> Tensor:
    return base.square() if gamma == 2 else base**gamma


def _own(values: Tensor, labels: Tensor) -> Tensor:
    """Take the values [N, A, 1] of the anchors' own classes; of those without one, the first class's."""
    return values.gather(2, (labels - 1).clamp(min=0)[..., None])


def _with_own(values: Tensor, labels: Tensor, own: Tensor) -> Tensor:
    """Put the values [N, A, 1] of the anchors' own classes, where they have one, in their places."""
    place = (labels - 1).clamp(min=0)[..., None]
    return values.scatter(2, place, torch.where(labels[..., None] > 0, own, values.gather(2, place)))
