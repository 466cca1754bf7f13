"""Files of images as they are stored, one behind the other in one file."""

import os
from io import BytesIO
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spnas_detect.data._base import ImageRecord
from spnas_detect.data.cache.files import reserve, write_at
from spnas_detect.data.images import ImageFile

PACK = "images.pack"

_HEADERS = 4096  # bytes that a PNG has besides its pixels, at most


class PackFile:
    """Bytes of many images, written by several threads if need be.

    The space is reserved at once, and what is left of it is given back at the end.

    Args:
        path: of the file, which must not exist.
        most: bytes that all images take together, at most.

    Raises:
        OSError: the file cannot be made, or there is no space for it.
    """

    def __init__(self, path: Path, most: int) -> None:
        self._file = path.open("x+b", buffering=0)
        self._end = 0
        self._lock = Lock()
        try:
            if most:
                reserve(self._file.fileno(), most)
        except BaseException:
            self._file.close()
            raise

    def add(self, content: bytes) -> int:
        """Write an image's bytes; returns where they begin."""
        with self._lock:
            start = self._end
            self._end += len(content)
        write_at(self._file.fileno(), start, memoryview(content))
        return start

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if error is None:
                self._file.truncate(self._end)
                os.fsync(self._file.fileno())


def packed_size(record: ImageRecord) -> int:
    """Count the bytes that an image takes in a pack; at most, where it does not come from a file."""
    if isinstance(record.read, ImageFile):
        try:
            return record.read.path.stat().st_size
        except OSError:  # its fault is told when it is read
            return 0
    rows = record.height * (3 * record.width + 1)
    return rows + rows // 1000 + _HEADERS


def as_png(image: NDArray[np.uint8]) -> bytes:
    """Return the file of an image that comes from none: a PNG, which loses nothing."""
    content = BytesIO()
    Image.fromarray(image).save(content, "PNG", compress_level=1)
    return content.getvalue()
