"""Reader of EuroCity Persons folders: ``ECP/{day,night}/{img,labels}/{train,val}/CITY/NAME.{png,json}``.

The official layout of Braun et al., "EuroCity Persons: A Novel Benchmark for Person Detection in Traffic Scenes",
IEEE TPAMI 2019. A label file is an object with ``imagewidth``, ``imageheight`` and ``children``; a child has an
``identity``, corners ``x0``, ``y0``, ``x1``, ``y1`` in pixels from 0, x1 and y1 outside the box, ``tags`` and
``children`` of its own. What leaves the image is clipped and counted; a box without area is dropped and counted, too.

============================ =========== ==============================================================
identity                     class       box
============================ =========== ==============================================================
pedestrian                   pedestrian  as it is
rider                        rider       united with its children's: the vehicle's and any co-rider's; the rider's
                                         alone is kept beside it
person-group-far-away        pedestrian  ignored; dropped where tagged ``depiction``
rider+vehicle-group-far-away rider       ignored; dropped where tagged ``depiction``
bicycle, bicycle-group, …    rider       ignored: vehicles without a rider, one or many
============================ =========== ==============================================================

The first tag of an ignored box is its identity, so that metrics can tell the kinds apart. How much of a person must be
visible is left to the metrics, too: ``occluded>80`` and ``sitting-lying`` are tags of boxes like any other.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from spnas_core.errors import DataError, suggestion
from spnas_core.paths import found_at
from spnas_detect.data._base import (
    MOST_SIDE,
    SPLITS,
    DetectionData,
    ImageRecord,
    carve_missing,
    check_options,
    degenerate_note,
    fingerprint,
    read_json,
)
from spnas_detect.data.faults import BROKEN_ANNOTATION, MISSING_IMAGE, UNREADABLE_IMAGE, FaultCollector
from spnas_detect.data.image_folder import images_below
from spnas_detect.data.images import IMAGE_OPTIONS, ImageFinder, LookedAt, image_options, look_at
from spnas_detect.data.overlaps import shared_files
from spnas_detect.data.repairs import CLIPPED, SIZE_FROM_FILE, RepairCollector

CLASSES = ("pedestrian", "rider")
"""The names of the labels 1 and 2."""

_TIMES = {"day": ("day",), "night": ("night",), "both": ("day", "night")}
_FOLDERS = {"train": "train", "test": "val"}  # the official test images come without labels
_FAR_AWAY = ("person-group-far-away", "rider+vehicle-group-far-away")
_VEHICLES = ("bicycle", "buggy", "motorbike", "scooter", "tricycle", "wheelchair")
_IGNORED = {*_FAR_AWAY, *_VEHICLES, *(f"{name}-group" for name in _VEHICLES)}
_DEPICTION = "depiction"
_CORNERS = ("x0", "y0", "x1", "y1")
_LAYOUT = "expected day/labels/train/CITY/*.json and day/img/train/CITY/*.png, or night in the place of day"

_ROUNDING = 0.05  # pixels outside that come of written decimals

_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Child:
    """One object as written, a rider's outline united with those of its children; ``own`` is without them."""

    identity: str
    tags: tuple[str, ...]
    outline: _Box
    own: _Box


@dataclass(frozen=True)
class _Object:
    """One box inside its image, and without its children; ``tags`` begins with the identity where it is ignored."""

    box: _Box
    own: _Box
    label: int
    is_ignored: bool
    tags: tuple[str, ...]


@dataclass(frozen=True)
class _Written:
    """One label file as written, its image found."""

    name: str
    labels: Path
    image: Path
    size: tuple[int, int] | None
    children: tuple[_Child, ...]


@dataclass(frozen=True)
class _Annotated:
    """One label file; ``unknown`` holds identities that the benchmark does not have."""

    name: str
    labels: Path
    image: Path
    width: int
    height: int
    objects: tuple[_Object, ...]
    dropped: int
    unknown: tuple[str, ...]


