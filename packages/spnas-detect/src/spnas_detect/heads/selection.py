"""From many scored boxes to the few that are kept, for a whole batch in tensors of fixed shape."""

from collections.abc import Callable

import torch
from torch import Tensor

from spnas_detect.heads.boxes import is_at_least, take
from spnas_detect.heads.detections import Detections
from spnas_detect.heads.operators import operators

Merging = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Puts candidates of several features of one image together: boxes, scores, labels."""


def suppress(
    boxes: Tensor, scores: Tensor, groups: Tensor, is_fit: Tensor, iou_threshold: float, most: int
) -> tuple[Tensor, Tensor]:
    """Keep the best boxes of each image, suppressing inside groups.

    A network that has diverged gives NaN; such boxes are left out here, and its losses tell what happened.

    Args:
        boxes: float32[N, B, 4].
        scores: float32[N, B].
        groups: int64[N, B].
        is_fit: bool[N, B]; what is not is left out.
        iou_threshold: above which the lower-scored box of a group goes.
        most: K, kept of each image.

    Returns:
        int64[N, K], indices into B, best first and 0 in padding; and int64[N], how many there are.
    """
    is_fit = is_fit & scores.isfinite() & boxes.isfinite().all(-1)
    keep, counts = operators().suppress(
        boxes.nan_to_num(0.0, 0.0, 0.0), torch.where(is_fit, scores, -torch.inf), groups, iou_threshold, most
    )
    return keep.clamp(min=0), counts


def is_filled(counts: Tensor, rows: int) -> Tensor:
    """bool[N, rows]: the first counts[n] of each image."""
    return torch.arange(rows, device=counts.device) < counts[:, None]


def select_detections(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    score_threshold: float,
    iou_threshold: float,
    most: int,
    smallest: float = 0.0,
    merge: Merging | None = None,
) -> Detections:
    """Choose the detections of each image among candidates, suppressing inside classes.

    Args:
        boxes: float32[N, B, 4], clipped.
        scores: float32[N, B]; at or below the threshold a candidate is left out.
        labels: int64[N, B] in 1…C.
        score_threshold: in [0, 1).
        iou_threshold: above which the lower-scored box of a class goes.
        most: K, detections of an image.
        smallest: pixels that both sides of a detection have at least.
        merge: puts boxes, scores and labels together that several features of one image have given; then N is the
            number of features, and detections are of fewer images.
    """
    if merge is not None:
        boxes, scores, labels = merge(boxes, scores, labels)
    is_fit = (scores > score_threshold) & is_at_least(boxes, smallest)
    keep, counts = suppress(boxes, scores, labels, is_fit, iou_threshold, most)
    filled = is_filled(counts, most)
    return Detections(
        torch.where(filled[..., None], take(boxes, keep), 0.0),
        torch.where(filled, take(scores, keep), 0.0),
        torch.where(filled, take(labels, keep), 0),
        counts,
    )
