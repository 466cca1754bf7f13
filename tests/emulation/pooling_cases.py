"""Random cases of RoIAlign, both ways, against the reference in plain PyTorch."""

import ctypes
import math
import random

import device
import torch
from torch import Tensor

from spnas_kernels.references import roi_align_fpn as reference

MOST_TAPS = 60_000  # feature values that a case may read: for the time it takes
NONSENSE = [math.nan, math.inf, -math.inf, -1.0, 3e7, 9.0]


class Pooling:
    """What a case pools: the features, as they lie in memory, the RoIs and the geometry."""

    def __init__(self, rng: random.Random, *, has_many_rois: bool) -> None:
        self.images = rng.choice([1, 1, 2, 3])
        self.geometry = self.some_geometry(rng)
        self.rois, self.is_valid = some_rois(rng, self.images, 300 if has_many_rois else rng.choice([1, 1, 2, 5, 9]))
        dtype = rng.choice([torch.float32, torch.float16, torch.bfloat16])
        most = self.most_channels()
        channels = rng.choice([count for count in (1, 1, 3, 8, 9, 31, 32, 33, 40, 65, 128) if count <= most] or [1])
        self.features = [self.some_level(rng, channels).to(dtype) for _ in self.geometry[0]]

    def some_geometry(self, rng: random.Random) -> tuple[object, ...]:
        levels = rng.choice([1, 1, 2, 3, 4])
        first = rng.choice([1.0, 0.5, 0.25, 0.3])
        height, width = rng.choice([(7, 7), (7, 7), (1, 1), (2, 3), (14, 14), (3, 11), (1, 70)])
        return (
            [first / 2**level for level in range(levels)],
            height,
            width,
            rng.choice([0, 0, 1, 2, 3]),
            rng.random() < 0.5,
            rng.choice([0, 1, 2]),
            rng.choice([2, 4]),
            rng.choice([224.0, 16.0, 40.0]),
        )

    def some_level(self, rng: random.Random, channels: int) -> Tensor:
        height, width = rng.choice([1, 2, 5, 9, 16, 17, 33]), rng.choice([1, 2, 5, 8, 15, 16, 20, 40])
        feature = torch.randn(self.images, channels, height, width)
        if rng.random() < 0.5:
            feature = feature.contiguous(memory_format=torch.channels_last)
        return feature

    def most_channels(self) -> float:
        """How many channels the time allows."""
        scales, height, width, sampling = self.geometry[:4]
        taps = 0.0
        for roi in self.rois[self.is_valid]:
            sides = ((roi[3:] - roi[1:3]) * scales[0]).tolist()
            counts = [sampling or math.ceil(side / bins) for side, bins in zip(sides, (width, height), strict=True)]
            taps += height * width * max(1, counts[0]) * max(1, counts[1]) * 4
        return MOST_TAPS / max(taps, 1.0)

    def expected(self, gradient: Tensor | None = None) -> list[Tensor]:
        """Pooled features, or the gradients of all levels; zero for RoIs that can't be."""
        features = [feature.float().requires_grad_() for feature in self.features]
        pooled = reference.roi_align_fpn(features, self.rois[self.is_valid], *self.geometry)
        if gradient is not None:
            product = (pooled * gradient[self.is_valid].float()).sum()
            return list(torch.autograd.grad(product, features))
        whole = torch.zeros(self.pooled_shape())
        whole[self.is_valid] = pooled.detach()
        return [whole.to(self.features[0].dtype)]

    def pooled_shape(self) -> tuple[int, ...]:
        return len(self.rois), self.features[0].shape[1], *self.geometry[1:3]

    def describe(self) -> str:
        shapes = [(tuple(feature.shape), feature.is_contiguous()) for feature in self.features]
        return f"{self.features[0].dtype} {shapes} {self.rois.tolist()[:4]} {self.geometry}"


def some_rois(rng: random.Random, images: int, count: int) -> tuple[Tensor, Tensor]:
    """RoIs of all sizes, some partly or wholly outside, some that can't be."""
    scale = rng.choice([1, 10, 60, 60, 200])
    start = (torch.rand(count, 2) - 0.3) * scale
    size = torch.rand(count, 2) * scale * rng.choice([0, 1, 1, 2])
    rois = torch.cat([torch.randint(images, (count, 1)).float(), start, start + size], 1)
    if rng.random() < 0.3:
        rois = rois.round()
    is_valid = torch.ones(count, dtype=torch.bool)
    if rng.random() < 0.3:
        bad = rng.randrange(count)
        place = rng.randrange(5)
        rois[bad, place] = rng.choice(NONSENSE if place == 0 else [*NONSENSE[:3], 3e7])
        is_valid[bad] = False
    if rng.random() < 0.1:
        bad = rng.randrange(count)
        rois[bad, 1:3] = rois[bad, 3:] + 1
        is_valid[bad] = False
    return rois.contiguous(), is_valid


def compare(ours: Tensor, theirs: Tensor, error: float, case: Pooling) -> None:
    limit = error * (1 + theirs.float().abs().max().item()) if theirs.numel() else 0.0
    difference = (ours.float() - theirs.float()).abs()
    if not (difference <= limit).all():  # a NaN is in no limit
        raise AssertionError(
            f"{int((~(difference <= limit)).sum())} of {ours.numel()} values differ: {case.describe()}"
        )


ROUNDING = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def roi_align_forward(library: ctypes.CDLL, rng: random.Random, seed: int) -> None:
    case = Pooling(rng, has_many_rois=False)
    pooled = torch.full(case.pooled_shape(), math.nan, dtype=case.features[0].dtype)
    device.roi_align_fpn(library, "forward", seed, case.features, case.rois, pooled, case.geometry)
    compare(pooled, case.expected()[0], ROUNDING[pooled.dtype], case)


def roi_align_backward(library: ctypes.CDLL, rng: random.Random, seed: int) -> None:
    case = Pooling(rng, has_many_rois=False)
    gradient = torch.randn(case.pooled_shape()).to(case.features[0].dtype)
    sums = [torch.zeros_like(feature, dtype=torch.float32) for feature in case.features]
    device.roi_align_fpn(library, "backward", seed, sums, case.rois, gradient, case.geometry)
    for ours, theirs in zip(sums, case.expected(gradient), strict=True):
        compare(ours, theirs, 1e-5, case)


def roi_align_deterministic_backward(library: ctypes.CDLL, rng: random.Random, seed: int) -> None:
    case = Pooling(rng, has_many_rois=rng.random() < 0.06)
    gradient = torch.randn(case.pooled_shape()).to(case.features[0].dtype)
    results = []
    for schedule in (seed, seed + 1) if seed % 4 == 0 else (seed,):
        sums = [torch.full_like(feature, math.nan, dtype=torch.float32) for feature in case.features]
        device.roi_align_fpn(library, "deterministic_backward", schedule, sums, case.rois, gradient, case.geometry)
        results.append(sums)
    for ours, theirs in zip(results[0], case.expected(gradient), strict=True):
        compare(ours, theirs, 1e-5, case)
    for ours, again in zip(results[0], results[-1], strict=True):
        if not torch.equal(ours, again):
            raise AssertionError(f"another order of threads gives other bits: {case.describe()}")