def read_eurocity(path: str | None, *, seed: int, options: Mapping[str, object]) -> DetectionData:
    """Read the annotations of EuroCity Persons.

    The official training images become train, less the validation images, which are carved from them by the seed;
    the official validation images become test. Where they are missing, test is carved as well, and a note says so.

    Args:
        path: the folder ``ECP``, the one that holds it, or any folder with ``day`` or ``night`` in it.
        seed: decides carved splits.
        options: ``time``, one of ``day``, ``night`` and ``both``, which is the default and takes what there is;
            ``exif``, ``on_fault`` and ``max_pixels``: those of ``ImageOptions``.

    Returns:
        The data set with the classes pedestrian and rider. What is mended is counted among the repairs: sizes that are
        missing or 0, boxes that leave their image, and depictions of groups, which are left out. Among its faults are
        missing images, malformed JSON, and boxes or tags that are not as described; all name the file.

    Raises:
        DataError: a missing folder, or no box that is not ignored.
    """
    check_options("ecp", options, ("time", *IMAGE_OPTIONS))
    if path is None:
        raise DataError("ecp data needs a folder: write ecp:PATH")
    chosen = image_options("ecp", options)
    root = _find_root(found_at(path))
    times, notes = _find_times(root, options.get("time", "both"))
    faults, finder = FaultCollector(f"ecp:{path}", chosen.on_fault), ImageFinder()
    repairs = RepairCollector()
    with faults.blamed():
        written = {
            split: [
                item for time in times for item in _read_folder(root / time, folder, notes, finder, faults, repairs)
            ]
            for split, folder in _FOLDERS.items()
        }
        contested = faults.add_images(finder.contested, MISSING_IMAGE)
        written = {split: [item for item in items if item.image not in contested] for split, items in written.items()}
        looked = look_at(((item.image, item.size) for items in written.values() for item in items), chosen)
        faults.add_images(
            {item.image: looked.reasons[item.image] for item in _unsized(written, looked)}, UNREADABLE_IMAGE
        )
        splits = {
            split: [placed for item in items if (placed := _place(item, looked, repairs)) is not None]
            for split, items in written.items()
        }
        if not splits["train"]:
            folders = " or ".join(f"{time}/labels/train" for time in times)
            raise DataError(f"{root} has no label file under {folders}: {_LAYOUT}")
        notes += carve_missing(splits, seed)
        everything = [item for split in SPLITS for item in splits[split]]
        if all(one.is_ignored for item in everything for one in item.objects):
            raise DataError(
                f"{root} has no pedestrian and no rider in any of its label files: there is nothing to learn"
            )
    dropped = [item.name for item in everything for _ in range(item.dropped)]
    files = [file for item in everything for file in (item.labels, item.image)]
    counts = [(split, len(splits[split])) for split in SPLITS]
    records = {split: [_record(item, looked) for item in splits[split]] for split in SPLITS}
    return DetectionData(
        spec=f"ecp:{path}",
        classes=CLASSES,
        splits=records,
        fingerprint=fingerprint(["ecp", seed, times, counts, chosen], files),
        notes=(
            *degenerate_note(dropped),
            *_unknown_note(everything),
            *notes,
            *shared_files(records),
            *finder.notes,
            *looked.notes,
            *faults.notes,
        ),
        dropped=tuple(dropped),
        faults=faults.found,
        on_fault=chosen.on_fault,
        layout=f"EuroCity Persons, {' and '.join(times)}",
        repairs=repairs.found,
    )


def _find_root(given: Path) -> Path:
    for folder in (given, given / "ECP"):
        if any((folder / time).is_dir() for time in _TIMES["both"]):
            return folder
    if not given.is_dir():
        raise DataError(f"{given} is not a folder: {_LAYOUT}")
    raise DataError(f"{given} holds neither day nor night: {_LAYOUT}")


def _find_times(root: Path, wanted: object) -> tuple[tuple[str, ...], list[str]]:
    """Give the times of day to read, and a note where one of them is missing."""
    if not isinstance(wanted, str) or wanted not in _TIMES:
        raise DataError(f"ecp time is {wanted!r}{suggestion(str(wanted), _TIMES)}")
    times = tuple(time for time in _TIMES[wanted] if (root / time).is_dir())
    if not times:
        raise DataError(f"{root / wanted} is not a folder: {_LAYOUT}")
    missing = [time for time in _TIMES[wanted] if time not in times]
    return times, [f"{root} has no folder {time}: only {times[0]} is read" for time in missing]


