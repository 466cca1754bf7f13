"""A split that is decoded while it is read: for scoring once, where a cache would be written to be read once."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spnas_core.machine import usable_cores
from spnas_detect.data._base import ImageRecord
from spnas_detect.data.cache.content import pixel_digest
from spnas_detect.data.canvases import Orientation, common_canvas, is_transposed
from spnas_detect.data.fitting import FittedRecord, announced_size, fit_record, read_for_canvas, to_canvas
from spnas_detect.data.seen import SeenImages


class StreamedSplit:
    """Reads as ``CachedSplit`` does, number for number, without a file on disk.

    Args:
        records: the images.
        image_size: (width, height) of the canvas in pixels.
        orientation: whether images of the other orientation get the transposed canvas.
        is_reduced: whether JPEGs are decoded at a part of their size, where that is enough.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        image_size: tuple[int, int],
        orientation: Orientation = "fixed",
        *,
        is_reduced: bool = False,
    ) -> None:
        self._is_reduced = is_reduced
        self._records = records
        self.canvas = image_size
        self._orientation = orientation
        self._fitted: dict[int, FittedRecord] = {}
        self._digests: dict[int, bytes] = {}
        self._expected: tuple[bool, ...] = ()
        self._workers = min(usable_cores(), 8)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def names(self) -> tuple[str, ...]:
        """What messages call the images."""
        return tuple(record.name for record in self._records)

    def count_seen(self, images: SeenImages) -> int:
        """Count the images decoded so far that are among others."""
        return sum(digest in images for digest in self._digests.values())

    def images(self, indices: Sequence[int] | NDArray[np.integer[Any]] | Tensor) -> Tensor:
        """Decode images into canvases, uint8[n, 3, H, W]; see ``CachedSplit`` for which canvas that is.

        Raises:
            DataError: an image does not decode.
        """
        wanted = np.asarray(indices, np.int64).tolist()
        with ThreadPoolExecutor(self._workers) as pool:
            decoded = list(pool.map(self._decode, wanted))
        transposed = np.array([self._fitted[index].is_transposed for index in wanted], np.bool_)
        width, height = common_canvas(transposed, self.canvas)
        canvases = torch.zeros(len(wanted), 3, height, width, dtype=torch.uint8)
        for canvas, pixels in zip(canvases, decoded, strict=True):
            canvas[:, : pixels.shape[1], : pixels.shape[2]] = pixels
        return canvases

    def is_transposed(self, index: int) -> bool:
        """Whether an image has the transposed canvas: by what is known of its size until it is decoded."""
        if self._orientation == "fixed":
            return False
        if index in self._fitted:
            return self._fitted[index].is_transposed
        if not self._expected:
            with ThreadPoolExecutor(self._workers) as pool:
                sizes = pool.map(announced_size, self._records)
                self._expected = tuple(is_transposed(size, self.canvas, self._orientation) for size in sizes)
        return self._expected[index]

    def boxes(self, index: int) -> Tensor:
        """Return an image's boxes as float32[G, 4] in original pixels."""
        return torch.from_numpy(self._item(index).boxes.copy())

    def labels(self, index: int) -> Tensor:
        """Return an image's labels as int64[G] in 1…C."""
        item = self._item(index)
        return torch.from_numpy(item.record.labels[item.kept])

    def ignore(self, index: int) -> Tensor:
        """Return bool[G], True where a box neither counts as a hit nor as a miss."""
        item = self._item(index)
        return torch.from_numpy(item.record.ignore[item.kept])

    def own_boxes(self, index: int) -> Tensor:
        """Return the objects' own boxes as float32[G, 4] in original pixels: ``boxes`` where the data has no others."""
        return torch.from_numpy(self._item(index).own_boxes.copy())

    def areas(self, index: int) -> Tensor:
        """Return float64[G] in square original pixels: as annotated, else those of the boxes."""
        return torch.from_numpy(self._item(index).areas)

    def tags(self, index: int) -> tuple[tuple[str, ...], ...]:
        """Return one tuple of tags per box of an image, or nothing where the data has no tags."""
        item = self._item(index)
        return tuple(tags for tags, kept in zip(item.record.tags, item.kept, strict=False) if kept)

    def canvas_boxes(self, index: int) -> Tensor:
        """Return an image's boxes as float32[G, 4] in pixels of the canvas."""
        return to_canvas(self.boxes(index), self.size(index), self.resized(index))

    def scale(self, index: int) -> float:
        """Return canvas pixels per original pixel, before both sides are rounded to whole ones."""
        return self._item(index).scale

    def size(self, index: int) -> tuple[int, int]:
        """Return the original (width, height)."""
        return self._item(index).size

    def resized(self, index: int) -> tuple[int, int]:
        """Return (width, height) of the part of the canvas that the image occupies."""
        return self._item(index).resized

    def _item(self, index: int) -> FittedRecord:
        if index not in self._fitted:
            self._decode(index)
        return self._fitted[index]

    def _decode(self, index: int) -> Tensor:
        if not 0 <= index < len(self._records):
            raise IndexError(index)
        record = self._records[index]
        image, whole = read_for_canvas(record, self.canvas, self._orientation, is_reduced=self._is_reduced)
        self._digests[index] = pixel_digest(image)
        pixels, self._fitted[index] = fit_record(record, image, self.canvas, self._orientation, whole)
        return pixels
