"""Feeds hostile arguments straight to the native operators: a result or a RuntimeError, never a crash.

nox -s sanitize                    (builds with AddressSanitizer and UBSan first)
python tests/kernels/fuzz.py --seconds 60 --seed 0
"""

import argparse
import contextlib
import random
import time
from collections.abc import Callable

import numpy as np
import torch

from spnas_kernels import match_detections

NUMBERS = [0.0, -0.0, 1.0, -1.0, 0.5, 7.999, 8.0, 1e-30, 1e9, -1e9, 1e30, torch.nan, torch.inf, -torch.inf]


def some_values(rng: random.Random, *shape: int) -> torch.Tensor:
    """Ordinary numbers, and now and then one from the list."""
    values = torch.rand(shape, generator=torch.Generator().manual_seed(rng.randrange(2**31))) * rng.choice([1, 10, 300])
    if rng.random() < 0.4 and values.numel():
        values.flatten()[rng.randrange(values.numel())] = rng.choice(NUMBERS)
    return values


def some_floats(rng: random.Random) -> torch.dtype:
    return rng.choice([torch.float32, torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64])


def some_rois(rng: random.Random, images: int) -> torch.Tensor:
    count = rng.choice([0, 1, 3, 20, 150])
    rois = some_values(rng, count, rng.choice([5, 5, 5, 5, 4]))
    if rois.shape[1] == 5 and rng.random() < 0.8:
        rois[:, 0] = torch.randint(max(images, 1), (count,)).float()
        rois[:, 3:] = rois[:, 1:3] + rois[:, 3:].abs()
    return rois


def geometry(rng: random.Random, levels: int) -> tuple[object, ...]:
    scales = [rng.choice([1.0, 0.25, 0.1, 1e-9, 1e9, -1.0, 0.0, torch.nan]) for _ in range(levels)]
    if rng.random() < 0.7:
        scales = [0.5 / 2**level for level in range(levels)]
    sizes = [
        rng.choice([1, 2, 7, 3, 0, -1, 2**31, 2**40]) if rng.random() < 0.2 else rng.choice([1, 2, 7]) for _ in "hw"
    ]
    sampling = rng.choice([0, 1, 2, 3, -5]) if rng.random() < 0.95 else rng.choice([2**40, -(2**62)])
    level = rng.choice([0, 2, -3, 2**33, -(2**40)]) if rng.random() < 0.1 else 2
    canonical = rng.choice([224.0, 8.0, 0.0, -1.0, torch.nan, 1e-300]) if rng.random() < 0.3 else 16.0
    return scales, *sizes, sampling, rng.random() < 0.5, level, 4, canonical


def fuzz_roi_align(rng: random.Random) -> None:
    levels, images, channels = rng.choice([0, 1, 2, 4]), rng.choice([0, 1, 2]), rng.choice([0, 1, 16, 17, 33])
    features = []
    for _ in range(levels):
        feature = some_values(rng, images, channels, rng.choice([0, 1, 5, 33]), rng.choice([0, 1, 8, 40]))
        features.append(feature.contiguous(memory_format=rng.choice([torch.channels_last, torch.contiguous_format])))
    dtype = some_floats(rng)
    features = [feature.to(dtype) for feature in features]
    rois = some_rois(rng, images).to(torch.float64 if dtype == torch.float64 else torch.float32)
    shape = geometry(rng, levels if rng.random() < 0.95 else levels + 1)
    torch.ops.spnas.roi_align_fpn(features, rois, *shape)


def fuzz_roi_align_backward(rng: random.Random) -> None:
    levels, images, channels = rng.choice([0, 1, 3]), rng.choice([0, 1, 2]), rng.choice([0, 1, 16, 19])
    rois = some_rois(rng, images)
    shape = geometry(rng, levels)
    bins = [size if size < 100 else 3 for size in shape[1:3]]
    gradient = some_values(rng, len(rois), channels, *(max(size, 0) for size in bins)).to(some_floats(rng))
    heights = [rng.choice([0, 1, 5, 33, -1]) for _ in range(levels)]
    widths = [rng.choice([0, 1, 8, 40]) for _ in range(levels if rng.random() < 0.95 else levels + 1)]
    formats = [rng.randrange(2) for _ in range(levels)]
    torch.ops.spnas.roi_align_fpn_backward(gradient, rois, images, heights, widths, formats, False, *shape)


def fuzz_copy_weights(rng: random.Random) -> None:
    columns: list[list[object]] = [[], [], [], [], []]
    for _ in range(rng.choice([0, 1, 4])):
        shape = [rng.choice([0, 1, 2, 5]) for _ in range(rng.choice([0, 1, 2, 4, 7]))]
        source_shape = [rng.choice([size, size, size, 3]) for size in shape]
        maps = [
            torch.randint(-1, 4, (rng.choice([shape[dim] if len(shape) > dim else 1, 2]),))
            if rng.random() < 0.4
            else None
            for dim in range(2)
        ]
        scale = some_values(rng, rng.choice([1, 2, 5])).double() if rng.random() < 0.3 else None
        destination, source = some_values(rng, *shape).to(some_floats(rng)), some_values(rng, *source_shape)
        if rng.random() < 0.2 and destination.dim() >= 2:
            destination = destination.transpose(0, 1).contiguous().transpose(0, 1)
        if rng.random() < 0.1 and destination.dim():
            destination = destination[:1].expand(destination.shape)
        row = (destination, source if rng.random() < 0.9 else destination, *maps, scale)
        for column, entry in zip(columns, row, strict=True):
            column.append(entry)
    if rng.random() < 0.05:
        columns[rng.randrange(5)] = []
    torch.ops.spnas.copy_weights_(*columns)