def _read_folder(
    folder: Path, split: str, notes: list[str], finder: ImageFinder, faults: FaultCollector, repairs: RepairCollector
) -> Iterator[_Written]:
    """Read the label files of one time and split in the order of their names; notes images without one."""
    labels, images = folder / "labels" / split, folder / "img" / split
    files = sorted(labels.glob("*/*.json"))
    known = {(file.parent.name, file.stem.casefold()) for file in files}
    unlabelled = [image for image in images_below(images) if (image.parent.name, image.stem.casefold()) not in known]
    if unlabelled:
        notes.append(f"{len(unlabelled)} image(s) without a label file left out, first {unlabelled[0]}")
    for file in files:
        annotated, own = images / file.parent.name / f"{file.stem}.png", faults.of_image()
        name = f"{folder.name}/{file.parent.name}/{file.stem}"
        image = own.attempt(MISSING_IMAGE, file, partial(_find_image, annotated, file, finder))
        read = _read_labels(file, image or annotated, name, own, repairs)
        if not faults.leaves_out(name, own) and read is not None and image is not None:
            yield read


def _find_image(annotated: Path, file: Path, finder: ImageFinder) -> Path:
    found = annotated if annotated.is_file() else finder.by_stem(annotated)
    if found is None:
        raise DataError(f"{file} belongs to the image {annotated}, which does not exist")
    return finder.take(annotated, found)


def _read_labels(
    file: Path, image: Path, name: str, faults: FaultCollector, repairs: RepairCollector
) -> _Written | None:
    """Read a label file, and note whatever is wrong with it; None where that is all of it."""
    frame = faults.attempt(BROKEN_ANNOTATION, file, lambda: _frame(file))
    if frame is None:
        return None
    size, children = frame
    read = [
        faults.attempt(BROKEN_ANNOTATION, file, partial(_child, child, f"{file}: object {position}", name, repairs))
        for position, child in enumerate(children, start=1)
    ]
    return _Written(name, file, image, size, tuple(child for child in read if child is not None))


def _unsized(written: Mapping[str, Sequence[_Written]], looked: LookedAt) -> list[_Written]:
    """List what nothing says the size of."""
    return [item for items in written.values() for item in items if looked.size(item.image, item.size) is None]


def _place(item: _Written, looked: LookedAt, repairs: RepairCollector) -> _Annotated | None:
    """Cut the boxes at their image, as large as that is when it is read; None where nothing says how large."""
    size = looked.size(item.image, item.size)
    if size is None:
        return None
    if item.size is None:
        repairs.add(SIZE_FROM_FILE, item.name)
    width, height = size
    clipped = [(child, _clip(child.outline, width, height)) for child in item.children]
    placed = [(child, box) for child, box in clipped if box is not None]
    for child, _ in placed:
        x1, y1, x2, y2 = child.outline
        if min(x1, y1, width - x2, height - y2) < -_ROUNDING:
            repairs.add(CLIPPED, item.name)
    return _Annotated(
        item.name,
        item.labels,
        item.image,
        width,
        height,
        objects=tuple(_object(child, box, _cut(child.own, width, height)) for child, box in placed),
        dropped=len(clipped) - len(placed),
        unknown=tuple(child.identity for child, _ in placed if child.identity not in {*CLASSES, *_IGNORED}),
    )


def _frame(file: Path) -> tuple[tuple[int, int] | None, list[dict[str, object]]]:
    """Return size and children of a label file; no size where a side is missing or 0."""
    content = read_json(file, "imagewidth, imageheight and children")
    width, height = (_side(content, key, file) for key in ("imagewidth", "imageheight"))
    return (width, height) if width and height else None, _children(content, str(file))


