"""The native operators against what they replace."""

import argparse

import kernels_copy
import kernels_match
import kernels_nms
import kernels_roi_align
from pairs import HEAD, SHORTEST, bandwidth

TITLE = "Kernels"
PARTS = (
    ("RoIAlign, 256 channels, levels of 800×1216, against `torchvision.ops.MultiScaleRoIAlign`", kernels_roi_align),
    ("NMS, against `torchvision.ops.batched_nms`", kernels_nms),
    ("Weight copy", kernels_copy),
    ("Matching of detections, against the NumPy reference", kernels_match),
)


def run(_: argparse.Namespace) -> str:
    """Measure everything on the CPU and return the tables."""
    return tables("cpu")


def tables(device: str) -> str:
    """Measure everything that a device computes; the tables."""
    found = []
    for title, part in PARTS:
        if device != "cpu" and part is kernels_match:
            continue  # its operator takes NumPy arrays
        lines = "\n".join(str(row) for row in part.rows(device))
        found.append(f"**{title}**\n\n{HEAD}\n{lines}")
        print(found[-1], flush=True)
    limit = (
        f"Each turn times about {SHORTEST:.0f} ms of calls or more. The memory bound is the time in which the device "
        f"copies as much as a row reads and writes at least, at {bandwidth(device) / 1e6:.1f} GB/s."
    )
    return "\n\n".join([*found, limit])
