"""Timing two functions in turns, so that what the machine does meanwhile hits both."""

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from spnas_kernels import copy_weights_


@dataclass(frozen=True)
class Row:
    """One comparison: medians in milliseconds, the ratio's quantiles, and the time that memory alone would take."""

    name: str
    ours: float
    theirs: float
    ratio: float
    low: float
    high: float
    bound: float | None = None

    def __str__(self) -> str:
        bound = "" if self.bound is None else f"{self.bound:.3f} ms"
        return (
            f"| {self.name} | {self.ours:.3f} ms | {self.theirs:.3f} ms | **{self.ratio:.1f}×** "
            f"| {self.low:.1f}–{self.high:.1f}× | {bound} |"
        )


HEAD = "| | ours | theirs | ratio | spread (10–90 %) | memory bound |\n|---|---|---|---|---|---|"


SHORTEST = 50.0  # milliseconds that are timed at once; quicker calls are repeated, as timeit does it


def milliseconds(call: Callable[[], object], number: int = 1) -> float:
    """Time one of so many calls in a row; on a GPU until it has done them all."""
    _wait()
    begin = time.perf_counter()
    for _ in range(number):
        call()
    _wait()
    return (time.perf_counter() - begin) * 1e3 / number


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@functools.cache
def bandwidth(device: str = "cpu") -> float:
    """Bytes read plus bytes written per millisecond between large buffers: torch's copy or ours, on all threads."""
    size = 250_000_000 if device == "cuda" else 25_000_000
    source, destination = torch.ones(size, device=device), torch.empty(size, device=device)
    copies = (lambda: destination.copy_(source), lambda: copy_weights_([destination], [source]))
    for copy in copies:
        copy()
    fastest = min(median(milliseconds(copy, 3) for _ in range(9)) for copy in copies)
    return 2 * source.numel() * 4 / fastest


def compare(
    name: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    traffic: float | None = None,
    *,
    repeats: int = 15,
    device: str = "cpu",
) -> Row:
    """Time in turns after a warm-up.

    Args:
        name: of the row.
        ours: what is measured.
        theirs: what it is measured against.
        traffic: bytes that must at least be read and written; their time at the machine's copy bandwidth is the bound.
        repeats: pairs.
        device: whose copy bandwidth bounds.
    """
    numbers = []
    for call in (theirs, ours):
        call()
        numbers.append(math.ceil(SHORTEST / max(milliseconds(call), 1e-3)))
    pairs = [(milliseconds(theirs, numbers[0]), milliseconds(ours, numbers[1])) for _ in range(repeats)]
    ratios = np.array([peer / own for peer, own in pairs])
    return Row(
        name,
        median(own for _, own in pairs),
        median(peer for peer, _ in pairs),
        float(np.median(ratios)),
        float(np.quantile(ratios, 0.1)),
        float(np.quantile(ratios, 0.9)),
        None if traffic is None else traffic / bandwidth(device),
    )
