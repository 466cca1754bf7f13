"""Decoding image files, and images whose bytes were read before."""

import os
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spnas_core.errors import DataError
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


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image file and how it is decoded: called, it gives uint8[H, W, 3] RGB.

    Attributes:
        path: of the file.
        turned: whether an orientation that EXIF notes is applied.
        max_pixels: images with more are not decoded.
    """

    path: Path
    turned: bool = True
    max_pixels: int = MAX_PIXELS

    def __call__(self) -> NDArray[np.uint8]:
        """Decode the file; see ``read_image``."""
        return read_image(self.path, turned=self.turned, max_pixels=self.max_pixels)

    def content(self) -> bytes:
        """Read the file's bytes.

        Raises:
            DataError: the file is missing or cannot be read.
        """
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            raise DataError(f"image {self.path} does not exist") from None
        except OSError as error:
            raise DataError(f"image {self.path} does not decode: {error}") from None

    def decode(self, content: bytes) -> NDArray[np.uint8]:
        """Decode the file's bytes, which were read before; see ``read_image``."""
        return read_image(self.path, turned=self.turned, max_pixels=self.max_pixels, content=content)


def common_folder(files: Iterable[Path]) -> Path:
    """Return the deepest folder that holds all of some files, ``/`` where there are none.

    Names below it stay what they are when a data set is moved.
    """
    folders = [str(file.parent) for file in files]
    # what the first and the last in order have in common, all in between have
    return Path(os.path.commonpath([min(folders), max(folders)])) if folders else Path("/")


def read_image(
    path: Path, *, turned: bool = True, max_pixels: int = MAX_PIXELS, content: bytes | None = None
) -> NDArray[np.uint8]:
    """Decode an image file to uint8[H, W, 3] RGB; ``pixels.py`` has what becomes of which kind of image.

    Args:
        path: of the file.
        turned: whether an orientation that EXIF notes is applied, as viewers do; else the pixels lie as stored.
        max_pixels: images with more are not decoded.
        content: the file's bytes, where they were read before; messages alone need its path then.

    Raises:
        DataError: the file is missing, does not decode, or is larger than ``max_pixels``.
    """
    with opened(path, max_pixels, content) as image:
        of_pillow = turns_itself(image)
        orientation = stored_orientation(image, path, content) if turned or of_pillow else 1
        width, height = image.size
        with unlimited() if width * height > _PILLOWS_LIMIT else nullcontext():
            pixels = rgb(image, partial(_reopened, path, content))
    if of_pillow:
        return pixels if turned else turn(pixels, inverse(orientation))
    return turn(pixels, orientation)


def _reopened(path: Path, content: bytes | None) -> Image.Image:
    return Image.open(path if content is None else BytesIO(content))


def image_size(path: Path, *, turned: bool = True) -> tuple[int, int]:
    """Return the (width, height) that ``read_image`` gives, from the file's header.

    Raises:
        DataError: the file is missing or no image.
    """
    header = read_header(path)
    return turned_size(header.size, header.orientation) if turned else header.size
