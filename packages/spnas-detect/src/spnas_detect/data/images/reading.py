"""Decoding image files."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spnas_detect.data.images.opening import (
    MAX_PIXELS,
    opened,
    read_header,
    stored_orientation,
    turns_itself,
    unlimited,
)
from spnas_detect.data.images.orientation import inverse, turn, turned_size
from spnas_detect.data.images.pixels import rgb

_PILLOWS_LIMIT = 2**26  # pixels, below which none of its warnings comes


def read_image(path: Path, *, turned: bool = True, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode an image file to uint8[H, W, 3] RGB; ``pixels.py`` has what becomes of which kind of image.

    Args:
        path: of the file.
        turned: whether an orientation that EXIF notes is applied, as viewers do; else the pixels lie as stored.
        max_pixels: images with more are not decoded.

    Raises:
        DataError: the file is missing, does not decode, or is larger than ``max_pixels``.
    """
    with opened(path, max_pixels) as image:
        of_pillow = turns_itself(image)
        orientation = stored_orientation(image, path) if turned or of_pillow else 1
        width, height = image.size
        with unlimited() if width * height > _PILLOWS_LIMIT else nullcontext():
            pixels = rgb(image, partial(Image.open, path))
    if of_pillow:
        return pixels if turned else turn(pixels, inverse(orientation))
    return turn(pixels, orientation)


def image_size(path: Path, *, turned: bool = True) -> tuple[int, int]:
    """Return the (width, height) that ``read_image`` gives, from the file's header.

    Raises:
        DataError: the file is missing or no image.
    """
    header = read_header(path)
    return turned_size(header.size, header.orientation) if turned else header.size
