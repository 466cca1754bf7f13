"""Images decoded and resized once per run, memory-mapped and shared by all workers.

On disk: ``<folder>/<kind>-<hash>/cache.json`` with, per split, ``images.npy`` (uint8[N, 3, H, W]) and
``annotations.npz``; a box's tags are a number there, of an entry of the list in ``cache.json``. The folder is
written under a temporary name and renamed when it is complete, so a folder under its final name is always whole,
whoever is killed and however many processes build it at once.
"""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional

from spnas_core.errors import DataError, suggestion
from spnas_detect.data._base import SPLITS, DetectionData, ImageRecord, fingerprint

_VERSION = 2  # part of the folder's name: raise it when the layout or the resizing changes
_SPLIT_WORDS = {"train": "training", "validation": "validation", "test": "test"}
_FIELDS = ("boxes", "labels", "ignore", "tags", "offsets", "sizes", "resized", "scales")
_UNTAGGED = -1  # a box's number of tags where the data has none

Progress = Callable[[int, int], None]
"""Called with the number of finished images and of all images."""


def letterbox(image: NDArray[np.uint8], size: tuple[int, int]) -> tuple[Tensor, float]:
    """Fit an image into a canvas, its aspect kept, at the top left, padded with zeros.

    Args:
        image: uint8[h, w, 3].
        size: (width, height) of the canvas.

    Returns:
        uint8[3, H, W], the occupied part only, and the scale from original to canvas pixels.
        Both sides of the occupied part are rounded to whole pixels.
    """
    height, width = image.shape[:2]
    fitted = fitted_size((width, height), size)
    tensor = torch.tensor(image).permute(2, 0, 1)
    scale = min(size[0] / width, size[1] / height)
    if fitted == (width, height):
        return tensor, scale
    return functional.resize(tensor, [fitted[1], fitted[0]], antialias=True), scale


