"""A batch that does not fit in memory: what was asked for, what there is, what to lower."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from spnas_core.errors import EvaluationError
from spnas_detect.data.loader import Batch
from spnas_detect.training.settings import TrainingSettings

_CUDA_ASKED = re.compile(r"Tried to allocate ([\d.]+ \w+)")
_CPU_ASKED = re.compile(r"you tried to allocate (\d+) bytes", re.IGNORECASE)
_LARGEST_RESIDENT = re.compile(r"^VmHWM:\s*(\d+) kB", re.MULTILINE)


class OutOfMemoryError(EvaluationError):
    """A batch does not fit; the message has what was asked for, what there is, and what to lower."""


@contextmanager
def explained_memory(device: torch.device, batches: Sequence[Batch], settings: TrainingSettings) -> Iterator[None]:
    """Turn an allocation that fails inside into an error that says what to do.

    Args:
        device: that computes.
        batches: of the step.
        settings: that decide how much is computed at a time.

    Raises:
        OutOfMemoryError: memory has run out.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        asked = asked_memory(error)
        if asked is None:
            raise
        count, _, height, width = batches[0].images.shape
        lower = "lower training.batch_size or --image-size"
        if settings.batch_size > settings.accumulate:
            lower = f"raise training.accumulate (now {settings.accumulate}), or {lower}"
        raise OutOfMemoryError(
            f"{count} images of {width}x{height} at a time do not fit in the memory of {device}: {asked} more were "
            f"asked for, {available_memory(device)}; {lower}"
        ) from error


def asked_memory(error: BaseException) -> str | None:
    """Return how much an allocation asked for when it failed; None where the error is about something else."""
    if isinstance(error, torch.OutOfMemoryError):
        found = _CUDA_ASKED.search(str(error))
        return found[1] if found else "an unknown amount"
    if isinstance(error, MemoryError):
        return "an unknown amount"
    found = _CPU_ASKED.search(str(error))
    return gibibytes(int(found[1])) if found else None


def available_memory(device: torch.device) -> str:
    """Say how much memory a device has free, and how much in all."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
    else:
        page = os.sysconf("SC_PAGE_SIZE")
        free, total = page * os.sysconf("SC_AVPHYS_PAGES"), page * os.sysconf("SC_PHYS_PAGES")
    return f"{gibibytes(free)} of {gibibytes(total)} are free"


def used_memory(device: torch.device) -> int:
    """Return the most bytes that this process has used so far: on the GPU, or of main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # On Linux getrusage's value is handed from a process to those that it starts.
    status = Path("/proc/self/status")
    if status.exists():
        found = _LARGEST_RESIDENT.search(status.read_text(encoding="utf-8"))
        if found:
            return int(found[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def gibibytes(count: int) -> str:
    """Write a number of bytes in GiB, or MiB below one."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
