"""Suppression and pooling in plain tensor operators of fixed shape, which ONNX and ``torch.export`` express.

They compute what the kernels do, in more memory and time.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan

from spnas_core.errors import ExportError
from spnas_detect.heads.operators import Operators
from spnas_kernels.references.roi_align_fpn import levels


def suppress(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, max_keep: int
) -> tuple[Tensor, Tensor]:
    """As ``spnas_kernels.nms_grouped_padded``, one kept box a step: O(N · B) memory, ``max_keep`` steps.

    Args:
        boxes: float32[N, B, 4] of (x1, y1, x2, y2).
        scores: float32[N, B]; -inf is padding.
        groups: int64[N, B].
        iou_threshold: in [0, 1].
        max_keep: K.

    Returns:
        int64[N, K], best first and -1 behind them, and int64[N], how many there are.
    """
    boxes, scores = boxes.detach(), scores.detach()
    threshold = _float32_below(iou_threshold)
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    numbers = torch.arange(scores.shape[1], device=boxes.device)

    def keep_one(rest: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        best = rest.argmax(1, keepdim=True)  # [N, 1]
        box = boxes.gather(1, best[..., None].expand(-1, -1, 4))
        sides = torch.minimum(box[..., 2:], boxes[..., 2:]) - torch.maximum(box[..., :2], boxes[..., :2])
        shared = sides.clamp(min=0).prod(-1)
        overlaps = shared / (areas.gather(1, best) + areas - shared) > threshold
        goes = (overlaps & (groups == groups.gather(1, best))) | (numbers == best)
        kept = torch.where(rest.gather(1, best) > -torch.inf, best, -1)
        return torch.where(goes, -torch.inf, rest), kept[:, 0]

    _, kept = scan(keep_one, scores, torch.arange(max_keep, device=boxes.device))  # [K, N]
    kept = kept.transpose(0, 1)
    return kept, (kept >= 0).sum(1)


def pool(
    features: Sequence[Tensor],
    rois: Tensor,
    output_size: int,
    spatial_scales: Sequence[float],
    *,
    sampling_ratio: int,
    canonical_size: float,
    canonical_level: int,
    first_level: int,
) -> Tensor:
    """As ``spnas_kernels.roi_align_fpn`` with ``aligned=False``, by reading four pixels a sample.

    The levels' pixels are one table, so each RoI reads from its own level alone. He et al., "Mask R-CNN", section 3.

    Args:
        features: Tensor[N, C, H_l, W_l] of each level.
        rois: float32[R, 5] of (image, x1, y1, x2, y2).
        output_size: P.
        spatial_scales: feature pixels per image pixel of each level.
        sampling_ratio: samples per bin and axis, at least 1.
        canonical_size: side of a square RoI of the canonical level.
        canonical_level: its number.
        first_level: number of the finest level.

    Returns:
        Tensor[R, C, P, P].

    Raises:
        ExportError: the number of samples is left to the size of each RoI.
    """
    if sampling_ratio < 1:
        raise ExportError(
            "detector.sampling_ratio = 0 takes as many samples as an RoI has pixels, which no fixed shape holds"
        )
    images, channels = features[0].shape[:2]
    shapes = [(level.shape[2], level.shape[3]) for level in features]
    table = torch.cat([level.flatten(2) for level in features], dim=2)  # [N, C, T]
    total = sum(height * width for height, width in shapes)
    pixels = table.permute(0, 2, 1).reshape(images * total, channels)
    level = levels(rois[:, 1:], len(features), first_level, canonical_level, canonical_size)  # [R]
    heights, widths = (torch.tensor(sides, device=rois.device)[level] for sides in zip(*shapes, strict=True))
    firsts = np.cumsum([0, *(height * width for height, width in shapes[:-1])]).tolist()
    begin = rois[:, 0].long() * total + torch.tensor(firsts, device=rois.device)[level]
    scale = torch.tensor(list(spatial_scales), dtype=rois.dtype, device=rois.device)[level]
    rows = _samples(rois[:, 2] * scale, rois[:, 4] * scale, heights, output_size, sampling_ratio)
    columns = _samples(rois[:, 1] * scale, rois[:, 3] * scale, widths, output_size, sampling_ratio)
    pooled = torch.zeros((), dtype=rois.dtype, device=rois.device)
    for row in rows:
        for column in columns:
            for y, share_y in row:
                for x, share_x in column:
                    place = begin[:, None, None] + y[:, :, None] * widths[:, None, None] + x[:, None, :]  # [R, P, P]
                    share = (share_y[:, :, None] * share_x[:, None, :])[..., None]
                    pooled = pooled + pixels[place] * share
    mean: Tensor = pooled / sampling_ratio**2
    return mean.permute(0, 3, 1, 2)


PLAIN = Operators(suppress, pool)

_Corner = tuple[Tensor, Tensor]


def _samples(first: Tensor, last: Tensor, size: Tensor, bins: int, count: int) -> list[tuple[_Corner, _Corner]]:
    """For each sample of a bin: the pixels int64[R, P] around it along an axis, and their float32[R, P] shares.

    Args:
        first: float32[R], where an RoI begins, in feature pixels.
        last: float32[R], where it ends.
        size: int64[R], pixels of the axis.
        bins: P.
        count: samples of a bin.
    """
    width = ((last - first).clamp(min=1) / bins)[:, None]
    bin_starts = first[:, None] + torch.arange(bins, device=first.device, dtype=first.dtype) * width
    end = (size - 1)[:, None]
    found = []
    for number in range(count):
        position = bin_starts + (number + 0.5) * width / count
        inside = ((position >= -1) & (position <= size[:, None])).to(first.dtype)
        position = position.clamp(min=0)
        low = torch.minimum(position.floor().long(), end)
        high = torch.minimum(low + 1, end)
        above = torch.where(low >= end, 0.0, position - low)
        found.append(((low, (1 - above) * inside), (high, above * inside)))
    return found


def _float32_below(value: float) -> float:
    """Return the largest float32 that is not above a number: a float32 is above one where it is above the other."""
    near = np.float32(value)
    return float(near if float(near) <= value else np.nextafter(near, np.float32(-math.inf)))
