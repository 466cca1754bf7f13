"""How a cache keeps the images of a split while it is built: decoded, as their files are, or not at all."""

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from spnas_detect.data._base import ImageRecord
from spnas_detect.data.cache.content import CachedImage, pixel_digest
from spnas_detect.data.cache.files import PIXELS, TRANSPOSED, PixelFile
from spnas_detect.data.cache.packing import PACK, PackFile, as_png, packed_size
from spnas_detect.data.canvases import Orientation, Size, is_transposed
from spnas_detect.data.fitting import fit_record, locate_record, read_for_canvas
from spnas_detect.data.images import ImageFile

ELSEWHERE = -1
"""Where an image begins in a pack that does not hold it."""


class Store(Protocol):
    """Takes in the images of a split; a context, which completes its files."""

    def add(self, index: int, record: ImageRecord) -> CachedImage:
        """Read an image and keep what the cache keeps of it; called by several threads at once.

        Raises:
            DataError: it does not decode.
            OSError: it cannot be written.
        """

    def finish(self, kept: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Leave only some images, once all have been added.

        Args:
            kept: indices of those that stay, ascending.

        Returns:
            Where each of them is found again: arrays with a row per image.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class DecodedStore:
    """Keeps images decoded and resized, those of the transposed canvas in a file of their own.

    Each has its row by what its annotation says of its size; one that turns out to be of the other orientation goes to
    the end.

    Args:
        folder: of the split.
        records: its images.
        image_size: (width, height) of the canvas.
        orientation: whether there is a transposed one, too.
        is_reduced: whether JPEGs are decoded at a part of their size, where that is enough.
    """

    def __init__(
        self,
        folder: Path,
        records: Sequence[ImageRecord],
        image_size: Size,
        orientation: Orientation,
        *,
        is_reduced: bool = False,
    ) -> None:
        self._size, self._orientation, self._is_reduced = image_size, orientation, is_reduced
        self._expected = np.fromiter(
            (is_transposed((one.width, one.height), image_size, orientation) for one in records), np.bool_, len(records)
        )
        self._transposed = self._expected.copy()
        self._rows = np.where(self._expected, self._expected.cumsum(), (~self._expected).cumsum()) - 1
        self._ends = {side: int((self._expected == side).sum()) for side in (False, True)}
        self._lock = Lock()
        with ExitStack() as stack:
            self._files = {False: stack.enter_context(PixelFile(folder / PIXELS, self._ends[False], image_size))}
            if orientation == "either":
                other = PixelFile(folder / TRANSPOSED, self._ends[True], image_size[::-1])
                self._files[True] = stack.enter_context(other)
            self._stack = stack.pop_all()

    def add(self, index: int, record: ImageRecord) -> CachedImage:
        """Decode an image, and write it as it lies in its canvas."""
        image, whole = read_for_canvas(record, self._size, self._orientation, is_reduced=self._is_reduced)
        pixels, fitted = fit_record(record, image, self._size, self._orientation, whole)
        if fitted.is_transposed != self._expected[index]:
            with self._lock:
                self._transposed[index] = fitted.is_transposed
                self._rows[index] = self._ends[fitted.is_transposed]
                self._ends[fitted.is_transposed] += 1
        self._files[fitted.is_transposed].write(int(self._rows[index]), pixels)
        return CachedImage(fitted, pixel_digest(image))

    def finish(self, kept: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Shorten the files by what is not kept."""
        chosen = np.asarray(kept, np.int64)
        rows, transposed = self._rows[chosen], self._transposed[chosen]
        for side, file in self._files.items():
            mine = transposed == side
            left = sorted(rows[mine].tolist())
            if left != list(range(self._ends[side])) or self._ends[side] != (self._expected == side).sum():
                file.keep(left)
                rows[mine] = [bisect_left(left, row) for row in rows[mine].tolist()]
        return {"rows": rows, "transposed": transposed}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


class EncodedStore:
    """Keeps images as their files are, or only where these files lie; what comes from no file is kept as PNG.

    Args:
        folder: of the split.
        records: its images.
        image_size: (width, height) of the canvas.
        orientation: whether there is a transposed one, too.
        root: folder that all files of the data set lie in.
        packs_files: whether the files' bytes are kept.
        is_reduced: whether JPEGs are decoded at a part of their size, where that is enough.
    """

    def __init__(
        self,
        folder: Path,
        records: Sequence[ImageRecord],
        image_size: Size,
        orientation: Orientation,
        *,
        root: Path,
        packs_files: bool,
        is_reduced: bool = False,
    ) -> None:
        self._is_reduced = is_reduced
        self._size, self._orientation, self._root, self._packs_files = image_size, orientation, root, packs_files
        count = len(records)
        self._starts, self._lengths = np.full(count, ELSEWHERE), np.zeros(count, np.int64)
        self._max_pixels, self._turned = np.zeros(count, np.int64), np.zeros(count, np.bool_)
        self._transposed = np.zeros(count, np.bool_)
        self._paths: list[str] = [""] * count
        self._file = PackFile(folder / PACK, sum(packed_size(one) for one in records if self._packs(one)))

    def _packs(self, record: ImageRecord) -> bool:
        return self._packs_files or not isinstance(record.read, ImageFile)

    def add(self, index: int, record: ImageRecord) -> CachedImage:
        """Decode an image, and keep what it takes to do so again."""
        source, content = record.read, b""
        if isinstance(source, ImageFile):
            content = source.content()
            image, whole = read_for_canvas(
                record, self._size, self._orientation, is_reduced=self._is_reduced, content=content
            )
            self._turned[index], self._max_pixels[index] = source.turned, source.max_pixels
            self._paths[index] = str(source.path.relative_to(self._root))
        else:
            image, whole = read_for_canvas(record, self._size, self._orientation)
            content = as_png(image)
            self._max_pixels[index] = image.shape[0] * image.shape[1]
        fitted = locate_record(record, whole, self._size, self._orientation)
        self._transposed[index] = fitted.is_transposed
        if self._packs(record):
            self._starts[index], self._lengths[index] = self._file.add(content), len(content)
        return CachedImage(fitted, pixel_digest(image))

    def finish(self, kept: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Tell where the images are; those that do not decode were never added."""
        chosen = np.asarray(kept, np.int64)
        paths = [self._paths[index].encode("utf-8", "surrogateescape") for index in kept]
        return {
            "starts": self._starts[chosen],
            "lengths": self._lengths[chosen],
            "max_pixels": self._max_pixels[chosen],
            "turned": self._turned[chosen],
            "transposed": self._transposed[chosen],
            "paths": np.frombuffer(b"".join(paths), np.uint8),
            "path_ends": np.cumsum([len(path) for path in paths], dtype=np.int64),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, trace)
