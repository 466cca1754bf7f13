"""Turning pixels by the orientation that EXIF notes, and the rule that says when.

Cameras store what the sensor saw, and note how to hold it. Labelling tools show the turned image or the stored one, and
nothing in an annotation says which, but for its size: an image stored as 400x300 with a note to turn it by 90 degrees
was annotated turned where the annotation says 300x400, and as stored where it says 400x300. Where sizes cannot tell
(square images, 180 degrees, mirrored ones, no annotated size) the majority of those images of the data set decides of
which they can, and without any, or with as many on both sides, pixels are turned, as every viewer does.
"""

from collections.abc import Iterable
from enum import Enum

import numpy as np
from numpy.typing import NDArray

_INVERSE = {6: 8, 8: 6}


class Evidence(Enum):
    """What an annotated size says of the orientation."""

    TURNED = "turned"
    STORED = "stored"
    NONE = "none"


def turn(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn pixels [H, W, 3] as an orientation of 1…8 asks: [W, H, 3] from 5 on."""
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    # 5 mirrors at the main diagonal and is done; 6 turns clockwise, 8 counter-clockwise, 7 is 5 turned by 180 degrees
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def inverse(orientation: int) -> int:
    """Return the orientation that undoes another."""
    return _INVERSE.get(orientation, orientation)


def turned_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return the (width, height) that an image has when it is turned."""
    return (size[1], size[0]) if orientation >= 5 else size


def evidence(stored: tuple[int, int], orientation: int, annotated: tuple[int, int] | None) -> Evidence:
    """Say what an annotated (width, height) tells of an image with an orientation.

    Args:
        stored: the image's (width, height) as stored.
        orientation: 2…8.
        annotated: the size that the annotation has; None for none.
    """
    turned = turned_size(stored, orientation)
    if turned == stored or annotated not in {turned, stored}:
        return Evidence.NONE
    return Evidence.TURNED if annotated == turned else Evidence.STORED


def majority_turns(found: Iterable[Evidence]) -> bool:
    """Say whether images without evidence of their own are turned: unless most of the others are as stored."""
    items = list(found)
    return items.count(Evidence.TURNED) >= items.count(Evidence.STORED)
