"""Two pictures of one image beside each other."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from spnas_detect.drawing.fonts import Lettering

_GROUND = (32, 32, 32)
_TEXT = (240, 240, 240)
_HEADING_SHARE = 0.028  # of the pictures' mean side: height of the heading's letters
_SMALLEST_HEADING = 13


def side_by_side(pictures: Sequence[Image.Image], headings: Sequence[str]) -> Image.Image:
    """Join pictures from left to right, each under its heading.

    Args:
        pictures: of equal size.
        headings: one each; cut where it is wider than its picture.
    """
    width, height = pictures[0].size
    size = max(_SMALLEST_HEADING, round(_HEADING_SHARE * (width * height) ** 0.5))
    font = Lettering(headings).font(size)
    gap, strip = max(2, size // 3), 2 * size
    joined = Image.new("RGB", (len(pictures) * width + (len(pictures) - 1) * gap, height + strip), _GROUND)
    draw = ImageDraw.Draw(joined)
    for index, (picture, heading) in enumerate(zip(pictures, headings, strict=True)):
        left = index * (width + gap)
        text = heading
        while text and font.getlength(text) > width - size:
            text = text[:-1]
        draw.text((left + size // 2, strip // 2), text, fill=_TEXT, font=font, anchor="lm")
        joined.paste(picture, (left, strip))
    return joined
