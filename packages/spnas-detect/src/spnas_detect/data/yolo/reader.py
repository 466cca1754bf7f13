"""Reader of YOLO data sets, as Ultralytics, Roboflow, CVAT, Label Studio and darknet write them.

A label file says ``class cx cy w h`` in fractions of its image, whose size comes from the image file's header; so
cx - w/2 times the width is x1, in pixels from 0. What leaves the image is cut, and counted where it is more than
rounding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from os.path import commonpath
from pathlib import Path

import numpy as np

from spnas_core.errors import DataError, suggestion
from spnas_core.paths import found_at
from spnas_detect.data._base import (
    CARVED,
    SPLITS,
    VALIDATION,
    DetectionData,
    ImageRecord,
    carve_missing,
    check_options,
    degenerate_note,
    fingerprint,
    has_no_own_test,
    no_box_error,
)
from spnas_detect.data.class_names import class_notes
from spnas_detect.data.faults import UNREADABLE_IMAGE, FaultCollector
from spnas_detect.data.images import IMAGE_OPTIONS, LookedAt, image_options, look_at
from spnas_detect.data.overlaps import shared_files
from spnas_detect.data.repairs import CLIPPED, RepairCollector
from spnas_detect.data.yolo.images import Pair, list_pairs
from spnas_detect.data.yolo.labels import LabelledBox, Naming, read_labels
from spnas_detect.data.yolo.naming import Description, describe
from spnas_detect.data.yolo.places import label_places

_MIXED = ("refuse", "boxes")


@dataclass(frozen=True)
class _Annotated:
    """One image, its size from its header."""

    name: str
    pair: Pair
    width: int
    height: int
    objects: tuple[LabelledBox, ...]


def read_yolo(path: str | None, *, seed: int, options: Mapping[str, object]) -> DetectionData:
    """Read the labels of a YOLO data set.

    ``data.yaml`` names the classes and, per split, a folder of images, several, or a ``.txt`` list. Paths that were
    written on another machine are found by their ends, and notes say so. Without it, darknet's ``obj.data`` does, or
    ``classes.txt`` beside folders called ``images/train`` or ``train/images``. Labels lie where the last folder
    ``images`` of an image's path is called ``labels``, else beside the image. An image whose label file is empty or
    missing has no object. Polygons count as their bounding boxes. Whatever is put right is counted among the repairs.
    Labels 1…C follow the ids, also those of classes without an object. Where there is no validation or test image, the
    split is carved from the training images by the seed, and a note says so.

    Args:
        path: the folder, or its YAML or ``.data`` file.
        seed: decides carved splits.
        options: ``train``, ``validation``, ``test``: folders or lists in place of those that are described, the latter
            two also ``carved``, and ``test`` also ``validation``, the validation images; ``mixed``: what a line of five
            columns beside polygons is, ``refuse`` (default), since it may be a polygon of two points, or ``boxes``;
            ``exif``, ``on_fault`` and ``max_pixels``: those of ``ImageOptions``, and fractions are of the image as it
            is read.

    Returns:
        The data set. Among its faults are missing images, images without a readable header, classes that are not named,
        and lines that are neither a box nor a polygon in fractions; all name the file and the line.

    Raises:
        DataError: no description, one that contradicts itself, missing folders or lists, or no box at all.
    """
    check_options("yolo", options, (*SPLITS, "mixed", *IMAGE_OPTIONS))
    if path is None:
        raise DataError("yolo data needs a folder: write yolo:PATH")
    mixed = options.get("mixed") or "refuse"
    if mixed not in _MIXED:
        raise DataError(f"yolo mixed is {mixed!r}{suggestion(str(mixed), _MIXED)}")
    chosen = image_options("yolo", options)
    given = found_at(path)
    description = describe(given)
    naming = Naming(description.source, description.classes, description.keypoint_values, mixed == "boxes")
    faults, repairs = FaultCollector(f"yolo:{path}", chosen.on_fault), RepairCollector()
    with faults.blamed():
        pairs, notes = list_pairs(description, options, faults, repairs)
        place = _common_folder(description.root, pairs)
        looked = look_at(((pair.image, None) for pair in chain.from_iterable(pairs.values())), chosen)
        faults.add_images(looked.reasons, UNREADABLE_IMAGE)
        splits = {split: _read_pairs(pairs[split], place, looked, naming, faults) for split in SPLITS}
        test = options.get("test")
        tests_on_validation = test == VALIDATION or (test != CARVED and has_no_own_test(splits, _image))
        carved = carve_missing(splits, seed, tests_on_validation=tests_on_validation, image=_image)
        everything = [item for split in SPLITS for item in splits[split]]
        _count_repairs(everything, repairs)
        dropped = [item.name for item in everything for one in item.objects if one.box is None]
        if not any(one.box for item in everything for one in item.objects):
            raise _no_box(description, everything, dropped)
    files = [file for item in everything for file in (item.pair.image, item.pair.labels) if file is not None]
    counts = [(split, len(splits[split])) for split in SPLITS]
    unlabelled = [index for index, item in enumerate(everything) if item.pair.labels is None]
    records = {split: [_record(item, looked) for item in splits[split]] for split in SPLITS}
    parts = ["yolo", seed, description.classes, counts, mixed, unlabelled, chosen, tests_on_validation]
    return DetectionData(
        spec=f"yolo:{path}",
        classes=description.classes,
        splits=records,
        fingerprint=fingerprint(parts, [description.file, description.source, *files]),
        notes=(
            *degenerate_note(dropped),
            *_doubt(everything),
            *notes,
            *carved,
            *shared_files(records, tests_on_validation=tests_on_validation),
            *class_notes(description.classes, records),
            *looked.notes,
            *faults.notes,
        ),
        dropped=tuple(dropped),
        faults=faults.found,
        on_fault=chosen.on_fault,
        layout=f"YOLO, described by {description.file.relative_to(given) if given.is_dir() else description.file.name}",
        repairs=repairs.found,
        tests_on_validation=tests_on_validation,
    )


def _image(item: _Annotated) -> Path:
    return item.pair.image


def _common_folder(root: Path, pairs: Mapping[str, Sequence[Pair]]) -> Path:
    """Return the folder that images are named from: the data set's, unless some lie elsewhere."""
    images = [pair.image for listed in pairs.values() for pair in listed]
    if all(image.is_relative_to(root) for image in images):
        return root
    return Path(commonpath([image.parent for image in images]))


