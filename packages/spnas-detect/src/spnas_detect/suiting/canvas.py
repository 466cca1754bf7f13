"""Which canvas suits photographs: large enough for their small objects, no larger than the photographs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from spnas_detect.data import ImageRecord

LEAST_SIDE = 20.0
"""Pixels that nine of ten boxes of each class shall have on the canvas: five positions of a level of stride 4."""

LEAST_SHORTER_SIDE = 224
"""Pixels of the canvas's shorter side that are never gone below: what classifiers are trained on."""

LARGEST = (1333, 800)
"""Longer and shorter side of the largest canvas. Lin et al., "Feature Pyramid Networks for Object Detection"."""

MULTIPLE = 32
FEWEST_BOXES = 10
"""Boxes that a class has at least where its small ones have a say."""


@dataclass(frozen=True)
class Canvas:
    """A canvas and why.

    Attributes:
        size: (width, height) in pixels, multiples of 32.
        median: (width, height) of the images.
        least: square root of the area in canvas pixels that nine of ten boxes of each class reach.
    """

    size: tuple[int, int]
    median: tuple[int, int]
    least: float


def suitable_canvas(records: Sequence[ImageRecord]) -> Canvas | None:
    """Choose a canvas for training images; None where there is no box.

    It has the shape of the median image, lying or standing as most images do, and the least size on which nine of ten
    boxes of each class that has ten or more have sides of 20 pixels; but a shorter side of 224 at least, never more
    than 1333×800, and not more than the images have. Each side is then the nearest multiple of 32.

    Example: images of 640×480 whose rarest class has sides of 40 pixels: 320×240, and in multiples of 32 320×256.
    """
    sides = dict(_sides_by_class(records))
    if not sides:
        return None
    counted = [found for found in sides.values() if len(found) >= FEWEST_BOXES] or list(sides.values())
    least = min(float(np.quantile(found, 0.1)) for found in counted)
    sizes = np.array([(record.width, record.height) for record in records], dtype=float)
    longer, shorter = float(np.median(sizes.max(1))), float(np.median(sizes.min(1)))
    wanted = max(LEAST_SIDE / least, LEAST_SHORTER_SIDE / shorter)
    factor = min(wanted, 1.0, LARGEST[0] / longer, LARGEST[1] / shorter)
    lying = bool((sizes[:, 0] >= sizes[:, 1]).mean() >= 0.5)
    size, median = (_rounded(longer * factor), _rounded(shorter * factor)), (round(longer), round(shorter))
    return Canvas(size if lying else size[::-1], median if lying else median[::-1], least * factor)


def _sides_by_class(records: Sequence[ImageRecord]) -> Iterator[tuple[int, np.ndarray]]:
    """Square roots of the areas of all boxes that count, by label."""
    if not records:
        return
    labels = np.concatenate([record.labels[~record.ignore] for record in records])
    boxes = np.concatenate([record.boxes[~record.ignore] for record in records])
    sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))
    for label in np.unique(labels):
        yield int(label), sides[labels == label]


def _rounded(side: float) -> int:
    return max(1, round(side / MULTIPLE)) * MULTIPLE
