"""Weight copies that are prepared once and run many times."""

from collections.abc import Iterable

import torch
from torch import Tensor

from spnas_kernels._library import is_native
from spnas_kernels.copy_weights import checked_arguments
from spnas_kernels.references import copy_weights as reference


class CopyPlan:
    """``copy_weights_`` between tensors that stay where they are.

    On CUDA the table of copies is made and sent to the device once; ``run`` is a launch or two, waits for nothing, and
    can be captured in a CUDA graph. Maps and scales are read when the plan is made.

    The table is made on the stream that is current then, and ``run`` reads it on the one that is current when it runs:
    where these differ, let the second wait for the first, and don't drop the plan before its last run is over.

    A plan keeps memory alive and knows it by its address: where a tensor's memory is exchanged afterwards
    (``tensor.data = …``, ``module.to(…)``), make a new plan.

    Args:
        destinations: as of ``copy_weights_``.
        sources: likewise.
        output_maps: likewise.
        input_maps: likewise.
        scales: likewise.

    Raises:
        ValueError: as ``copy_weights_``; or a tensor is a conjugated or negated view, whose memory holds other values.
        RuntimeError: as ``copy_weights_``, on CUDA; elsewhere ``run`` raises it.
    """

    def __init__(
        self,
        destinations: Iterable[Tensor],
        sources: Iterable[Tensor],
        output_maps: Iterable[Tensor | None] | None = None,
        input_maps: Iterable[Tensor | None] | None = None,
        scales: Iterable[Tensor | float | None] | None = None,
    ) -> None:
        arguments = checked_arguments(destinations, sources, output_maps, input_maps, scales)
        _refuse_views_of_other_values(destinations=arguments[0], sources=arguments[1])
        # Other names for the same memory, which what happens to the caller's tensors does not touch.
        self._destinations, self._sources = ([tensor.detach() for tensor in tensors] for tensors in arguments[:2])
        self._others = [[None if tensor is None else tensor.clone() for tensor in part] for part in arguments[2:]]
        self._table: Tensor | None = None
        self._layout: list[int] = []
        if self._destinations and self._destinations[0].is_cuda and is_native(self._destinations[0]):
            self._table, self._layout = torch.ops.spnas.copy_weights_prepare(
                self._destinations, self._sources, *self._others
            )

    def __len__(self) -> int:
        """How many tensors are written."""
        return len(self._destinations)

    @torch.no_grad()
    def run(self) -> None:
        """Write all destinations."""
        if not self._destinations:
            return
        if self._table is not None:
            torch.ops.spnas.copy_weights_run_(self._table, self._layout)
        else:
            native = is_native(self._destinations[0])
            run = torch.ops.spnas.copy_weights_ if native else reference.copy_weights_
            run(self._destinations, self._sources, *self._others)
        torch.autograd.graph.increment_version(self._destinations)


def _refuse_views_of_other_values(**tensors: list[Tensor]) -> None:
    """Refuse what torch resolves into a copy, call by call: a plan knows memory."""
    for name, entries in tensors.items():
        for index, tensor in enumerate(entries):
            if tensor.is_conj() or tensor.is_neg():
                kind = "conjugated" if tensor.is_conj() else "negated"
                raise ValueError(
                    f"{name}[{index}] is a {kind} view, and a plan copies memory: make it a tensor of its own with "
                    f"resolve_{'conj' if tensor.is_conj() else 'neg'}()"
                )
