"""How thick and how large: what makes boxes legible on images of any size."""

import math
from dataclasses import dataclass

DRAWN_SIDE = 480
"""Smaller images are enlarged by a whole number until their longer side has so many pixels: text needs room."""

_LEAST_USUAL = 13
_LEAST = 11


@dataclass(frozen=True)
class Style:
    """Sizes in pixels of the drawn picture.

    Attributes:
        line: thickness of a box.
        text: height of the letters.
        padding: around a label's text.
    """

    line: int
    text: int
    padding: int

    @classmethod
    def of(cls, width: int, height: int, sides: list[float]) -> "Style":
        """Choose the sizes.

        They grow with the square root of the picture's area: 2 px and 13 px at 640x480, 5 px and 28 px at 1920x1080.
        Where most objects are small, letters shrink to half the shorter side of the middle one, but not below half of
        their usual height or 11 px.

        Args:
            width: of the picture.
            height: of the picture.
            sides: the shorter side of each box in it.
        """
        extent = math.sqrt(width * height)
        usual = max(_LEAST_USUAL, round(0.02 * extent))
        text = usual
        if sides:
            middle = sorted(sides)[len(sides) // 2]
            text = max(_LEAST, usual // 2, min(usual, round(middle / 2)))
        line = max(2, round(0.0035 * extent * text / usual))
        return cls(line, text, max(1, text // 6))


def enlargement(width: int, height: int) -> int:
    """Return the whole number by which an image is enlarged before it is drawn on."""
    return max(1, math.ceil(DRAWN_SIDE / max(width, height)))
