"""What a data set holds, what is wrong with it, and which settings suit its boxes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spnas_detect.data._base import SPLITS, DetectionData, ImageRecord, object_areas
from spnas_detect.data.cache.content import pixel_digest
from spnas_detect.data.canvases import Orientation, canvas_of
from spnas_detect.data.checks import annotation_faults, emptied_faults, placement_faults
from spnas_detect.data.decoding import decode
from spnas_detect.data.faults import Fault
from spnas_detect.data.fitting import PlacedRecord, fitted_scale, place_record
from spnas_detect.data.overlaps import find_overlaps

STRIDES = (4, 8, 16, 32)
LEAST_SIDE = 8.0
"""Pixels that nine of ten boxes should have: less is hardly a position of the finest level."""

_SMALL, _MEDIUM = 32**2, 96**2
_QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)
_THIRDS = (1 / 6, 1 / 2, 5 / 6)  # the middles of three equal parts
_SAMPLE = 2000  # boxes that choices are compared on


def statistics(records: Sequence[ImageRecord], classes: Sequence[str]) -> dict[str, Any]:
    """Count images, boxes, classes and sizes of a split; ignored regions only by their number.

    Small, medium and large are what they are to COCO's metric, by annotated areas where there are any.
    """
    kept = [(record.boxes[~record.ignore], record.labels[~record.ignore]) for record in records]
    total = sum(len(labels) for _, labels in kept)
    per_class = {}
    for label, name in enumerate(classes, 1):
        counts = [int((labels == label).sum()) for _, labels in kept]
        share = sum(counts) / total if total else 0.0
        per_class[name] = {"boxes": sum(counts), "share": share, "images": sum(count > 0 for count in counts)}
    sides = np.concatenate([np.zeros((0, 2)), *(boxes[:, 2:] - boxes[:, :2] for boxes, _ in kept)])
    areas = sides.prod(1)
    to_coco = np.concatenate([np.zeros(0), *(object_areas(one.boxes, one.areas)[~one.ignore] for one in records)])
    return {
        "images": len(records),
        "boxes": total,
        "ignored": int(sum(record.ignore.sum() for record in records)),
        "without_boxes": sum(not len(labels) for _, labels in kept),
        "classes": per_class,
        "small": int((to_coco < _SMALL).sum()),
        "medium": int(((to_coco >= _SMALL) & (to_coco < _MEDIUM)).sum()),
        "large": int((to_coco >= _MEDIUM).sum()),
        "side": _quantiles(np.sqrt(areas)),
        "aspect_ratio": _quantiles(sides[:, 1] / sides[:, 0]),
        "image_width": _quantiles(np.array([record.width for record in records])),
        "image_height": _quantiles(np.array([record.height for record in records])),
    }


def find_faults(data: DetectionData, *, opens_images: bool) -> list[Fault]:
    """List everything that is wrong with a data set, what a training would refuse and what is worth a look.

    Args:
        data: as ``read_data`` gives it, its faults included.
        opens_images: whether images are decoded.
    """
    data = data.once()
    found = [*data.faults, *annotation_faults(data)]
    records: dict[str, list[ImageRecord]] = {}
    digests: dict[str, list[bytes]] = {}
    for split in SPLITS:
        found += _duplicates(data.splits[split])
        records[split], digests[split] = list(data.splits[split]), []
        if opens_images:
            placed, faults = _decoded(data, split)
            found += faults
            records[split] = [one.record for one, _ in placed]
            digests[split] = [digest for _, digest in placed]
    found += [one.fault for one in find_overlaps(records, digests if opens_images else None)]
    return [*found, *(Fault("box without area", place, "left out", is_fatal=False) for place in data.dropped)]


def _duplicates(records: Sequence[ImageRecord]) -> Iterator[Fault]:
    for record in records:
        rows = np.column_stack([record.boxes, record.labels])
        twice = len(rows) - len(np.unique(rows, axis=0))
        if twice:
            yield Fault("duplicate box", record.name, f"{twice} box(es) occur again", is_fatal=False)


def _decoded(data: DetectionData, split: str) -> tuple[list[tuple[PlacedRecord, bytes]], list[Fault]]:
    """Decode the images of a split, and list those that are unreadable or of another size than annotated.

    Returns:
        What decodes with the digest of its pixels, and the faults.
    """
    found: list[Fault] = []
    placed: list[tuple[PlacedRecord, bytes]] = []
    is_dropped = data.on_fault == "drop"
    for outcome in decode(data.splits[split], lambda record, image: (place_record(record, image), pixel_digest(image))):
        if isinstance(outcome, Fault):
            found.append(replace(outcome, is_fatal=not is_dropped))
            continue
        placed.append(outcome)
        (width, height), record = outcome[0].size, outcome[0].record
        if (width, height) != (record.width, record.height):
            text = f"annotated {record.width}x{record.height}, the file has {width}x{height}"
            found.append(Fault("size differs", record.name, text, is_fatal=False))
    if is_dropped and len(placed) < len(data.splits[split]):
        found += emptied_faults(data, split, [item.record for item, _ in placed])
    return placed, [*found, *placement_faults(data, split, [item for item, _ in placed])]


def recall_limit(split: str, objects: Sequence[int], most: int) -> tuple[str, ...]:
    """Say where a detector may not find everything, since it gives fewer detections than an image has objects.

    Example: one image with 600 objects and one with 10, at most 50 detections per image: 60 of 610 can be found.

    Args:
        split: name of the split.
        objects: number of objects that count, per image.
        most: detections per image.

    Returns:
        No note where every object can be found, else one.
    """
    more = sum(count > most for count in objects)
    if not more:
        return ()
    recall = sum(min(count, most) for count in objects) / sum(objects)
    note = (
        f"{split} images hold up to {max(objects)} objects, {more} of {len(objects)} more than max_detections = "
        f"{most}: recall cannot exceed {100 * recall:.1f} %: set detector.max_detections"
    )
    return (note,)


def suggest(
    records: Sequence[ImageRecord],
    scales: Sequence[float],
    ratios: Sequence[float],
    image_size: tuple[int, int] | None = None,
    strides: Sequence[int] = STRIDES,
    orientation: Orientation = "fixed",
) -> dict[str, Any] | None:
    """Suggest anchors for a canvas, and say how small it may be; None without boxes.

    Args:
        records: the training images.
        scales: default scales in multiples of the stride.
        ratios: default height / width.
        image_size: (width, height) of the canvas; None takes the median image's.
        strides: of the levels that have anchors.
        orientation: whether images of the other orientation get the transposed canvas.
    """
    widths, heights = (np.array([getattr(record, side) for record in records]) for side in ("width", "height"))
    boxes = [record.boxes[~record.ignore] for record in records]
    if not sum(map(len, boxes)):
        return None
    canvas = image_size or (int(np.median(widths)), int(np.median(heights)))
    sizes = zip(widths.tolist(), heights.tolist(), strict=True)
    factors = np.array([fitted_scale(size, canvas_of(size, canvas, orientation)) for size in sizes])
    sides = np.concatenate([(one[:, 2:] - one[:, :2]) * factor for one, factor in zip(boxes, factors, strict=True)])
    least = float(np.quantile(np.sqrt(sides.prod(1)), 0.1))
    sample = sides[np.random.default_rng(0).permutation(len(sides))[:_SAMPLE]]
    shapes = sorted({max(float(value), 0.05) for value in np.quantile(sides[:, 1] / sides[:, 0], _THIRDS).round(2)})
    choices: list[tuple[Sequence[float], Sequence[float]]] = [(scales, ratios)]
    for pair in combinations([float(value) for value in np.geomspace(1, 8, 10).round(2)], 2):
        choices += [(pair, ratios), (pair, shapes)]
    best = max(choices, key=lambda choice: float(best_iou(sample, choice[0], choice[1], strides).mean()))
    return {
        "image_size": canvas,
        "least_side": least,
        "least_shorter_side": max(32, int(np.ceil(LEAST_SIDE / least * min(canvas) / 32)) * 32),
        "default": _fit(sides, scales, ratios, strides),
        "suggested": _fit(sides, best[0], best[1], strides),
    }


def best_iou(
    sides: NDArray[Any], scales: Sequence[float], ratios: Sequence[float], strides: Sequence[int] = STRIDES
) -> NDArray[Any]:
    """Return each (width, height)'s IoU with its best anchor of the same centre, over all strides."""
    sizes = np.outer(strides, scales).reshape(-1, 1)
    height = np.sqrt(np.asarray(ratios))
    anchors = np.stack([(sizes / height).ravel(), (sizes * height).ravel()], 1)
    shared = np.minimum(sides[:, None], anchors).prod(-1)
    best: NDArray[Any] = (shared / (sides.prod(1)[:, None] + anchors.prod(1) - shared)).max(1)
    return best


def _fit(
    sides: NDArray[Any], scales: Sequence[float], ratios: Sequence[float], strides: Sequence[int]
) -> dict[str, Any]:
    iou = best_iou(sides, scales, ratios, strides)
    shares = {"iou": float(iou.mean()), "iou50": float((iou >= 0.5).mean()), "iou70": float((iou >= 0.7).mean())}
    positions = {"per_position": len(scales) * len(ratios)}
    return {"anchor_scales": list(scales), "aspect_ratios": list(ratios), **positions, **shares}


def _quantiles(values: NDArray[Any]) -> list[float]:
    return [float(value) for value in np.quantile(values, _QUANTILES)] if len(values) else []