def fitted_size(image: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
    """Return the largest (width, height) of an image's aspect that fits a canvas, in whole pixels."""
    scale = min(canvas[0] / image[0], canvas[1] / image[1])
    width, height = (min(max(round(side * scale), 1), most) for side, most in zip(image, canvas, strict=True))
    return width, height


@dataclass(frozen=True, eq=False)
class FittedRecord:
    """How an image lies in its canvas, and which of its boxes.

    Attributes:
        record: the image.
        size: its (width, height) as decoded.
        resized: (width, height) of what it occupies of the canvas.
        scale: canvas pixels per original pixel.
        kept: bool[G], the record's boxes that have an area inside the decoded image.
        boxes: float32[K, 4], those boxes in original pixels, cut at the image.
    """

    record: ImageRecord
    size: tuple[int, int]
    resized: tuple[int, int]
    scale: float
    kept: NDArray[np.bool_]
    boxes: NDArray[np.float32]


def fit_record(record: ImageRecord, image_size: tuple[int, int]) -> tuple[Tensor, FittedRecord]:
    """Decode an image, fit it into a canvas, and cut its boxes at its pixels.

    Args:
        record: the image.
        image_size: (width, height) of the canvas.

    Returns:
        uint8[3, h, w], the occupied part of the canvas, and where everything is.

    Raises:
        DataError: the image cannot be read.
    """
    try:
        image = record.read()
    except OSError as error:  # a plugin's reader may not translate its errors
        raise DataError(f"image {record.name} cannot be read: {error}") from None
    fitted, scale = letterbox(image, image_size)
    height, width = fitted.shape[1:]
    # the annotation's word on the size may be wrong, the pixels' is not
    limits = np.asarray([image.shape[1], image.shape[0]] * 2, np.float32)
    boxes = np.clip(record.boxes, 0, limits)
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    size = (image.shape[1], image.shape[0])
    return fitted, FittedRecord(record, size, (width, height), scale, kept, boxes[kept])


class CachedSplit:
    """One split of a cache: pixels by memory map, annotations in memory.

    Boxes are float32[G, 4] of (x1, y1, x2, y2), in original pixels unless said otherwise.
    """

    def __init__(self, folder: Path, split: str, names: Sequence[str], tags: Sequence[tuple[str, ...]] = ()) -> None:
        self.names: tuple[str, ...] = tuple(names)
        self._tags = tuple(tags)
        self._folder = folder
        self._split = split
        self._pixels: NDArray[np.uint8] = np.load(folder / split / "images.npy", mmap_mode="r")
        with np.load(folder / split / "annotations.npz") as stored:
            self._stored: dict[str, NDArray[Any]] = {field: stored[field] for field in _FIELDS}
        if len(self._pixels) != len(self.names) or len(self._stored["scales"]) != len(self.names):
            raise ValueError(f"{split} holds {len(self._pixels)} images for {len(self.names)} names")
        if self._stored["tags"].max(initial=_UNTAGGED) >= len(self._tags):
            raise ValueError(f"{split} has tags that cache.json does not list")

    def __reduce__(self) -> tuple[Callable[[Path, str], "CachedSplit"], tuple[Path, str]]:
        return _open_split, (self._folder, self._split)

    def __len__(self) -> int:
        return len(self.names)

    def images(self, indices: Sequence[int] | NDArray[np.integer[Any]] | Tensor) -> Tensor:
        """Copy images out of the cache as uint8[n, 3, H, W]."""
        return torch.from_numpy(self._pixels[np.asarray(indices, np.int64)])

    def boxes(self, index: int) -> Tensor:
        """Return an image's boxes as float32[G, 4] in original pixels."""
        return self._rows("boxes", index)

    def labels(self, index: int) -> Tensor:
        """Return an image's labels as int64[G] in 1…C."""
        return self._rows("labels", index)

    def ignore(self, index: int) -> Tensor:
        """Return bool[G], True where a box neither counts as a hit nor as a miss."""
        return self._rows("ignore", index)

    def tags(self, index: int) -> tuple[tuple[str, ...], ...]:
        """Return one tuple of tags per box of an image, or nothing where the data has no tags."""
        numbers = self._rows("tags", index).tolist()
        return () if _UNTAGGED in numbers else tuple(self._tags[number] for number in numbers)

    def canvas_boxes(self, index: int) -> Tensor:
        """Return an image's boxes as float32[G, 4] in pixels of the canvas."""
        return self._rows("boxes", index) * self.scale(index)

    def scale(self, index: int) -> float:
        """Return canvas pixels per original pixel."""
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
        spec: of the data set that it was made from.
        classes: names of the labels 1…C.
        notes: those of the data set and of the resizing.
        image_size: (width, height) of the canvas.
        fingerprint: of the data set.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        stored = json.loads((folder / "cache.json").read_text(encoding="utf-8"))
        self.spec: str = stored["spec"]
        self.classes: tuple[str, ...] = tuple(stored["classes"])
        self.notes: tuple[str, ...] = tuple(stored["notes"])
        self.image_size: tuple[int, int] = (stored["image_size"][0], stored["image_size"][1])
        self.fingerprint: str = stored["fingerprint"]
        tags = [tuple(one) for one in stored["tags"]]
        self._splits = {name: CachedSplit(folder, name, stored["names"][name], tags) for name in SPLITS}

    def __reduce__(self) -> tuple[Callable[[Path], "CachedData"], tuple[Path]]:
        return open_cache, (self.folder,)

    def split(self, name: str) -> CachedSplit:
        """Return one split.

        Raises:
            DataError: a name other than train, validation, test.
        """
        if name not in self._splits:
            raise DataError(f"there is no split {name!r}{suggestion(name, SPLITS)}")
        return self._splits[name]


def open_cache(folder: Path) -> CachedData:
    """Open a complete cache.

    Raises:
        DataError: the folder is missing, incomplete or damaged.
    """
    if not folder.is_dir():
        raise DataError(f"there is no image cache at {folder}")
    try:
        return CachedData(folder)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(f"the image cache {folder} is damaged: remove the folder ({error})") from None


def _open_split(folder: Path, split: str) -> CachedSplit:
    return open_cache(folder).split(split)


def build_cache(
    data: DetectionData, folder: Path, *, image_size: tuple[int, int], progress: Progress | None = None
) -> CachedData:
    """Decode and resize every image of a data set, or reuse a cache of the same content.

    Args:
        data: the data set.
        folder: the parent of the cache's own folder.
        image_size: (width, height) of the canvas in pixels.
        progress: told after each image.

    Returns:
        The opened cache.

    Raises:
        DataError: a canvas without pixels, a split without a box that counts (an empty validation or test split is
            kept), a label outside the declared classes, an image that does not decode, or a damaged
            cache under the same name.
    """
    if min(image_size) < 1:
        raise DataError(f"image_size {image_size[0]}x{image_size[1]} is empty: both sides must be at least 1")
    kind = data.spec.partition(":")[0]
    digest = fingerprint([_VERSION, data.fingerprint, tuple(image_size)])[:16]
    final = folder / f"{kind}-{digest}"
    if final.exists():
        return open_cache(final)
    for name, split in data.splits.items():
        if (len(split) or name == "train") and not any((~record.ignore).any() for record in split):
            what = "learn from" if name == "train" else "score on"
            raise DataError(
                f"the {_SPLIT_WORDS[name]} split of {data.spec} has no box to {what} in its {len(split)} image(s)"
            )
    folder.mkdir(parents=True, exist_ok=True)
    building = folder / f".{kind}-{digest}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    building.mkdir()
    try:
        _write(data, building, image_size, progress)
        try:
            building.rename(final)
        except OSError:
            if not final.exists():
                raise
            # another process was first: the content is the same
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return open_cache(final)


def _write(data: DetectionData, folder: Path, image_size: tuple[int, int], progress: Progress | None) -> None:
    total = sum(len(data.splits[name]) for name in SPLITS)
    done = 0
    notes = list(data.notes)
    names: dict[str, list[str]] = {}
    tags: dict[tuple[str, ...], int] = {}
    for name in SPLITS:
        split = data.splits[name]
        (folder / name).mkdir()
        shape = (len(split), 3, image_size[1], image_size[0])
        pixels = np.lib.format.open_memmap(folder / name / "images.npy", "w+", np.uint8, shape)
        stored: list[FittedRecord] = []
        for item in _decode(split, pixels, image_size, len(data.classes)):
            stored.append(item)
            done += 1
            if progress is not None:
                progress(done, total)
        pixels.flush()
        if len(split) and not any((item.kept & ~item.record.ignore).any() for item in stored):
            raise DataError(
                f"no box of the {_SPLIT_WORDS[name]} split of {data.spec} lies inside its image: the annotated sizes "
                f"do not belong to these files, first {stored[0].record.name}"
            )
        np.savez(folder / name / "annotations.npz", allow_pickle=False, **_annotations(stored, tags))
        names[name] = [item.record.name for item in stored]
        notes += _size_notes(name, stored)
    content = {
        "version": _VERSION,
        "spec": data.spec,
        "fingerprint": data.fingerprint,
        "classes": data.classes,
        "image_size": image_size,
        "notes": notes,
        "names": names,
        "tags": list(tags),
    }
    (folder / "cache.json").write_text(json.dumps(content), encoding="utf-8")


def _decode(
    split: Sequence[ImageRecord], pixels: NDArray[np.uint8], image_size: tuple[int, int], classes: int
) -> Iterable[FittedRecord]:
    """Fill the memory map with several threads; yields in the order of the split."""

    def one(index: int) -> FittedRecord:
        record = split[index]
        wrong = record.labels[(record.labels < 1) | (record.labels > classes)]
        if len(wrong):
            raise DataError(f"image {record.name} has a box of class {wrong[0]}: the data declares 1…{classes}")
        fitted, item = fit_record(record, image_size)
        pixels[index, :, : fitted.shape[1], : fitted.shape[2]] = fitted.numpy()
        return item

    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, 8))
    try:
        yield from pool.map(one, range(len(split)))
    finally:
        pool.shutdown(cancel_futures=True)


