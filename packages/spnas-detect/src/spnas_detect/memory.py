"""How much memory there is, was asked for, and has been used."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from spnas_core.errors import EvaluationError

_CUDA_ASKED = re.compile(r"Tried to allocate ([\d.]+ \w+)")
_CPU_ASKED = re.compile(r"you tried to allocate (\d+) bytes", re.IGNORECASE)
_LARGEST_RESIDENT = re.compile(r"^VmHWM:\s*(\d+) kB", re.MULTILINE)


@contextmanager
def explained_weights(device: torch.device) -> Iterator[None]:
    """Turn an allocation of a detector's weights that fails inside into an error that says what to lower.

    Args:
        device: that they shall live on.

    Raises:
        EvaluationError: memory has run out.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        asked = asked_memory(error)
        if asked is None:
            raise
        raise EvaluationError(
            f"the detector's weights do not fit in the memory of {device}: {asked} more were asked for, "
            f"{available_memory(device)}; take a narrower backbone, or lower detector.head_channels, "
            "detector.neck_channels or detector.pooled_size"
        ) from error


def asked_memory(error: BaseException) -> str | None:
    """Return how much an allocation asked for when it failed; None where the error is about something else."""
    if isinstance(error, torch.OutOfMemoryError):
        found = _CUDA_ASKED.search(str(error))
        return found[1] if found else "an unknown amount"
    if isinstance(error, MemoryError) or "Storage size calculation overflowed" in str(error):
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
