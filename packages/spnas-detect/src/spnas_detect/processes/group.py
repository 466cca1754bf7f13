"""One training in several processes: who this process is, and what the processes tell each other."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

from spnas_core.errors import ConfigError

SILENCE = timedelta(seconds=50)
"""How long a process waits for what another one owes it within a step, before it gives up."""

PATIENCE = timedelta(days=7)
"""How long it waits for the first process to read the data, or to score."""


@dataclass(frozen=True)
class Processes:
    """Who this process is among those of a training.

    Attributes:
        rank: its number, from 0.
        count: of processes.
        local_rank: its number on this machine, which is the number of its GPU.
        patient: group for waiting long; None where there is one process.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    patient: distributed.ProcessGroup | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes have come here, for as long as it takes."""
        if self.patient is not None:
            distributed.barrier(self.patient)

    def mean_(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its mean over the processes."""
        if self.count > 1:
            distributed.all_reduce(tensor)
            tensor.div_(self.count)
        return tensor

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the CPU tensors of all processes, which have one shape, in order of rank."""
        if self.patient is None:
            return [tensor]
        gathered = [torch.empty_like(tensor) for _ in range(self.count)]
        distributed.all_gather(gathered, tensor, self.patient)
        return gathered

    @contextmanager
    def alike(self, tensors: Sequence[Tensor]) -> Iterator[None]:
        """Give all processes the first one's values of tensors for a while, such as of norms' statistics.

        They wait for each other first, for as long as it takes.
        """
        if self.count == 1:
            yield
            return
        self.wait()
        kept = [tensor.clone() for tensor in tensors]
        for tensor in tensors:
            distributed.broadcast(tensor, 0)
        try:
            yield
        finally:
            for tensor, own in zip(tensors, kept, strict=True):
                tensor.copy_(own)

    def collect(self, value: Any) -> list[Any]:
        """Return a value of each process, in order of rank, to the first one; nothing to the others."""
        if self.patient is None:
            return [value]
        gathered: list[Any] | None = [None] * self.count if self.is_first else None
        distributed.gather_object(value, gathered, dst=0, group=self.patient)
        return gathered or []

    def gather_values(self, value: Any) -> list[Any]:
        """Return a plain value of each process in order of rank."""
        if self.patient is None:
            return [value]
        gathered: list[Any] = [None] * self.count
        distributed.all_gather_object(gathered, value, self.patient)
        return gathered


ALONE = Processes()


def started_by_torchrun() -> bool:
    """Whether the environment says that this process is one of several, or a lone one that torchrun has started."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def is_first_process() -> bool:
    """Whether this process is the one that speaks for all that torchrun has started; a lone one is."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def joined_processes(device: str) -> Iterator[Processes]:
    """Join the processes that the environment names (as torchrun sets it), and leave them at the end.

    Args:
        device: kind of device that is computed on: ``cuda`` talks through NCCL, everything else through gloo.

    Yields:
        Who this process is; a lone one where the environment names no others.

    Raises:
        ConfigError: the environment is incomplete.
    """
    if not started_by_torchrun() or int(os.environ["WORLD_SIZE"]) == 1:
        yield ALONE
        return
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ConfigError(f"RANK is set and {', '.join(missing)} not: start the processes with torchrun or --devices")
    local_rank = int(os.environ.get("LOCAL_RANK", os.environ["RANK"]))
    if device == "cuda":
        torch.cuda.set_device(local_rank)
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=SILENCE)
    try:
        patient = distributed.new_group(backend="gloo", timeout=PATIENCE)
        yield Processes(distributed.get_rank(), distributed.get_world_size(), local_rank, patient)
    finally:
        distributed.destroy_process_group()
