"""Opening image files, and what their headers say; no pixel is decoded here."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from spnas_core.errors import DataError
from spnas_detect.data.images.headers import ordinary_size, trailing_exif
from spnas_detect.data.images.orientation import turned_size
from spnas_detect.data.images.pixels import special_kinds

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
"""What counts as an image in a folder."""

MAX_PIXELS = 2**28
"""Images with more pixels are not decoded unless an option says otherwise: 268 megapixels, 0.8 GB as RGB."""

_ORIENTATION = 0x0112
_LIMIT = threading.Lock()


@dataclass(frozen=True)
class ImageHeader:
    """What an image file says before its pixels.

    Attributes:
        size: (width, height) as stored, in pixels.
        orientation: 1…8 as EXIF defines it; 1 where nothing is to be turned.
        kinds: what about its pixels needs a choice, keys of ``pixels.KINDS``; mostly nothing.
    """

    size: tuple[int, int]
    orientation: int = 1
    kinds: tuple[str, ...] = ()


def read_header(path: Path) -> ImageHeader:
    """Read an image file's header.

    Raises:
        DataError: the file is missing or no image.
    """
    size = ordinary_size(path)
    if size is not None:
        return ImageHeader(size)
    with opened(path) as image:
        orientation = stored_orientation(image, path)
        # Pillow gives the size of a TIFF as turned already
        size = turned_size(image.size, orientation) if turns_itself(image) else image.size
        return ImageHeader(size, orientation, special_kinds(image))


def turns_itself(image: Image.Image) -> bool:
    """Say whether Pillow applies the orientation itself when it decodes the image."""
    return image.format == "TIFF"


def stored_orientation(image: Image.Image, path: Path, content: bytes | None = None) -> int:
    """Return the orientation 1…8 that an opened image notes in EXIF or XMP; 1 where that is damaged, too."""
    try:
        if image.format == "PNG" and "exif" not in image.info:
            trailing = trailing_exif(path, content)
            if trailing is not None:
                image.info["exif"] = trailing
        # the method of PNG images would decode them, to look behind their pixels
        found = (
            Image.Image.getexif(image).get(_ORIENTATION, 1)
            if image.format == "PNG"
            else image.getexif().get(_ORIENTATION, 1)
        )
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - as below
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


@contextmanager
def opened(path: Path, max_pixels: int | None = None, content: bytes | None = None) -> Iterator[Image.Image]:
    """Open an image file, and word whatever goes wrong until it is closed.

    Args:
        path: of the file.
        max_pixels: refuse more than these; None leaves that to whoever decodes.
        content: the file's bytes, where they were read before.

    Raises:
        DataError: the file is missing, damaged, no image, or too large.
    """
    try:
        with unlimited():
            image = Image.open(path if content is None else BytesIO(content))
        with image:
            if max_pixels is not None:
                _check_pixels(path, image.size, max_pixels)
            yield image
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"image {path} does not exist") from None
    except UnidentifiedImageError:  # which would name whatever stands in for the file
        raise DataError(f"image {path} does not decode: cannot identify image file {str(path)!r}") from None
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - Pillow's plugins report damaged files as whatever they like
        raise DataError(f"image {path} does not decode: {error}") from None


def _check_pixels(path: Path, size: tuple[int, int], most: int) -> None:
    width, height = size
    if width * height > most:
        raise DataError(
            f"image {path} has {width}x{height} = {width * height} pixels, more than max_pixels = {most}: raise the "
            "option max_pixels, or make the image smaller"
        )


@contextmanager
def unlimited() -> Iterator[None]:
    """Lift Pillow's own limit, which is one number for the whole process and warns before it refuses."""
    with _LIMIT:
        known = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = known
