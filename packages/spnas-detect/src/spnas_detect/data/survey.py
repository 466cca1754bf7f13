"""What a data set holds, what is wrong with it, and which settings suit its boxes."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spnas_core.errors import DataError
from spnas_detect.data._base import ImageRecord

STRIDES = (4, 8, 16, 32)
LEAST_SIDE = 8.0
"""Pixels that nine of ten boxes should have: less is hardly a position of the finest level."""

_SMALL, _MEDIUM = 32**2, 96**2
_QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)
_THIRDS = (1 / 6, 1 / 2, 5 / 6)  # the middles of three equal parts
_SAMPLE = 2000  # boxes that choices are compared on


def statistics(records: Sequence[ImageRecord], classes: Sequence[str]) -> dict[str, Any]:
    """Count images, boxes, classes and sizes of a split; ignored regions only by their number."""
    kept = [(record.boxes[~record.ignore], record.labels[~record.ignore]) for record in records]
    total = sum(len(labels) for _, labels in kept)
    per_class = {}
    for label, name in enumerate(classes, 1):
        counts = [int((labels == label).sum()) for _, labels in kept]
        share = sum(counts) / total if total else 0.0
        per_class[name] = {"boxes": sum(counts), "share": share, "images": sum(count > 0 for count in counts)}
    sides = np.concatenate([np.zeros((0, 2)), *(boxes[:, 2:] - boxes[:, :2] for boxes, _ in kept)])
    areas = sides.prod(1)
    return {
        "images": len(records),
        "boxes": total,
        "ignored": int(sum(record.ignore.sum() for record in records)),
        "without_boxes": sum(not len(labels) for _, labels in kept),
        "classes": per_class,
        "small": int((areas < _SMALL).sum()),
        "medium": int(((areas >= _SMALL) & (areas < _MEDIUM)).sum()),
        "large": int((areas >= _MEDIUM).sum()),
        "side": _quantiles(np.sqrt(areas)),
        "aspect_ratio": _quantiles(sides[:, 1] / sides[:, 0]),
        "image_width": _quantiles(np.array([record.width for record in records])),
        "image_height": _quantiles(np.array([record.height for record in records])),
    }


def faults(records: Sequence[ImageRecord], *, decode: bool) -> list[dict[str, str]]:
    """List unreadable images, sizes that differ from the annotation's, and duplicate boxes, by image name."""
    found = []
    for record in records:
        rows = np.column_stack([record.boxes, record.labels])
        twice = len(rows) - len(np.unique(rows, axis=0))
        if twice:
            found.append({"kind": "duplicate box", "image": record.name, "text": f"{twice} box(es) occur again"})
        if not decode:
            continue
        try:
            height, width = record.read().shape[:2]
        except DataError as error:
            found.append({"kind": "unreadable image", "image": record.name, "text": str(error)})
            continue
        if (width, height) != (record.width, record.height):
            text = f"annotated {record.width}x{record.height}, the file has {width}x{height}"
            found.append({"kind": "size differs", "image": record.name, "text": text})
    return found


def suggest(
    records: Sequence[ImageRecord],
    scales: Sequence[float],
    ratios: Sequence[float],
    image_size: tuple[int, int] | None = None,
) -> dict[str, Any] | None:
    """Suggest anchors for a canvas, and say how small it may be; None without boxes.

    Args:
        records: the training images.
        scales: default scales in multiples of the stride, among strides 4, 8, 16 and 32.
        ratios: default height / width.
        image_size: (width, height) of the canvas; None takes the median image's.
    """
    widths, heights = (np.array([getattr(record, side) for record in records]) for side in ("width", "height"))
    boxes = [record.boxes[~record.ignore] for record in records]
    if not sum(map(len, boxes)):
        return None
    canvas = image_size or (int(np.median(widths)), int(np.median(heights)))
    factors = np.minimum(canvas[0] / widths, canvas[1] / heights)
    sides = np.concatenate([(one[:, 2:] - one[:, :2]) * factor for one, factor in zip(boxes, factors, strict=True)])
    least = float(np.quantile(np.sqrt(sides.prod(1)), 0.1))
    sample = sides[np.random.default_rng(0).permutation(len(sides))[:_SAMPLE]]
    shapes = sorted({max(float(value), 0.05) for value in np.quantile(sides[:, 1] / sides[:, 0], _THIRDS).round(2)})
    choices: list[tuple[Sequence[float], Sequence[float]]] = [(scales, ratios)]
    for pair in combinations([float(value) for value in np.geomspace(1, 8, 10).round(2)], 2):
        choices += [(pair, ratios), (pair, shapes)]
    best = max(choices, key=lambda choice: float(best_iou(sample, *choice).mean()))
    return {
        "image_size": canvas,
        "least_side": least,
        "least_shorter_side": max(32, int(np.ceil(LEAST_SIDE / least * min(canvas) / 32)) * 32),
        "default": _fit(sides, scales, ratios),
        "suggested": _fit(sides, *best),
    }


def best_iou(sides: NDArray[Any], scales: Sequence[float], ratios: Sequence[float]) -> NDArray[Any]:
    """Return each (width, height)'s IoU with its best anchor of the same centre, over all strides."""
    sizes = np.outer(STRIDES, scales).reshape(-1, 1)
    height = np.sqrt(np.asarray(ratios))
    anchors = np.stack([(sizes / height).ravel(), (sizes * height).ravel()], 1)
    shared = np.minimum(sides[:, None], anchors).prod(-1)
    best: NDArray[Any] = (shared / (sides.prod(1)[:, None] + anchors.prod(1) - shared)).max(1)
    return best


def _fit(sides: NDArray[Any], scales: Sequence[float], ratios: Sequence[float]) -> dict[str, Any]:
    iou = best_iou(sides, scales, ratios)
    shares = {"iou50": float((iou >= 0.5).mean()), "iou70": float((iou >= 0.7).mean())}
    positions = {"per_position": len(scales) * len(ratios)}
    return {"anchor_scales": list(scales), "aspect_ratios": list(ratios), **positions, **shares}


def _quantiles(values: NDArray[Any]) -> list[float]:
    return [float(value) for value in np.quantile(values, _QUANTILES)] if len(values) else []
