"""The options of image files, which every kind of data with files has."""

from collections.abc import Mapping
from dataclasses import dataclass

from spnas_core.errors import DataError, suggestion
from spnas_detect.data.images.opening import MAX_PIXELS

IMAGE_OPTIONS = ("exif", "on_fault", "max_pixels")
"""Names of the options."""

_EXIF = ("auto", "apply", "ignore")
_ON_FAULT = ("refuse", "drop")


@dataclass(frozen=True)
class ImageOptions:
    """How image files are read.

    Attributes:
        exif: whether an orientation in EXIF turns the pixels: ``apply`` does, ``ignore`` does not, ``auto`` follows the
            annotated sizes (see ``orientation.py``).
        on_fault: what becomes of images that are missing, do not decode, or have broken annotations: ``refuse`` refuses
            the data set, ``drop`` leaves them out.
        max_pixels: images with more are not decoded.
    """

    exif: str = "auto"
    on_fault: str = "refuse"
    max_pixels: int = MAX_PIXELS


def image_options(kind: str, options: Mapping[str, object]) -> ImageOptions:
    """Take the options of image files out of those of a kind of data; None stands for the default.

    Raises:
        DataError: a value that the option cannot have.
    """
    exif, on_fault = (options.get(name) or default for name, default in (("exif", "auto"), ("on_fault", "refuse")))
    for name, value, known in (("exif", exif, _EXIF), ("on_fault", on_fault, _ON_FAULT)):
        if value not in known:
            words = ", ".join(map(repr, known))
            raise DataError(f"{kind} {name} is {value!r}{suggestion(str(value), known)}: it must be one of {words}")
    max_pixels = options.get("max_pixels")
    if max_pixels is None:
        max_pixels = MAX_PIXELS
    if not isinstance(max_pixels, int) or isinstance(max_pixels, bool) or max_pixels < 1:
        raise DataError(f"{kind} max_pixels is {max_pixels!r}: it must be a whole number of pixels, at least 1")
    return ImageOptions(str(exif), str(on_fault), max_pixels)