def _annotations(stored: Sequence[FittedRecord], tags: dict[tuple[str, ...], int]) -> dict[str, NDArray[Any]]:
    """Join the images' annotations; tags that are new get the next numbers."""
    counts = [len(item.boxes) for item in stored]
    return {
        "boxes": np.concatenate([np.zeros((0, 4), np.float32), *(item.boxes for item in stored)]),
        "labels": np.concatenate([np.zeros(0, np.int64), *(item.record.labels[item.kept] for item in stored)]),
        "ignore": np.concatenate([np.zeros(0, np.bool_), *(item.record.ignore[item.kept] for item in stored)]),
        "tags": np.concatenate([np.zeros(0, np.int64), *(_tag_numbers(item, tags) for item in stored)]),
        "offsets": np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64),
        "sizes": np.asarray([item.size for item in stored], np.int64).reshape(-1, 2),
        "resized": np.asarray([item.resized for item in stored], np.int64).reshape(-1, 2),
        "scales": np.asarray([item.scale for item in stored], np.float64),
    }


def _tag_numbers(item: FittedRecord, tags: dict[tuple[str, ...], int]) -> NDArray[np.int64]:
    found = item.record.tags
    if not found:
        return np.full(len(item.boxes), _UNTAGGED, np.int64)
    if len(found) != len(item.kept):
        raise DataError(f"image {item.record.name} has {len(item.kept)} boxes and tags for {len(found)}")
    return np.asarray([tags.setdefault(tuple(one), len(tags)) for one in found], np.int64)[item.kept]


def _size_notes(split: str, stored: Sequence[FittedRecord]) -> list[str]:
    wrong = [item for item in stored if item.size != (item.record.width, item.record.height)]
    if not wrong:
        return []
    dropped = sum(int((~item.kept).sum()) for item in wrong)
    first = wrong[0]
    note = (
        f"{len(wrong)} {split} image(s) differ from their annotated size, first {first.record.name}: "
        f"{first.size[0]}x{first.size[1]} instead of {first.record.width}x{first.record.height}; "
        f"{dropped} box(es) outside dropped"
    )
    return [note]
