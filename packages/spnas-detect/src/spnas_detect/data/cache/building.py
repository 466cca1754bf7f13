"""Decoding and resizing the images of a data set into a cache."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from spnas_detect.data._base import SPLITS, DetectionData, ImageRecord, fingerprint
from spnas_detect.data.cache.content import CachedImage, content_digest, pixel_digest
from spnas_detect.data.cache.files import (
    INDEX,
    PIXELS,
    PixelFile,
    construction,
    pixel_bytes,
    publish,
    unwritable,
)
from spnas_detect.data.cache.reading import ANNOTATIONS, UNTAGGED, CachedData, open_cache
from spnas_detect.data.cache.seals import check_sealed, seal
from spnas_detect.data.checks import SPLIT_WORDS, annotation_faults, check_canvas, emptied_faults, placement_faults
from spnas_detect.data.decoding import decode
from spnas_detect.data.faults import Fault, left_out, refuse
from spnas_detect.data.fitting import FittedRecord, fit_record
from spnas_detect.data.overlaps import find_overlaps, overlap_notes
from spnas_detect.data.seen import KEPT_BYTES

_VERSION = 6  # part of the folder's name: raise it when the layout, decoding, resizing or the checks change

Progress = Callable[[int, int], None]
"""Called with the number of finished images and of all images."""


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
        DataError: a canvas without pixels, annotations that ``annotation_faults`` refuses, images that do not decode
            (all are looked at; data that drops them is cached without them, and a note counts them), a split whose
            boxes all lie outside their images, a damaged cache under the same name, or no space to write into. Nothing
            is left behind then.
    """
    check_canvas(image_size)
    name = f"{data.spec.partition(':')[0]}-{fingerprint([_VERSION, data.fingerprint, tuple(image_size)])[:16]}"
    final = folder / name
    if final.exists():
        check_sealed(final)
        return open_cache(final)
    data = data.once().made()
    refuse(data.spec, annotation_faults(data))
    try:
        with construction(folder, name) as building:
            _write(data, building, image_size, progress)
            seal(building)
            publish(building, final)
    except BrokenPipeError:  # of whoever looks at the progress
        raise
    except OSError as error:
        needed = pixel_bytes(sum(len(data.splits[split]) for split in SPLITS), image_size)
        raise unwritable(folder, needed, error) from error
    return open_cache(final)


def _write(data: DetectionData, folder: Path, image_size: tuple[int, int], progress: Progress | None) -> None:
    images, faults, dropped = _write_pixels(data, folder, image_size, progress)
    refuse(data.spec, faults)
    tags: dict[tuple[str, ...], int] = {}
    for split in SPLITS:
        with (folder / split / ANNOTATIONS).open("xb") as file:
            columns = _annotations([image.fitted for image in images[split]], tags)
            np.savez(file, allow_pickle=False, digests=_digests(images[split]), **columns)
            _sync(file)
    notes = (note for split in SPLITS for note in _size_notes(split, [image.fitted for image in images[split]]))
    content = {
        "version": _VERSION,
        "spec": data.spec,
        "fingerprint": data.fingerprint,
        "content": content_digest(data.classes, image_size, images),
        "classes": data.classes,
        "image_size": image_size,
        "notes": [*data.remarks, *dropped, *_overlaps(images), *notes],
        "names": {split: [image.fitted.record.name for image in images[split]] for split in SPLITS},
        "tags": list(tags),
        "tests_on_validation": data.tests_on_validation,
    }
    with (folder / INDEX).open("w", encoding="utf-8") as file:
        json.dump(content, file)
        _sync(file)


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _write_pixels(
    data: DetectionData, folder: Path, image_size: tuple[int, int], progress: Progress | None
) -> tuple[dict[str, list[CachedImage]], list[Fault], list[str]]:
    """Fill the splits' pixel files; return their images in order, what is wrong with any, and notes on those left out.

    What was decoded stays where another image does not decode: without it the file is only made shorter.
    """
    total = sum(len(data.splits[split]) for split in SPLITS)
    images: dict[str, list[CachedImage]] = {}
    faults: list[Fault] = []
    notes: list[str] = []
    done = 0
    with ExitStack() as stack:
        files = {split: stack.enter_context(_pixel_file(data, folder, split, image_size)) for split in SPLITS}
        for split in SPLITS:
            images[split] = []
            kept: list[int] = []
            unreadable: list[Fault] = []
            for index, outcome in enumerate(decode(data.splits[split], partial(_store, files[split], image_size))):
                if isinstance(outcome, Fault):
                    unreadable.append(outcome)
                else:
                    images[split].append(outcome)
                    kept.append(index)
                done += 1
                if progress is not None:
                    progress(done, total)
            if unreadable and data.on_fault == "drop":
                files[split].keep(kept)
                notes += left_out([fault.where for fault in unreadable], SPLIT_WORDS[split])
                faults += emptied_faults(data, split, [image.fitted.record for image in images[split]])
            else:
                faults += unreadable
            faults += placement_faults(data, split, [image.fitted for image in images[split]])
    return images, faults, notes


def _pixel_file(data: DetectionData, folder: Path, split: str, image_size: tuple[int, int]) -> PixelFile:
    (folder / split).mkdir()
    return PixelFile(folder / split / PIXELS, len(data.splits[split]), image_size)


def _store(
    file: PixelFile, image_size: tuple[int, int], index: int, record: ImageRecord, image: NDArray[np.uint8]
) -> CachedImage:
    pixels, fitted = fit_record(record, image, image_size)
    file.write(index, pixels)
    return CachedImage(fitted, pixel_digest(image))


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
        **_of_few(stored),
    }


def _overlaps(images: Mapping[str, Sequence[CachedImage]]) -> list[str]:
    records = {split: [image.fitted.record for image in found] for split, found in images.items()}
    digests = {split: [image.digest for image in found] for split, found in images.items()}
    return overlap_notes(find_overlaps(records, digests))


def _digests(images: Sequence[CachedImage]) -> NDArray[np.uint8]:
    """Return uint8[n, KEPT_BYTES], by which images are known again."""
    kept = b"".join(image.digest[:KEPT_BYTES] for image in images)
    return np.frombuffer(kept, np.uint8).reshape(-1, KEPT_BYTES)


def _of_few(stored: Sequence[FittedRecord]) -> dict[str, NDArray[Any]]:
    """Join what few data sets have; nothing where none of the images does."""
    columns: dict[str, NDArray[Any]] = {}
    if any(item.record.own_boxes is not None for item in stored):
        columns["own_boxes"] = np.concatenate([item.own_boxes for item in stored])
    if any(item.record.areas is not None for item in stored):
        columns["areas"] = np.concatenate([item.areas for item in stored])
    return columns


def _tag_numbers(item: FittedRecord, tags: dict[tuple[str, ...], int]) -> NDArray[np.int64]:
    found = item.record.tags
    if not found:
        return np.full(len(item.boxes), UNTAGGED, np.int64)
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
