"""Executing the copies of a plan, in one call for all of them."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class WeightCopier(Protocol):
    """Copies many tensors at once; a fused kernel implements the same contract."""

    def __call__(self, destinations: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
        """Write sources[i] into destinations[i]; shapes agree pairwise and no two destinations overlap."""


@torch.no_grad()
def copy_weights_(destinations: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy with plain PyTorch: one multi-tensor call per dtype.

    Args:
        destinations: tensors to write, on one device.
        sources: as many tensors of the same shapes; other dtypes are converted.

    Raises:
        ValueError: counts or shapes differ.
    """
    if len(destinations) != len(sources):
        raise ValueError(f"{len(destinations)} destinations for {len(sources)} sources: one each is needed")
    for index, (destination, source) in enumerate(zip(destinations, sources, strict=True)):
        if destination.shape != source.shape:
            raise ValueError(
                f"destination {index} has shape {tuple(destination.shape)}, its source {tuple(source.shape)}: "
                "they must agree"
            )
    if destinations:
        torch._foreach_copy_(list(destinations), list(sources))
