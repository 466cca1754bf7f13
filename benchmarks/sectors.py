"""Memory sectors that RoIAlign's backward adds to on a GPU, counted for the benchmark's RoIs without one."""

import argparse

import numpy as np
import torch
from numpy.typing import NDArray

from kernels_roi_align import CHANNELS, HEIGHT, POOLED, SCALES, STRIDES, WIDTH, random_rois
from spnas_kernels.references import roi_align_fpn as reference

TITLE = "Sectors of RoIAlign's backward"
SAMPLING, LANES, TAPS, FLOATS = 2, 32, 32, 8  # a sector has 32 bytes

Pixels = NDArray[np.int64]


def samples(first: float, last: float, scale: float, size: int) -> tuple[Pixels, Pixels]:
    """The pixels below and above every sample of an axis, [bins, samples]."""
    start, width = first * scale, max((last - first) * scale, 1) / POOLED
    within = (np.arange(SAMPLING) + 0.5) * width / SAMPLING
    position = np.clip(start + np.arange(POOLED)[:, None] * width + within, 0, size - 1)
    low = position.astype(np.int64)
    return low, np.minimum(low + 1, size - 1)


def distinct(sectors: Pixels) -> int:
    """Count the different sectors of each row, which are those of one instruction of a warp."""
    ordered = np.sort(sectors, axis=-1)
    return len(ordered) + int((np.diff(ordered, axis=-1) != 0).sum())


def by_samples(rows: tuple[Pixels, Pixels], columns: tuple[Pixels, Pixels], width: int, plane: int) -> int:
    """As torchvision adds: a thread per bin of a channel, four additions per sample."""
    channel, row, column = np.unravel_index(np.arange(CHANNELS * POOLED**2), (CHANNELS, POOLED, POOLED))
    total = 0
    for y in rows:
        for x in columns:
            for iy in range(SAMPLING):
                for ix in range(SAMPLING):
                    address = channel * plane + y[row, iy] * width + x[column, ix]
                    total += distinct((address // FLOATS).reshape(-1, LANES))
    return total


def by_rows(rows: tuple[Pixels, Pixels], columns: tuple[Pixels, Pixels], width: int, plane: int) -> int:
    """As ``backward_planar`` adds: a lane per touched column, each touched row once."""
    y, x = np.unique(rows), np.unique(columns)
    starts = (np.arange(CHANNELS)[:, None] * plane + y * width).ravel()
    return sum(distinct((starts[:, None] + x[begin : begin + TAPS]) // FLOATS) for begin in range(0, len(x), TAPS))


def by_pixels(rows: tuple[Pixels, Pixels], columns: tuple[Pixels, Pixels]) -> int:
    """As ``backward_interleaved`` adds: all channels of each touched pixel once."""
    return len(np.unique(rows)) * len(np.unique(columns)) * CHANNELS // FLOATS


def run(_: argparse.Namespace | None = None) -> str:
    """Count and return the table."""
    rois = random_rois(1000, torch.Generator().manual_seed(0))
    levels = reference.levels(rois[:, 1:], len(STRIDES), 2, 4, 224.0).tolist()
    totals = np.zeros(3, np.int64)
    for (_, x1, y1, x2, y2), level in zip(rois.tolist(), levels, strict=True):
        height, width = HEIGHT // STRIDES[level], WIDTH // STRIDES[level]
        rows, columns = samples(y1, y2, SCALES[level], height), samples(x1, x2, SCALES[level], width)
        totals += (
            by_samples(rows, columns, width, height * width),
            by_rows(rows, columns, width, height * width),
            by_pixels(rows, columns),
        )
    names = ("every sample by itself (torchvision), NCHW", "ours, NCHW", "ours, channels-last")
    lines = [
        f"| {name} | {total / 1e6:.1f} million | {totals[0] / total:.1f}× |"
        for name, total in zip(names, totals, strict=True)
    ]
    what = (
        f"1 000 RoIs, {CHANNELS} channels of float32, {POOLED} × {POOLED} bins of {SAMPLING} × {SAMPLING} samples: "
        "different sectors of 32 bytes, summed over the instructions of all warps."
    )
    return "\n".join([what, "", "| additions | sectors | fewer |\n|---|---|---|", *lines])
