"""Boxes with labels on an image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from spnas_core.commands.wording import printable
from spnas_detect.drawing.colours import IGNORED, Colour, class_colour, text_colour
from spnas_detect.drawing.fonts import Font, Lettering
from spnas_detect.drawing.labels import Rectangle, place_labels
from spnas_detect.drawing.style import Style, enlargement

_LARGEST_SHARE = 0.2  # of a box's shorter side that its line may take
_ELLIPSIS = "…"


@dataclass(frozen=True)
class DrawnBox:
    """One box to draw.

    Attributes:
        box: x1, y1, x2, y2 in pixels of the image.
        label: 1…C; its colour follows from it.
        score: of a detection, written behind the name; None writes none.
        remark: written behind all else, for example ``missed``.
        ignored: whether it is grey, since it does not count.
    """

    box: tuple[float, float, float, float]
    label: int
    score: float | None = None
    remark: str = ""
    ignored: bool = False

    @property
    def colour(self) -> Colour:
        """Its class's, or grey."""
        return IGNORED if self.ignored else class_colour(self.label)


def draw_boxes(image: NDArray[np.uint8], boxes: Sequence[DrawnBox], classes: Sequence[str]) -> Image.Image:
    """Draw boxes with names and scores on an image.

    Lines and letters grow with the image, and shrink where the objects are small. An image whose longer side is below
    480 px is enlarged by a whole number first: small images have no room for text.

    Args:
        image: uint8[H, W, 3] RGB; left as it is.
        boxes: the important ones first: where boxes or labels overlap, they lie on top.
        classes: names of the labels 1…C; a name that no font here can write becomes ``class`` and its number.

    Returns:
        The picture, a whole number of times as large as the image.
    """
    height, width = image.shape[:2]
    factor = enlargement(width, height)
    picture = Image.fromarray(image)
    if factor > 1:
        picture = picture.resize((width * factor, height * factor), Image.Resampling.BICUBIC)
    rectangles = [_rectangle(item.box, factor, picture.size) for item in boxes]
    style = Style.of(*picture.size, [min(right - left, bottom - top) for left, top, right, bottom in rectangles])
    draw = ImageDraw.Draw(picture)
    for item, rectangle in reversed(list(zip(boxes, rectangles, strict=True))):
        _outline(draw, rectangle, item.colour, style.line)
    _write_labels(draw, boxes, rectangles, _Labels(boxes, classes, style, picture.width))
    return picture


class _Labels:
    """The texts of all labels, in letters that fit into the picture."""

    def __init__(self, boxes: Sequence[DrawnBox], classes: Sequence[str], style: Style, room: int) -> None:
        plain = [printable(name) for name in classes]  # a line end, for one, has no width that one could measure
        lettering = Lettering(plain)
        names = [lettering.writable(name, f"class {label}") for label, name in enumerate(plain, 1)]
        self.padding = style.padding
        self.font = lettering.font(style.text)
        self.texts = [_text(names[item.label - 1], item, self.font, room - 2 * self.padding) for item in boxes]
        ascent, descent = self.font.getmetrics()
        self.height = ascent + descent + 2 * self.padding

    def sizes(self) -> list[tuple[int, int]]:
        """(width, height) of each label in pixels."""
        return [(math.ceil(self.font.getlength(text)) + 2 * self.padding, self.height) for text in self.texts]


def _write_labels(
    draw: ImageDraw.ImageDraw, boxes: Sequence[DrawnBox], rectangles: Sequence[Rectangle], labels: _Labels
) -> None:
    places = place_labels(rectangles, labels.sizes(), draw.im.size)
    for item, text, (left, top, right, bottom) in reversed(list(zip(boxes, labels.texts, places, strict=True))):
        draw.rectangle((left, top, right - 1, bottom - 1), fill=item.colour)
        draw.text((left + labels.padding, top + labels.padding), text, fill=text_colour(item.colour), font=labels.font)


def _outline(draw: ImageDraw.ImageDraw, rectangle: Rectangle, colour: Colour, line: int) -> None:
    """Draw a box with a thin dark edge on both sides, so that it shows on a ground of its own colour."""
    left, top, right, bottom = rectangle
    thickness = max(1, min(line, int(_LARGEST_SHARE * min(right - left, bottom - top))))
    edge = max(1, thickness // 4)
    dark = tuple(part // 4 for part in colour)
    if thickness > 1:
        draw.rectangle(
            (left - edge, top - edge, right - 1 + edge, bottom - 1 + edge), outline=dark, width=thickness + 2 * edge
        )
    draw.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=thickness)


def _rectangle(box: tuple[float, float, float, float], factor: int, picture: tuple[int, int]) -> Rectangle:
    """Round a box to pixels of the picture, at least one in each direction."""
    left, top, right, bottom = (round(side * factor) for side in box)
    left, top = max(0, min(left, picture[0] - 1)), max(0, min(top, picture[1] - 1))
    return left, top, min(max(right, left + 1), picture[0]), min(max(bottom, top + 1), picture[1])


def _text(name: str, item: DrawnBox, font: Font, room: int) -> str:
    """Put a label's text together; a name that is too wide for the picture is cut, score and remark are not."""
    score = "" if item.score is None else f"{item.score:.2f}"
    tail = "".join(f" {part}" for part in (score, item.remark) if part)
    if font.getlength(name + tail) <= room:
        return name + tail
    while name and font.getlength(name + _ELLIPSIS + tail) > room:
        name = name[:-1]
    return name + _ELLIPSIS + tail
