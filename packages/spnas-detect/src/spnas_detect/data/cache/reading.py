"""Caches as they are read: pixels by memory map or decoded, annotations in memory, shared by all workers."""

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spnas_core.errors import MALFORMED, DataError, suggestion
from spnas_detect.data._base import SPLITS, object_areas
from spnas_detect.data.cache.files import INDEX
from spnas_detect.data.cache.modes import MODES, Mode
from spnas_detect.data.cache.sources import PARSING, DecodedPixels, EncodedPixels, PixelSource
from spnas_detect.data.canvases import Orientation
from spnas_detect.data.fitting import to_canvas
from spnas_detect.data.seen import SeenImages

UNTAGGED = -1
"""A box's number of tags where the data has none."""

ANNOTATIONS = "annotations.npz"

_DAMAGES = (OSError, EOFError, zipfile.BadZipFile, *MALFORMED)


class CachedSplit:
    """One split of a cache: pixels from the disk, annotations in memory.

    Boxes are float32[G, 4] of (x1, y1, x2, y2), in original pixels unless said otherwise.

    Attributes:
        names: what messages call the images.
        canvas: (width, height) of the canvas in pixels.
    """

    def __init__(self, data: "CachedData", split: str, names: Sequence[str], tags: Sequence[tuple[str, ...]]) -> None:
        folder = data.folder / split
        self.names: tuple[str, ...] = tuple(names)
        self.canvas = data.image_size
        self._tags = tuple(tags)
        self._opened = data.folder, data.root, split
        with PARSING, np.load(folder / ANNOTATIONS) as stored:
            self._stored: dict[str, NDArray[Any]] = dict(stored)
        if len(self._stored["scales"]) != len(self.names):
            raise ValueError(f"{split} holds {len(self._stored['scales'])} images for {len(self.names)} names")
        if self._stored["tags"].max(initial=UNTAGGED) >= len(self._tags):
            raise ValueError(f"{split} has tags that cache.json does not list")
        self._pixels: PixelSource
        if data.mode == "images":
            self._pixels = DecodedPixels(folder, self._stored, data.image_size)
        else:
            self._pixels = EncodedPixels(
                folder, self.names, self._stored, data.image_size, data.root, is_reduced=data.is_reduced
            )

    def __reduce__(self) -> tuple[Callable[[Path, Path, str], "CachedSplit"], tuple[Path, Path, str]]:
        return _open_split, self._opened

    def __len__(self) -> int:
        return len(self.names)

    def images(self, indices: Sequence[int] | NDArray[np.integer[Any]] | Tensor) -> Tensor:
        """Copy images out of the cache, or decode them, as uint8[n, 3, H, W].

        Their canvas is the split's, or the transposed one where all of them have that; where only some do, it is the
        square that holds both.

        Raises:
            DataError: an image is read from the data set's own file, and that is gone or another one.
        """
        return self._pixels.images(np.asarray(indices, np.int64))

    def is_transposed(self, index: int) -> bool:
        """Whether an image has the transposed canvas."""
        return bool(self._stored["transposed"][index])

    def boxes(self, index: int) -> Tensor:
        """Return an image's boxes as float32[G, 4] in original pixels."""
        return self._rows("boxes", index)

    def labels(self, index: int) -> Tensor:
        """Return an image's labels as int64[G] in 1…C."""
        return self._rows("labels", index)

    def ignore(self, index: int) -> Tensor:
        """Return bool[G], True where a box neither counts as a hit nor as a miss."""
        return self._rows("ignore", index)

    def own_boxes(self, index: int) -> Tensor:
        """Return the objects' own boxes as float32[G, 4] in original pixels: ``boxes`` where the data has no others."""
        return self._rows("own_boxes" if "own_boxes" in self._stored else "boxes", index)

    def areas(self, index: int) -> Tensor:
        """Return float64[G] in square original pixels: as annotated, else those of the boxes."""
        if "areas" in self._stored:
            return self._rows("areas", index)
        return torch.from_numpy(object_areas(self._rows("boxes", index).numpy()))

    def seen(self) -> SeenImages:
        """Return the images as whoever is trained on them remembers them."""
        return SeenImages.of(row.tobytes() for row in self._stored["digests"])

    def objects(self) -> list[int]:
        """Count the boxes of every image that are not ignored."""
        sums = np.concatenate([[0], np.cumsum(~self._stored["ignore"])])
        counts: list[int] = np.diff(sums[self._stored["offsets"]]).tolist()
        return counts

    def tags(self, index: int) -> tuple[tuple[str, ...], ...]:
        """Return one tuple of tags per box of an image, or nothing where the data has no tags."""
        numbers = self._rows("tags", index).tolist()
        return () if UNTAGGED in numbers else tuple(self._tags[number] for number in numbers)

    def canvas_boxes(self, index: int) -> Tensor:
        """Return an image's boxes as float32[G, 4] in pixels of the canvas."""
        return to_canvas(self._rows("boxes", index), self.size(index), self.resized(index))

    def scale(self, index: int) -> float:
        """Return canvas pixels per original pixel, before both sides are rounded to whole ones."""
        return float(self._stored["scales"][index])

    def size(self, index: int) -> tuple[int, int]:
        """Return the original (width, height)."""
        width, height = self._stored["sizes"][index].tolist()
        return width, height

    def resized(self, index: int) -> tuple[int, int]:
        """Return (width, height) of the part of the canvas that the image occupies."""
        width, height = self._stored["resized"][index].tolist()
        return width, height

    def _rows(self, field: str, index: int) -> Tensor:
        if not 0 <= index < len(self.names):
            raise IndexError(index)
        start, stop = self._stored["offsets"][index : index + 2]
        return torch.from_numpy(self._stored[field][start:stop].copy())


