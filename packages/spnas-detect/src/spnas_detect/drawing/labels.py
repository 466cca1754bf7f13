"""Where labels stand: inside the picture, at their box, where they hide least."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rectangle = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels; right and bottom lie outside."""

_LABEL_WEIGHT = 2.0  # a hidden label is worse than a hidden object: its neighbours show where that is
_PLACE_WEIGHT = 0.01  # what the next place in order costs, so that order decides where nothing else does


def place_labels(
    boxes: Sequence[Rectangle], sizes: Sequence[tuple[int, int]], picture: tuple[int, int]
) -> list[Rectangle]:
    """Find a place for the label of every box, the important ones first.

    A place costs 2 for every earlier label that it hides, 1 for every box, both by the share that is hidden (so a label
    on a large object costs little), and 0.01 for every place before it in this order: above the box, inside it at the
    top, below it, to its right, to its left, inside at the bottom; at the left edge, then at the right one. The
    cheapest place is taken, the first of equal ones. All of them are moved into the picture first.

    Args:
        boxes: in the order of their importance.
        sizes: (width, height) of each label.
        picture: (width, height).

    Returns:
        A rectangle per box, inside the picture as far as it fits there.
    """
    placed = np.zeros((0, 4))
    everything = np.asarray(boxes, np.float64).reshape(-1, 4)
    for box, size in zip(boxes, sizes, strict=True):
        places = _places(box, size, picture)
        cost = _LABEL_WEIGHT * _hidden(places, placed) + _hidden(places, everything)
        cost += _PLACE_WEIGHT * np.arange(len(places))
        placed = np.concatenate([placed, places[[int(cost.argmin())]]])
    return [(int(left), int(top), int(right), int(bottom)) for left, top, right, bottom in placed]


def _places(box: Rectangle, size: tuple[int, int], picture: tuple[int, int]) -> NDArray[np.float64]:
    """List the places of a label as rectangles [P, 4] inside the picture, the best first."""
    left, top, right, bottom = box
    width, height = size
    corners = [
        *((x, y) for y in (top - height, top, bottom) for x in (left, right - width)),
        (right, top),
        (left - width, top),
        *((x, bottom - height) for x in (left, right - width)),
    ]
    starts = np.clip(np.asarray(corners, np.float64), 0, np.maximum(np.subtract(picture, size), 0))
    return np.concatenate([starts, starts + size], axis=1)


def _hidden(places: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each place the sum of the shares of the others that it hides, [P]."""
    low = np.maximum(places[:, None, :2], others[None, :, :2])  # [P, N, 2]
    high = np.minimum(places[:, None, 2:], others[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(2)
    areas = (others[:, 2:] - others[:, :2]).prod(1)
    shares: NDArray[np.float64] = (common / np.maximum(areas, 1)).sum(1)
    return shares
