"""Writing a data set in another layout, all of it or nothing."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from PIL import Image

from spnas_core.durable import sync_folder
from spnas_core.errors import ConfigError, DataError
from spnas_core.paths import found_at
from spnas_detect.data._base import DetectionData, ImageRecord
from spnas_detect.data.checks import annotation_faults
from spnas_detect.data.conversion._base import Layout, Written
from spnas_detect.data.conversion.naming import file_names
from spnas_detect.data.decoding import drop_unreadable
from spnas_detect.data.faults import UNREADABLE_IMAGE, FaultCollector, refuse
from spnas_detect.data.fitting import PlacedRecord, place_boxes, place_record, read_pixels
from spnas_detect.data.images import ImageFile, image_size, read_header

_COPIED = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})  # every reader of the layouts knows
_GENERATED = ".png"


@dataclass(frozen=True)
class Converted:
    """What was written.

    Attributes:
        folder: of the new data set.
        images: their number by split.
        boxes: the number by split of those that are not ignored.
        notes: what the layout does not hold, and what was changed.
    """

    folder: Path
    images: Mapping[str, int]
    boxes: Mapping[str, int]
    notes: tuple[str, ...]


def convert(
    data: DetectionData,
    layout: Layout,
    folder: Path,
    *,
    links: bool = False,
    report: Callable[[int, int], None] | None = None,
) -> Converted:
    """Write a data set, as it was read, in another layout.

    An image file is copied or linked as it is, undecoded; what has no file of its own, such as generated images, or one
    of an unusual type, is written as PNG, and so is an image that was read without the turn that its EXIF notes. A
    killed process leaves at most a hidden folder beside the new one, never half a data set.

    Args:
        data: as ``open_data`` gives it.
        layout: to write.
        folder: of the new data set: a new or an empty one.
        links: whether image files are hard links to those that were read.
        report: is told how many of all images are written.

    Returns:
        What was written.

    Raises:
        DataError: data that is faulty, or that the layout cannot hold; images whose header cannot be read. All of this
            is found before an image is decoded or a file is written.
        ConfigError: a folder that is not empty, or that cannot be written into; files that cannot be linked.
    """
    target = found_at(folder).resolve()
    _check_target(target)
    known = data.notes
    data = drop_unreadable(data.once().made())
    refuse(data.spec, [*data.faults, *annotation_faults(data)])
    layout.check(data)
    files = {split: [_copied_file(record) for record in records] for split, records in data.splits.items()}
    sizes = _sizes(data.spec, chain.from_iterable(files.values()))
    total = sum(len(records) for records in data.splits.values())
    splits: dict[str, list[Written]] = {}
    with _new_folder(target) as temporary:
        done = 0
        for split, records in data.splits.items():
            place = temporary / layout.image_folder(split)
            if records:
                place.mkdir(parents=True)
            splits[split] = []
            names = _file_names(records, files[split])
            for record, file, name in zip(records, files[split], names, strict=True):
                placed = _write_image(record, file, sizes, place / name, links=links)
                splits[split].append(Written(name, placed))
                done += 1
                if report is not None:
                    report(done, total)
        layout.write(temporary, data.classes, splits)
    return Converted(
        target,
        {split: len(items) for split, items in splits.items()},
        {split: sum(map(_counted, items)) for split, items in splits.items()},
        (*data.notes[len(known) :], *layout.losses(splits), *_notes(splits, data)),
    )


def _counted(item: Written) -> int:
    return int((~item.placed.record.ignore[item.placed.kept]).sum())


def _check_target(folder: Path) -> None:
    with _explained(folder):
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"{folder} is a file: name a new folder")
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty: name a new folder; what it holds is left alone")


def _sizes(spec: str, files: Iterable[Path | None]) -> dict[Path, tuple[int, int]]:
    """Read the size of every image that is copied from its header, turned as EXIF notes it.

    Raises:
        DataError: some cannot be read.
    """
    faults = FaultCollector(spec)
    sizes: dict[Path, tuple[int, int]] = {}
    for file in dict.fromkeys(filter(None, files)):
        size = faults.attempt(UNREADABLE_IMAGE, file, partial(image_size, file))
        if size is not None:
            sizes[file] = size
    refuse(spec, faults.found)
    return sizes


def _copied_file(record: ImageRecord) -> Path | None:
    """Return the file that is an image's pixels, if it is of a type that every reader of the layouts knows."""
    file = image_file(record)
    return file if file is not None and file.suffix.lower() in _COPIED else None


def image_file(record: ImageRecord) -> Path | None:
    """Return the file that any viewer shows as the record's pixels; None where ``read`` does anything else.

    That is one that is read turned as EXIF notes it, or that notes nothing.
    """
    read = record.read
    if not isinstance(read, ImageFile):
        return None
    try:
        is_shown = read.turned or read_header(read.path).orientation == 1
    except DataError:  # which is among the faults once its size is read
        is_shown = True
    return read.path if is_shown else None


def _file_names(records: Sequence[ImageRecord], files: Sequence[Path | None]) -> list[str]:
    return file_names(
        [record.name for record in records], [_GENERATED if file is None else file.suffix for file in files]
    )


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Make a folder beside the wanted one, which takes its name once it is complete.

    Raises:
        ConfigError: nothing can be written there.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    with _explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        try:
            yield temporary
            temporary.rename(folder)  # an empty folder of that name gives way
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(folder.parent)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        file = f"{error.filename}: " if error.filename else ""
        reason = f"{file}{error.strerror or error}"
        raise ConfigError(f"cannot write {folder}: {reason}; name another folder, or make room") from error


def _write_image(
    record: ImageRecord, file: Path | None, sizes: Mapping[Path, tuple[int, int]], new: Path, *, links: bool
) -> PlacedRecord:
    """Write an image, or copy its file, and cut its boxes at its pixels."""
    if file is None:
        image = read_pixels(record)
        Image.fromarray(image).save(new)
        return place_record(record, image)
    if links:
        _link(file, new)
    else:
        shutil.copyfile(file, new)
    return place_boxes(record, sizes[file])


def _link(file: Path, new: Path) -> None:
    try:
        new.hardlink_to(file.resolve())
    except OSError as error:
        reason = f"{error.strerror or error}; hard links stay on one file system: use --copy"
        raise ConfigError(f"{file} cannot be linked: {reason}") from error


def _notes(splits: Mapping[str, Sequence[Written]], data: DetectionData) -> list[str]:
    """Say which boxes were outside the pixels, and which splits are empty."""
    outside = [item.placed for items in splits.values() for item in items if not item.placed.kept.all()]
    lost = sum(int((~placed.kept).sum()) for placed in outside)
    notes = [f"{lost} box(es) outside their image's pixels left out, first {outside[0].record.name}"] if lost else []
    if data.tests_on_validation:
        notes.append("the test images are the validation images, written once: read the new data with test=validation")
        splits = {split: items for split, items in splits.items() if split != "test"}
    empty = [split for split, items in splits.items() if not items]
    return [*notes, *(f"the {split} split is empty: it is not written, and would be carved" for split in empty)]
