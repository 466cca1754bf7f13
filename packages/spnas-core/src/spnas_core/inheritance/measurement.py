"""How much a child's outputs differ from its parent's before any training."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Features = Callable[[Tensor], Mapping[str, Tensor]]


@torch.no_grad()
def output_change(parent: Features, child: Features, images: Tensor) -> dict[str, float]:
    """Measure ‖child − parent‖ / ‖parent‖ per feature level.

    Args:
        parent: the parent backbone, in evaluation mode.
        child: the child backbone, in evaluation mode.
        images: Tensor[N, 3, H, W] on the backbones' device.

    Returns:
        One number per level that both have in the same shape.
    """
    before, after = parent(images), child(images)
    return {
        level: float((after[level] - before[level]).norm() / before[level].norm().clamp_min(1e-12))
        for level in before
        if level in after and after[level].shape == before[level].shape
    }