def _read_pairs(
    pairs: Sequence[Pair], place: Path, looked: LookedAt, naming: Naming, faults: FaultCollector
) -> list[_Annotated]:
    """Read labels, and note whatever is wrong with them; images without a readable header are left out."""
    found = []
    for pair in pairs:
        size = looked.size(pair.image, None)
        name, own = pair.image.relative_to(place).as_posix(), faults.of_image()
        # where there is no size, the lines are looked at all the same
        objects = [] if pair.labels is None else read_labels(pair.labels, size or (1, 1), naming, own)
        if not faults.leaves_out(name, own) and size is not None:
            found.append(_Annotated(name, pair, *size, tuple(objects)))
    return found


def _no_box(description: Description, items: Sequence[_Annotated], dropped: Sequence[str]) -> DataError:
    if items and all(item.pair.labels is None for item in items):
        first = items[0].pair.image
        places = " and ".join(map(str, label_places(first)))
        return DataError(
            f"{description.file} has {len(items)} image(s), and none of them a label file: that of {first} is looked "
            f"for at {places}"
        )
    return no_box_error(description.file, dropped)


def _count_repairs(items: Sequence[_Annotated], repairs: RepairCollector) -> None:
    """Count what was put right in labels, and what was left out."""
    for item in items:
        if item.pair.labels is None:
            repairs.add("images without a label file, taken as images without objects", item.name)
        for one in item.objects:
            for what, holds in (
                (CLIPPED, one.is_cut),
                ("decimal commas, read as points", one.has_comma),
                ("polygons, read as their bounding boxes", one.is_polygon),
                ("keypoints of objects, left out", one.has_keypoints),
            ):
                if holds:
                    repairs.add(what, f"{item.pair.labels}: line {one.line}")


def _doubt(items: Sequence[_Annotated]) -> list[str]:
    """Say so where most boxes are cut."""
    objects = [one for item in items for one in item.objects]
    cut = sum(one.is_cut for one in objects)
    if 2 * cut <= len(objects):
        return []
    return [f"{cut} of {len(objects)} boxes leave their image: they may be corners, and no centres and sizes"]


def _record(item: _Annotated, looked: LookedAt) -> ImageRecord:
    objects = [(one.box, one.identifier + 1) for one in item.objects if one.box is not None]
    return ImageRecord(
        name=item.name,
        read=looked.reader(item.pair.image),
        width=item.width,
        height=item.height,
        boxes=np.asarray([box for box, _ in objects], np.float32).reshape(-1, 4),
        labels=np.asarray([label for _, label in objects], np.int64),
        ignore=np.zeros(len(objects), np.bool_),
    )
