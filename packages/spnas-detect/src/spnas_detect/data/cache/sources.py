"""Where the pixels of a cached split come from: read as they lie in their canvas, or decoded when they are wanted."""

import os
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spnas_core.errors import DataError
from spnas_detect.data.cache.content import pixel_digest
from spnas_detect.data.cache.files import PIXELS, TRANSPOSED
from spnas_detect.data.cache.packing import PACK
from spnas_detect.data.cache.stores import ELSEWHERE
from spnas_detect.data.canvases import Size, common_canvas
from spnas_detect.data.fitting import letterbox
from spnas_detect.data.images import ImageFile
from spnas_detect.data.seen import KEPT_BYTES

Stored = Mapping[str, NDArray[Any]]
"""Arrays with a row per image."""

_Stamp = tuple[int, int]
"""Size and time of a file."""

PARSING = Lock()
"""Held while NumPy reads a header: it does so by Python's parser, which threads can break in Python 3.11
(python/cpython#106905)."""


def _mapped(file: Path) -> NDArray[np.uint8]:
    with PARSING:
        mapped: NDArray[np.uint8] = np.load(file, mmap_mode="r")
    return mapped


class PixelSource(Protocol):
    """Gives the images of a split."""

    def images(self, indices: NDArray[np.int64]) -> Tensor:
        """Return uint8[n, 3, H, W], each at the top left, in the least canvas that holds all of theirs."""


class DecodedPixels:
    """Images that lie decoded on the disk, mapped into memory.

    Args:
        folder: of the split.
        stored: the split's arrays.
        image_size: (width, height) of the canvas.

    Raises:
        ValueError: the files hold other images than the arrays.
    """

    def __init__(self, folder: Path, stored: Stored, image_size: Size) -> None:
        self._rows, self._transposed, self._size = stored["rows"], stored["transposed"], image_size
        self._pixels: dict[bool, NDArray[np.uint8]] = {False: _mapped(folder / PIXELS)}
        if (folder / TRANSPOSED).exists():
            self._pixels[True] = _mapped(folder / TRANSPOSED)
        for side in (False, True):
            held, wanted = len(self._pixels.get(side, ())), int((self._transposed == side).sum())
            if held != wanted:
                raise ValueError(f"{folder.name} holds {held} images of {wanted}")

    def images(self, indices: NDArray[np.int64]) -> Tensor:
        """Copy images out of the files."""
        rows, transposed = self._rows[indices], self._transposed[indices]
        if not transposed.any() or transposed.all():
            return torch.from_numpy(self._pixels[bool(transposed.any())][rows])
        width, height = common_canvas(transposed, self._size)
        canvases = np.zeros((len(rows), 3, height, width), np.uint8)
        for canvas, row, side in zip(canvases, rows, transposed, strict=True):
            pixels = self._pixels[bool(side)][row]
            canvas[:, : pixels.shape[1], : pixels.shape[2]] = pixels
        return torch.from_numpy(canvases)


class EncodedPixels:
    """Images that are decoded and resized each time: from a pack of files, or from the data set's own.

    Args:
        folder: of the split.
        names: of the images, for messages.
        stored: the split's arrays.
        image_size: (width, height) of the canvas.
        root: folder that the data set's files lie in.
        is_reduced: whether JPEGs are decoded at a part of their size, where that is enough.

    Raises:
        ValueError: the pack is shorter than the arrays say.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        stored: Stored,
        image_size: Size,
        root: Path,
        *,
        is_reduced: bool = False,
    ) -> None:
        self._is_reduced = is_reduced
        self._names, self._stored, self._size, self._root = names, stored, image_size, root
        self._transposed = stored["transposed"]
        self._paths = stored["paths"].tobytes()
        self._checked: dict[int, _Stamp] = {}
        self._pack = os.open(folder / PACK, os.O_RDONLY)
        weakref.finalize(self, os.close, self._pack)
        held, wanted = os.fstat(self._pack).st_size, int((stored["starts"] + stored["lengths"]).max(initial=0))
        if held < wanted:
            raise ValueError(f"{folder.name} holds {held} bytes of {wanted}")

    def images(self, indices: NDArray[np.int64]) -> Tensor:
        """Decode images, by as many threads as torch would compute with."""
        transposed = self._transposed[indices]
        width, height = common_canvas(transposed, self._size)
        canvases = torch.zeros(len(transposed), 3, height, width, dtype=torch.uint8)

        def place(canvas: Tensor, index: int) -> None:
            pixels = self._fitted(index)
            canvas[:, : pixels.shape[1], : pixels.shape[2]] = pixels

        threads = min(torch.get_num_threads(), len(canvases))
        if threads <= 1:
            for canvas, index in zip(canvases, indices.tolist(), strict=True):
                place(canvas, index)
            return canvases
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                list(pool.map(place, canvases, indices.tolist()))
        finally:
            torch.set_num_threads(torch.get_num_threads())  # what threads that start later take theirs from
        return canvases

    def _fitted(self, index: int) -> Tensor:
        image, whole = self._decoded(index)
        canvas = self._size[::-1] if self._transposed[index] else self._size
        return letterbox(image, canvas, whole)[0]

    def _decoded(self, index: int) -> tuple[NDArray[np.uint8], Size]:
        start, length = int(self._stored["starts"][index]), int(self._stored["lengths"][index])
        end = int(self._stored["path_ends"][index])
        path = self._paths[int(self._stored["path_ends"][index - 1]) if index else 0 : end]
        source = ImageFile(
            self._root / path.decode("utf-8", "surrogateescape") if path else Path(self._names[index]),
            turned=bool(self._stored["turned"][index]),
            max_pixels=int(self._stored["max_pixels"][index]),
        )
        stamp = _stamp(source.path) if start == ELSEWHERE else None
        content = source.content() if stamp else _read_at(self._pack, start, length)
        if self._is_reduced:
            width, height = self._stored["resized"][index].tolist()
            image, whole = source.reduced(lambda _: (width, height), content)
        else:
            image = source.decode(content)
            whole = image.shape[1], image.shape[0]
        if stamp and self._checked.get(index) != stamp:
            self._check(index, image, whole)
            self._checked[index] = stamp
        return image, whole

    def _check(self, index: int, image: NDArray[np.uint8], whole: Size) -> None:
        """Refuse an image of the data set that is not the one of before.

        What a file holds is compared when it is first read, and again where its time or size has changed since.
        """
        name, advice = self._names[index], "leave the data as it is while it is used, and begin anew"
        width, height = self._stored["sizes"][index].tolist()
        if whole != (width, height):
            was = f"was {width}x{height} when the data was read, and is {whole[0]}x{whole[1]} now"
            raise DataError(f"image {name} {was}: {advice}")
        if pixel_digest(image)[:KEPT_BYTES] != self._stored["digests"][index].tobytes():
            raise DataError(f"image {name} shows something else than when the data was read: {advice}")


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return 0, 0  # whoever reads it says why it cannot be read
    return status.st_size, status.st_mtime_ns


def _read_at(descriptor: int, position: int, length: int) -> bytes:
    found = os.pread(descriptor, length, position)
    while len(found) < length:
        part = os.pread(descriptor, length - len(found), position + len(found))
        if not part:
            raise DataError("the image cache was shortened while it was used: remove its folder, and begin anew")
        found += part
    return found
