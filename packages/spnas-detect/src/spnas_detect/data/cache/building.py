"""Reading the images of a data set into a cache."""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from spnas_detect.data._base import SPLITS, DetectionData, fingerprint
from spnas_detect.data.cache.content import CachedImage, content_digest
from spnas_detect.data.cache.files import INDEX, construction, publish, standing, unwritable
from spnas_detect.data.cache.modes import LIMIT, MODES, Mode, needs_of, suitable_mode
from spnas_detect.data.cache.reading import ANNOTATIONS, UNTAGGED, CachedData, open_cache
from spnas_detect.data.cache.seals import check_sealed, seal
from spnas_detect.data.cache.stores import DecodedStore, EncodedStore, Store
from spnas_detect.data.canvases import Orientation, Size
from spnas_detect.data.checks import SPLIT_WORDS, annotation_faults, check_canvas, emptied_faults, placement_faults
from spnas_detect.data.decoding import take_in
from spnas_detect.data.faults import Fault, left_out, refuse
from spnas_detect.data.fitting import FittedRecord
from spnas_detect.data.images import ImageFile, common_folder
from spnas_detect.data.overlaps import find_overlaps, overlap_notes
from spnas_detect.data.seen import KEPT_BYTES

_VERSION = 7  # part of the folder's name: raise it when the layout, decoding, resizing or the checks change

Progress = Callable[[int, int], None]
"""Called with the number of finished images and of all images."""


@dataclass(frozen=True)
class _Plan:
    """What is built.

    Attributes:
        image_size: (width, height) of the canvas.
        orientation: whether there is a transposed one, too.
        mode: form of the cache.
        is_reduced: whether JPEGs are decoded at a part of their size, where that is enough.
        choice: why it has that form, where it was chosen.
    """

    image_size: Size
    orientation: Orientation
    mode: Mode
    is_reduced: bool
    choice: str = ""

    def name(self, data: DetectionData | CachedData) -> str:
        """Return the cache's name: another one whenever another is wanted."""
        parts = [_VERSION, data.fingerprint, tuple(self.image_size), self.orientation, self.mode, self.is_reduced]
        return f"{data.spec.partition(':')[0]}-{fingerprint(parts)[:16]}"


