"""Executing the copies of a plan, in one call for all of them."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Protocol

import torch
from torch import Tensor

_fused_copy: Callable[[Sequence[Tensor], Sequence[Tensor]], None] | None = None
if find_spec("spnas_kernels") is not None:
    from spnas_kernels import copy_weights_ as _fused_copy


class WeightCopier(Protocol):
    """Copies many tensors at once; a fused kernel implements the same contract."""

    def __call__(self, destinations: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
        """Write sources[i] into destinations[i]; shapes agree pairwise and no two destinations overlap."""


@torch.no_grad()
def copy_weights_(destinations: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Copy in one call: with the kernel of ``spnas-kernels`` where that is installed, with plain PyTorch where not.

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
    if not destinations:
        return
    pairs = zip(destinations, sources, strict=True)
    device = destinations[0].device
    # Copies between devices, and conversions of integers, are torch's business.
    if _fused_copy is not None and all(d.dtype == s.dtype and d.device == s.device == device for d, s in pairs):
        _fused_copy(destinations, sources)
    else:
        torch._foreach_copy_(list(destinations), list(sources))