class CachedData:
    """A complete cache; pickles as its folder, so workers map the same files.

    Attributes:
        folder: where it lies.
        root: folder that the data set's own files lie in.
        mode: its form.
        choice: why it has that form, where it was chosen and there is something to say.
        spec: of the data set that it was made from.
        classes: names of the labels 1…C.
        notes: those of the data set and of the resizing.
        image_size: (width, height) of the canvas.
        orientation: whether there is a transposed one, too.
        is_reduced: whether JPEGs are decoded at a part of their size, where that is enough.
        fingerprint: of the data set as it lies on the disk.
        content: digest of what training and scoring see: the same wherever the data lies.
        tests_on_validation: whether the test images are the validation images.
    """

    def __init__(self, folder: Path, root: Path | None = None) -> None:
        self.folder = folder
        stored = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        self.root = Path(stored["root"]) if root is None else root
        self.mode: Mode = MODES[MODES.index(stored["mode"])]
        self.choice: str = stored["choice"]
        self.is_reduced: bool = stored["is_reduced"]
        self.orientation: Orientation = "either" if stored["orientation"] == "either" else "fixed"
        self.spec: str = stored["spec"]
        self.classes: tuple[str, ...] = tuple(stored["classes"])
        self.notes: tuple[str, ...] = tuple(stored["notes"])
        self.image_size: tuple[int, int] = (stored["image_size"][0], stored["image_size"][1])
        self.fingerprint: str = stored["fingerprint"]
        self.content: str = stored["content"]
        tags = [tuple(one) for one in stored["tags"]]
        self._splits = {name: CachedSplit(self, name, stored["names"][name], tags) for name in SPLITS}
        self.tests_on_validation: bool = stored["tests_on_validation"]
        if self.tests_on_validation:
            self._splits["test"] = self._splits["validation"]

    def __reduce__(self) -> tuple[Callable[[Path, Path], "CachedData"], tuple[Path, Path]]:
        return open_cache, (self.folder, self.root)

    def split(self, name: str) -> CachedSplit:
        """Return one split.

        Raises:
            DataError: a name other than train, validation, test.
        """
        if name not in self._splits:
            raise DataError(f"there is no split {name!r}{suggestion(name, SPLITS)}")
        return self._splits[name]


def open_cache(folder: Path, root: Path | None = None) -> CachedData:
    """Open a complete cache.

    Args:
        folder: of the cache.
        root: where the data set's files lie; None where they did when the cache was built.

    Raises:
        DataError: the folder is missing, incomplete or damaged.
    """
    if not folder.is_dir():
        raise DataError(f"there is no image cache at {folder}")
    try:
        return CachedData(folder, root)
    except _DAMAGES as error:
        raise DataError(f"the image cache {folder} is damaged: remove the folder ({error})") from None


def _open_split(folder: Path, root: Path, split: str) -> CachedSplit:
    return open_cache(folder, root).split(split)