def build_cache(
    data: DetectionData,
    folder: Path,
    *,
    image_size: Size,
    orientation: Orientation = "fixed",
    is_reduced: bool = False,
    mode: Mode | Literal["auto"] = "images",
    limit: float = LIMIT,
    progress: Progress | None = None,
) -> CachedData:
    """Read every image of a data set into a cache, or reuse a cache of the same content.

    Every image is decoded once, whatever the cache keeps of it: what does not decode is found before a training
    begins, and the content is known. Whoever reads the cache gets the same numbers from every form.

    Args:
        data: the data set.
        folder: the parent of the cache's own folder.
        image_size: (width, height) of the canvas in pixels.
        orientation: whether images of the other orientation get the transposed canvas.
        is_reduced: whether JPEGs are decoded at a part of their size, where that is enough for the canvas.
        mode: form of the cache; ``auto`` takes one that is there, else the one that suits the space.
        limit: GiB that it takes at most then, unless it keeps no image at all.
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
    data = data.once().made()
    sources = (record.read for split in SPLITS for record in data.splits[split])
    root = common_folder(source.path for source in sources if isinstance(source, ImageFile))
    for one in MODES if mode == "auto" else (mode,):
        final = folder / _Plan(image_size, orientation, one, is_reduced).name(data)
        if final.exists():
            check_sealed(final)
            return open_cache(final, root)
    refuse(data.spec, annotation_faults(data))
    needs = needs_of(data, image_size)
    if mode == "auto":
        chosen, why = suitable_mode(needs, limit, shutil.disk_usage(standing(folder)).free)
        plan = _Plan(image_size, orientation, chosen, is_reduced, why)
    else:
        plan = _Plan(image_size, orientation, mode, is_reduced)
    name = plan.name(data)
    try:
        with construction(folder, name) as building:
            _write(data, building, plan, root, progress)
            seal(building)
            publish(building, folder / name)
    except BrokenPipeError:  # of whoever looks at the progress
        raise
    except OSError as error:
        raise unwritable(folder, needs.of(plan.mode), error) from error
    return open_cache(folder / name, root)


def find_cache(like: CachedData, image_size: Size) -> CachedData | None:
    """Open the cache of the same data on another canvas that lies beside one; None where there is none.

    Raises:
        DataError: it is damaged.
    """
    for mode in MODES:
        folder = like.folder.parent / _Plan(image_size, like.orientation, mode, like.is_reduced).name(like)
        if folder.exists():
            check_sealed(folder)
            return open_cache(folder, like.root)
    return None


def _write(data: DetectionData, folder: Path, plan: _Plan, root: Path, progress: Progress | None) -> None:
    images, places, faults, dropped = _write_images(data, folder, plan, root, progress)
    refuse(data.spec, faults)
    tags: dict[tuple[str, ...], int] = {}
    for split in SPLITS:
        fitted = [image.fitted for image in images[split]]
        with (folder / split / ANNOTATIONS).open("xb") as file:
            columns = {**_annotations(fitted, tags), **places[split]}
            np.savez(file, allow_pickle=False, digests=_digests(images[split]), **columns)
            _sync(file)
    notes = (note for split in SPLITS for note in _size_notes(split, [image.fitted for image in images[split]]))
    content = {
        "version": _VERSION,
        "mode": plan.mode,
        "choice": plan.choice,
        "spec": data.spec,
        "root": str(root),
        "fingerprint": data.fingerprint,
        "content": content_digest(data.classes, plan.image_size, images, plan.orientation),
        "classes": data.classes,
        "image_size": plan.image_size,
        "orientation": plan.orientation,
        "is_reduced": plan.is_reduced,
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


def _write_images(
    data: DetectionData, folder: Path, plan: _Plan, root: Path, progress: Progress | None
) -> tuple[dict[str, list[CachedImage]], dict[str, dict[str, NDArray[Any]]], list[Fault], list[str]]:
    """Fill the splits' stores.

    What was decoded stays where another image does not decode: without it the files are only made shorter.

    Returns:
        The images in order, where they lie, what is wrong with any, and notes on those left out.
    """
    total = sum(len(data.splits[split]) for split in SPLITS)
    images: dict[str, list[CachedImage]] = {}
    places: dict[str, dict[str, NDArray[Any]]] = {}
    faults: list[Fault] = []
    notes: list[str] = []
    done = 0
    with ExitStack() as stack:
        stores = {split: stack.enter_context(_store(data, folder, split, plan, root)) for split in SPLITS}
        for split in SPLITS:
            images[split] = []
            kept: list[int] = []
            unreadable: list[Fault] = []
            for index, outcome in enumerate(take_in(data.splits[split], stores[split].add)):
                if isinstance(outcome, Fault):
                    unreadable.append(outcome)
                else:
                    images[split].append(outcome)
                    kept.append(index)
                done += 1
                if progress is not None:
                    progress(done, total)
            places[split] = stores[split].finish(kept)
            if unreadable and data.on_fault == "drop":
                notes += left_out([fault.where for fault in unreadable], SPLIT_WORDS[split])
                faults += emptied_faults(data, split, [image.fitted.record for image in images[split]])
            else:
                faults += unreadable
            faults += placement_faults(data, split, [image.fitted for image in images[split]])
    return images, places, faults, notes


def _store(data: DetectionData, folder: Path, split: str, plan: _Plan, root: Path) -> Store:
    (folder / split).mkdir()
    place, records = folder / split, data.splits[split]
    if plan.mode == "images":
        return DecodedStore(place, records, plan.image_size, plan.orientation, is_reduced=plan.is_reduced)
    packs, reduced = plan.mode == "encoded", plan.is_reduced
    return EncodedStore(
        place, records, plan.image_size, plan.orientation, root=root, packs_files=packs, is_reduced=reduced
    )


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