def _child(child: Mapping[str, object], where: str, place: str, repairs: RepairCollector) -> _Child | None:
    """Return an object as written; None for a depiction, which is dropped and counted."""
    identity = child.get("identity")
    if not isinstance(identity, str):
        raise DataError(f"{where} has identity {identity!r}: a text is expected")
    tags = _tags(child, where)
    if identity in _FAR_AWAY and _DEPICTION in tags:
        repairs.add("depictions of groups far away, left out", place)
        return None
    return _Child(identity, tags, _outline(child, identity, where), _corners(child, where))


def _object(child: _Child, box: _Box, own: _Box) -> _Object:
    if child.identity in CLASSES:
        return _Object(box, own, CLASSES.index(child.identity) + 1, is_ignored=False, tags=child.tags)
    label = 1 if child.identity.startswith("person") else 2  # whatever is no person rides or is ridden
    return _Object(box, own, label, is_ignored=True, tags=(child.identity, *child.tags))


def _side(content: Mapping[str, object], key: str, file: Path) -> int:
    value = content.get(key) or 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_SIDE:
        raise DataError(f"{file} has {key} {value!r}: a whole number of pixels is expected")
    return value


def _children(item: Mapping[str, object], where: str) -> list[dict[str, object]]:
    found = item.get("children")
    if not isinstance(found, list) or not all(isinstance(child, dict) for child in found):
        raise DataError(f"{where} has no list of objects under the key 'children'")
    return found


def _tags(item: Mapping[str, object], where: str) -> tuple[str, ...]:
    found = item.get("tags", [])
    if not isinstance(found, list) or not all(isinstance(tag, str) for tag in found):
        raise DataError(f"{where} has tags {found!r}: a list of texts is expected")
    return tuple(found)


def _outline(item: Mapping[str, object], identity: str, where: str) -> _Box:
    """Return an object's box as written, a rider's united with those of its children."""
    boxes = [_corners(item, where)]
    if identity == "rider" and "children" in item:
        boxes += [_corners(child, f"{where}: child {i}") for i, child in enumerate(_children(item, where), start=1)]
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _corners(item: Mapping[str, object], where: str) -> _Box:
    corners: list[float] = []
    for key in _CORNERS:
        value = item.get(key)
        # the comparison is false for NaN, and exact for whole numbers that no float could hold
        if not isinstance(value, int | float) or isinstance(value, bool) or not -MOST_SIDE < value < MOST_SIDE:
            raise DataError(f"{where} has {key} {value!r}: a number is expected")
        corners.append(float(value))
    return corners[0], corners[1], corners[2], corners[3]


def _clip(box: _Box, width: int, height: int) -> _Box | None:
    """Return the clipped box, or None for one without area."""
    x1, y1, x2, y2 = _cut(box, width, height)
    # compared as stored: a width below float32's resolution is no width
    has_area = np.float32(x2) > np.float32(x1) and np.float32(y2) > np.float32(y1)
    return (x1, y1, x2, y2) if has_area else None


def _cut(box: _Box, width: int, height: int) -> _Box:
    """Move the corners that lie outside the image to its edge; a box the wrong way round has no area."""
    x1, x2 = (min(max(value, 0.0), width) for value in box[::2])
    y1, y2 = (min(max(value, 0.0), height) for value in box[1::2])
    return x1, y1, max(x1, x2), max(y1, y2)


def _unknown_note(items: Sequence[_Annotated]) -> list[str]:
    counts = Counter(identity for item in items for identity in item.unknown)
    if not counts:
        return []
    listed = ", ".join(f"{identity} ({count})" for identity, count in sorted(counts.items()))
    return [f"boxes of identities that EuroCity Persons does not have are ignored: {listed}"]


def _record(item: _Annotated, looked: LookedAt) -> ImageRecord:
    has_own = any(one.own != one.box for one in item.objects)
    return ImageRecord(
        name=item.name,
        read=looked.reader(item.image),
        width=item.width,
        height=item.height,
        boxes=np.asarray([one.box for one in item.objects], np.float32).reshape(-1, 4),
        labels=np.asarray([one.label for one in item.objects], np.int64),
        ignore=np.asarray([one.is_ignored for one in item.objects], np.bool_),
        tags=tuple(one.tags for one in item.objects),
        own_boxes=np.asarray([one.own for one in item.objects], np.float32) if has_own else None,
    )
