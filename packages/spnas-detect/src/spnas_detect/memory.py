"""How much memory there is, was asked for, and has been used."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from spnas_core.machine import peak_memory

_CUDA_ASKED = re.compile(r"CUDA out of memory\. Tried to allocate ([\d.]+ \w+)")
_CPU_ASKED = re.compile(r"you tried to allocate (\d+) bytes", re.IGNORECASE)
_SIGNS = ("Storage size calculation overflowed", "CUDA error: out of memory", "std::bad_alloc")


@contextmanager
def explained_allocation(
    device: torch.device, error: type[Exception], explain: Callable[[], tuple[str, str]]
) -> Iterator[None]:
    """Turn an allocation that fails inside into an error that says what to do.

    Args:
        device: that it is made on.
        error: that is raised then.
        explain: asked then; says what does not fit, in the plural, and what to lower.

    Raises:
        Exception: an ``error``; memory has run out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as failure:  # torch.OutOfMemoryError is of the latter
        asked = asked_memory(failure)
        if asked is None:
            raise
        what, remedy = explain()
        raise error(
            f"{what} do not fit in the memory of {device}: {asked} more were asked for, {available_memory(device)}; "
            f"{remedy}"
        ) from failure


def asked_memory(error: BaseException) -> str | None:
    """Return how much an allocation asked for when it failed; None where the error is about something else."""
    text = str(error)
    if found := _CUDA_ASKED.search(text):
        return found[1]
    if found := _CPU_ASKED.search(text):
        return gibibytes(int(found[1]))
    is_about_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(sign in text for sign in _SIGNS)
    return "an unknown amount" if is_about_memory else None


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
    return peak_memory()


def gibibytes(count: int) -> str:
    """Write a number of bytes in GiB, or MiB below one."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