def fuzz_nms(rng: random.Random) -> None:
    count = rng.choice([0, 1, 7, 300])
    dtype = some_floats(rng)
    shape = (count,) if rng.random() < 0.5 else (rng.choice([0, 1, 3]), count)
    boxes = some_values(rng, *shape, rng.choice([4, 4, 4, 4, 3])).to(dtype)
    scores = some_values(rng, *(shape if rng.random() < 0.95 else (5,))).to(rng.choice([dtype, torch.float32]))
    groups = torch.randint(-(2**62), 2**62, shape) if rng.random() < 0.3 else torch.randint(3, shape)
    threshold = rng.choice([0.5, 0.0, 1.0, -1.0, torch.nan, 2.0])
    if len(shape) == 1:
        torch.ops.spnas.nms_grouped(boxes, scores, groups, threshold)
    else:
        torch.ops.spnas.nms_grouped_padded(boxes, scores, groups, threshold, rng.choice([0, 1, 10, 400, -3]))


def fuzz_assign_targets(rng: random.Random) -> None:
    images, count, objects = rng.choice([0, 1, 3]), rng.choice([0, 1, 63, 65, 5000]), rng.choice([0, 1, 9])
    shape = (count,) if rng.random() < 0.5 else (images if rng.random() < 0.9 else 2, count)
    boxes = some_values(rng, *shape, rng.choice([4, 4, 4, 4, 3])).to(rng.choice([torch.float32] * 5 + [torch.float64]))
    truths = some_values(rng, images, objects if rng.random() < 0.95 else 2, 4)
    if boxes.shape[-1] == 4 and rng.random() < 0.8:
        boxes[..., 2:] += boxes[..., :2].to(boxes.dtype)
        truths[..., 2:] += truths[..., :2]
    labels = (
        torch.randint(-(2**62), 2**62, (images, objects))
        if rng.random() < 0.3
        else torch.randint(-1, 3, (images, objects))
    )
    thresholds = [rng.choice([0.7, 0.3, 1.0, 0.0, -1.0, torch.nan, 2.0]) if rng.random() < 0.3 else 0.5 for _ in "fb"]
    shares = rng.choice([0.5, 1.0, 0.0, torch.nan]) if rng.random() < 0.3 else 0.5
    torch.ops.spnas.assign_targets(boxes, truths, labels, *thresholds, rng.random() < 0.5, shares)


def fuzz_match(rng: random.Random) -> None:
    counts = rng.choice([0, 1, 50]), rng.choice([0, 1, 30])
    boxes = [some_values(rng, count, 4).double().numpy() for count in counts]
    for box in boxes:
        if rng.random() < 0.9:
            box[:, 2:] += box[:, :2]
    images = [np.array([rng.choice([0, 1, 2, -5, 2**62]) for _ in range(count)], dtype=np.int64) for count in counts]
    ignored = np.array([rng.random() < 0.3 for _ in range(counts[1])], dtype=bool)
    match_detections(
        boxes[0],
        some_values(rng, counts[0]).double().numpy(),
        images[0],
        boxes[1],
        images[1],
        ignored,
        regions=ignored if rng.random() < 0.5 else None,
        policy=rng.choice(["best-unmatched", "best-then-flag"]),
        threads=rng.choice([1, 2, 7]),
    )


TARGETS: tuple[Callable[[random.Random], None], ...] = (
    fuzz_roi_align,
    fuzz_roi_align_backward,
    fuzz_copy_weights,
    fuzz_nms,
    fuzz_assign_targets,
    fuzz_match,
)


def main() -> None:
    """Fuzz until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds
    accepted = dict.fromkeys((target.__name__ for target in TARGETS), 0)
    tried = dict(accepted)
    seed = arguments.seed
    while time.monotonic() < end:
        for target in TARGETS:
            rng = random.Random(seed)
            torch.manual_seed(seed)
            tried[target.__name__] += 1
            # ValueErrors are match_detections' own; IndexErrors are torch's, for sizes that it can't make.
            with contextlib.suppress(RuntimeError, ValueError, IndexError):
                target(rng)
                accepted[target.__name__] += 1
        seed += 1
    for name, count in tried.items():
        print(f"{name}: {count} tried, {accepted[name]} accepted")
        if not 0 < accepted[name] < count:
            raise SystemExit(f"{name} accepts all or nothing: it tests too little")


if __name__ == "__main__":
    main()
