"""Which canvas an image lies in: the one of the settings, or the same with its sides exchanged."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]
"""(width, height) in pixels."""

Orientation = Literal["fixed", "either"]
"""``fixed``: every image lies in the same canvas. ``either``: one that stands where the canvas lies, or lies where it
stands, gets the transposed canvas."""


def is_transposed(image: Size, canvas: Size, orientation: Orientation) -> bool:
    """Whether an image gets the transposed canvas; square ones do not.

    Example: an image of 480×640 in a canvas of 1344×800 gets 800×1344, and a scale of 1.67 instead of 1.25.
    """
    return orientation == "either" and (image[0] - image[1]) * (canvas[0] - canvas[1]) < 0


def canvas_of(image: Size, canvas: Size, orientation: Orientation) -> Size:
    """Return the (width, height) of the canvas that an image gets."""
    return canvas[::-1] if is_transposed(image, canvas, orientation) else canvas


def common_canvas(transposed: NDArray[np.bool_], canvas: Size) -> Size:
    """Return the least canvas that holds images of which some may lie in the transposed one.

    Args:
        transposed: bool[n], which of them do.
        canvas: that of the others.
    """
    if transposed.all() and len(transposed):
        return canvas[::-1]
    return (max(canvas), max(canvas)) if transposed.any() else canvas
