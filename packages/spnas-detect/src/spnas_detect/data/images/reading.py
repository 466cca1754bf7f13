"""Decoding image files, and images whose bytes were read before."""

import os
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

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

Size = tuple[int, int]

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

    def size(self) -> Size:
        """Return the (width, height) that it is decoded to; see ``image_size``."""
        return image_size(self.path, turned=self.turned)

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

    def reduced(self, needed: Callable[[Size], Size], content: bytes | None = None) -> tuple[NDArray[np.uint8], Size]:
        """Decode a JPEG at a half, a quarter or an eighth of its size, where that has all pixels that are needed.

        What is decoded so is resized here: a last row or column of which the image has only a part counts for that.

        Args:
            needed: gives the (width, height) that are, by those of the image.
            content: the file's bytes, where they were read before.

        Returns:
            uint8[h, w, 3] RGB, of the size that is needed or whole, and the (width, height) of the whole image.

        Raises:
            DataError: see ``read_image``.
        """
        return _read(self.path, self.turned, self.max_pixels, content, needed)

    def decode(self, content: bytes) -> NDArray[np.uint8]:
        """Decode the file's bytes, which were read before; see ``read_image``."""
        return read_image(self.path, turned=self.turned, max_pixels=self.max_pixels, content=content)


def common_folder(files: Iterable[Path]) -> Path:
    """Return the deepest folder that holds all of some files, ``/`` where there are none.

    Names below it stay what they are when a data set is moved.
    """
    folders = {str(file.parent) for file in files}
    return Path(os.path.commonpath(folders)) if folders else Path("/")


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
    return _read(path, turned, max_pixels, content, None)[0]


def _read(
    path: Path, turned: bool, max_pixels: int, content: bytes | None, needed: Callable[[Size], Size] | None
) -> tuple[NDArray[np.uint8], Size]:
    """Decode an image file, and return its whole (width, height), too; see ``read_image`` and ``ImageFile.reduced``."""
    with opened(path, max_pixels, content) as image:
        of_pillow = turns_itself(image)
        orientation = stored_orientation(image, path, content) if turned or of_pillow else 1
        width, height = image.size
        whole = turned_size(image.size, orientation)
        wanted = None if needed is None else turned_size(needed(whole), orientation)  # before it is turned
        box = _drafted(image, wanted) if wanted is not None else None
        with unlimited() if width * height > _PILLOWS_LIMIT else nullcontext():
            pixels = rgb(image, partial(_reopened, path, content))
    if box is not None:
        pixels = np.asarray(Image.fromarray(pixels).resize(cast("Size", wanted), Image.Resampling.BILINEAR, box))
    if not of_pillow:
        return turn(pixels, orientation), whole
    pixels = pixels if turned else turn(pixels, inverse(orientation))
    return pixels, (pixels.shape[1], pixels.shape[0])


def _drafted(image: Image.Image, wanted: Size) -> tuple[float, float, float, float] | None:
    """Have a JPEG decoded at a part of its size, where that is enough.

    Returns:
        (x1, y1, x2, y2), what of the decoded image the whole one has filled; None where it is decoded as it is.
    """
    size = image.size
    found = image.draft(None, wanted) if isinstance(image, JpegImageFile) else None
    return found[1] if found is not None and image.size != size else None


def _reopened(path: Path, content: bytes | None) -> Image.Image:
    return Image.open(path if content is None else BytesIO(content))


def image_size(path: Path, *, turned: bool = True) -> tuple[int, int]:
    """Return the (width, height) that ``read_image`` gives, from the file's header.

    Raises:
        DataError: the file is missing or no image.
    """
    header = read_header(path)
    return turned_size(header.size, header.orientation) if turned else header.size
