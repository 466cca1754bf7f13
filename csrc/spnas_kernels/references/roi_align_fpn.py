"""Multi-level RoIAlign along one axis, then the other: bilinear sampling and averaging are separable."""

from collections.abc import Sequence

import torch
from torch import Tensor

CHUNK = 32  # RoIs that are pooled at a time: the intermediate is Tensor[CHUNK, C, H, pooled_w]
FARTHEST = 2.0**24


def roi_align_fpn(
    features: Sequence[Tensor],
    rois: Tensor,
    spatial_scales: Sequence[float],
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
    first_level: int,
    canonical_level: int,
    canonical_size: float,
) -> Tensor:
    """As the operator; differentiable by autograd."""
    check_rois(rois, features[0].shape[0])
    level_of_roi = levels(rois[:, 1:], len(features), first_level, canonical_level, canonical_size)
    images = rois[:, 0].long()
    compute = torch.float64 if features[0].dtype == torch.float64 else torch.float32
    output = features[0].new_zeros((len(rois), features[0].shape[1], pooled_height, pooled_width), dtype=compute)
    for level, (feature, scale) in enumerate(zip(features, spatial_scales, strict=True)):
        chosen = (level_of_roi == level).nonzero()[:, 0]
        for begin in range(0, max(len(chosen), 1), CHUNK):  # none is one empty part: every level gets a gradient
            part = chosen[begin : begin + CHUNK]
            boxes = rois[part, 1:]
            rows = axis_taps(boxes[:, 1], boxes[:, 3], scale, aligned, pooled_height, sampling_ratio, feature.shape[2])
            columns = axis_taps(
                boxes[:, 0], boxes[:, 2], scale, aligned, pooled_width, sampling_ratio, feature.shape[3]
            )
            pixels = feature[images[part]].to(compute)  # [K, C, H, W]
            pooled = _pooled_rows(_pooled_rows(pixels.mT, *columns).mT, *rows)  # [K, C, pooled_h, pooled_w]
            output = output.index_copy(0, part, pooled)
    return output.to(features[0].dtype)


def check_rois(rois: Tensor, images: int) -> None:
    """Refuse what the native CPU operator refuses."""
    index = rois[:, 0]
    far = ~(rois.abs() <= FARTHEST)
    wrong = (index < 0) | (index >= images) | (index != index.floor())
    negative = (rois[:, 3] < rois[:, 1]) | (rois[:, 4] < rois[:, 2])
    bad = (far.any(dim=1) | wrong | negative).nonzero()[:, 0]
    if not len(bad):
        return
    k = int(bad[0])
    if far[k].any():
        i = int(far[k].nonzero()[0])
        raise RuntimeError(
            f"rois[{k}, {i}] is {rois[k, i].item():g}: image indices and coordinates must be finite and at most 2^24"
        )
    if wrong[k]:
        raise RuntimeError(f"rois[{k}] is of image {index[k].item():g}: the features hold images 0 to {images - 1}")
    box = ", ".join(f"{value:g}" for value in rois[k, 1:].tolist())
    raise RuntimeError(f"rois[{k}] is ({box}): x1 <= x2 and y1 <= y2 must hold")


def levels(boxes: Tensor, count: int, first_level: int, canonical_level: int, canonical_size: float) -> Tensor:
    """Level index of each of Tensor[K, 4]."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    level = torch.floor(canonical_level + torch.log2(area.sqrt() / torch.full_like(area, canonical_size)) + 1e-6)
    return (level - first_level).clamp(0, count - 1).long()


def _pooled_rows(pixels: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Tensor[K, C, pooled, W] of Tensor[K, C, H, W]; what a bin does not read has no part in it, not even as a NaN."""
    count, channels, _, width = pixels.shape
    pooled = pixels.new_zeros((count, channels, index.shape[1], width))
    for tap in range(index.shape[2]):
        factor = weight[:, None, :, tap, None]  # [K, 1, pooled, 1]
        rows = index[:, None, :, tap, None].expand_as(pooled)
        pooled = pooled + torch.where(factor > 0, pixels.gather(2, rows) * factor, 0)
    return pooled


def axis_taps(
    first: Tensor,
    last: Tensor,
    scale: float,
    aligned: bool,
    pooled: int,
    sampling_ratio: int,
    size: int,
) -> tuple[Tensor, Tensor]:
    """Pixels that the bins of an axis read, and their weights, 0 where there is none: both Tensor[K, pooled, taps]."""
    offset = 0.5 if aligned else 0.0
    start = first * scale - offset
    extent = last * scale - offset - start
    if not aligned:
        extent = extent.clamp(min=1)
    # By a tensor: torch multiplies CUDA tensors by a number's reciprocal, which rounds otherwise.
    bin_size = extent / torch.full_like(extent, pooled)
    samples = torch.full_like(extent, sampling_ratio) if sampling_ratio > 0 else bin_size.ceil()
    most = max(int(samples.max()), 1) if len(samples) else 1  # some tap always, for a gradient of zeros
    number = torch.arange(most, device=first.device, dtype=first.dtype)  # [S]
    bins = torch.arange(pooled, device=first.device, dtype=first.dtype)[None, :, None]
    width = bin_size[:, None, None]
    within = (number + 0.5) * width / samples.clamp(min=1)[:, None, None]
    position = start[:, None, None] + bins * width + within  # [K, pooled, S]
    inside = (position >= -1) & (position <= size) & (number < samples[:, None, None])
    position = torch.where(inside, position.clamp(min=0), torch.zeros_like(position))
    low = position.long().clamp(max=size - 1)
    high = (low + 1).clamp(max=size - 1)
    share = torch.where(low >= size - 1, torch.zeros_like(position), position - low)
    factor = inside / samples.clamp(min=1)[:, None, None]
    index, weight = torch.cat([low, high], dim=2), torch.cat([(1 - share) * factor, share * factor], dim=2)
    if index.shape[2] <= size:
        return index, weight
    every = torch.arange(size, device=first.device).expand(
        len(first), pooled, size
    )  # a box with more samples than pixels
    return every, weight.new_zeros(every.shape).scatter_add_(2, index, weight)
