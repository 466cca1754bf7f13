"""Reader of Pascal VOC folders (``Annotations``, ``JPEGImages``, ``ImageSets/Main``) and of the official VOCdevkit.

``layouts.py`` finds out which image is in which split, ``lists.py`` reads a list, ``annotations.py`` an XML
file.

Coordinates: VOC counts pixels from 1 and includes both ends, so a box that covers the first two pixels of a
row says xmin=1, xmax=2. Here a box has x1 = xmin - 1 and x2 = xmax (0 and 2 in the example), and likewise for
y; what leaves the image is clipped. A box whose xmax does not exceed its xmin (or ymax its ymin) as written,
or that has no area inside the image, is degenerate: it is dropped and counted in the notes.
"""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

from spnas_core.errors import DataError, suggestion
from spnas_core.paths import found_at
from spnas_detect.data._base import (
    SPLITS,
    DetectionData,
    ImageRecord,
    check_options,
    degenerate_note,
    fingerprint,
    no_box_error,
)
from spnas_detect.data.class_names import class_notes
from spnas_detect.data.faults import MISSING_IMAGE, UNREADABLE_IMAGE, FaultCollector
from spnas_detect.data.images import IMAGE_OPTIONS, ImageFinder, LookedAt, image_options, look_at
from spnas_detect.data.overlaps import shared_files
from spnas_detect.data.repairs import RepairCollector
from spnas_detect.data.voc.annotations import AnnotatedFile, WrittenFile, place_annotation, read_annotation
from spnas_detect.data.voc.layouts import find_layout
from spnas_detect.data.voc.lists import Listed


def read_voc(path: str | None, *, seed: int, options: Mapping[str, object]) -> DetectionData:
    """Read the annotations of a VOC folder, or of a VOCdevkit that holds ``VOC2007``, ``VOC2012`` or both.

    In a plain folder ``train.txt``, ``val.txt`` and ``test.txt`` of ``ImageSets/Main`` are the splits. Without
    ``ImageSets`` all images with an XML file train. ``Annotations`` may be called ``annots`` and ``JPEGImages``
    ``images``, in any case. Where neither is there, XML files may stand beside the images, in a folder per split
    (``train``, ``valid`` or ``val``, ``test``) or in the folder itself. Where a validation or test split is missing or
    empty, it is carved from the training images by the seed, and a note says so. An image without an object stays, as
    a negative.

    What is mended is counted among the repairs: sizes that are missing or 0; boxes that leave their image; objects that
    have a box of their parts only; ``<filename>`` that is not the annotation's; namespaces; list lines with suffixes
    or paths. Without lists, annotation files without an image and images without one are left out and counted.

    In a VOCdevkit, and by default:

    * train: ``trainval`` of every year, less what is carved for validation;
    * validation: 20 % of those images, drawn by the seed;
    * test: ``test`` of VOC2007 where that year and the list are there, else 20 % of the training images too (the
      annotations of later test sets are not public).

    Difficult objects are ignored wherever detections are scored: finding one neither helps nor hurts. In training they
    are ignored too, neither object nor background, unless ``difficult`` says otherwise.

    Args:
        path: the folder that holds ``Annotations``, or the VOCdevkit.
        seed: decides carved splits.
        options: ``classes``, a sequence of names in the order of the labels; by default all names that occur
            in any split, sorted. ``difficult``: ``ignore`` (default), or ``train`` to learn difficult objects of the
            training split like others. For a VOCdevkit ``years``: ``07``, ``12`` or ``07+12``, by default those that
            are there; ``validation``: ``carved`` (default); ``val``, the official halves, ``train`` trains and ``val``
            validates; ``test``, the field's protocol for a final training, in which the whole ``trainval`` trains and
            the test images are all there is to score. ``test``: ``validation``, the validation images, or ``carved``;
            by default those that there are. ``exif``, ``on_fault`` and ``max_pixels``: those of
            ``ImageOptions``.

    Returns:
        The data set; the annotated ``<size>`` is believed until the image is decoded. Images of a VOCdevkit are named
        ``2007/000005``. An image that is not there under its annotated name is found by its stem, and a note says so.

        Among its faults are missing annotations and images, XML that is malformed or declares entities, objects without
        a name or with unusable corners, and classes outside ``classes``; all name the file.

    Raises:
        DataError: a missing folder or list, or no box at all.
    """
    check_options("voc", options, ("classes", "difficult", "years", "validation", "test", *IMAGE_OPTIONS))
    if path is None:
        raise DataError("voc data needs a folder: write voc:PATH")
    difficult = options.get("difficult") or "ignore"
    if difficult not in {"ignore", "train"}:
        raise DataError(f"voc difficult is {difficult!r}: it must be 'ignore' or 'train'")
    chosen = image_options("voc", options)
    root = found_at(path)
    faults, repairs, finder = FaultCollector(f"voc:{path}", chosen.on_fault), RepairCollector(), ImageFinder()
    with faults.blamed():
        layout = find_layout(root, options, seed, faults, repairs)
        # an image may be in two splits
        read = cache(partial(_read, finder=finder, faults=faults, repairs=repairs))
        written = {split: [item for one in layout.lists[split] if (item := read(one)) is not None] for split in SPLITS}
        contested = faults.add_images(finder.contested, MISSING_IMAGE)
        written = {split: [item for item in items if item.image not in contested] for split, items in written.items()}
        looked = look_at(((item.image, item.size) for items in written.values() for item in items), chosen)
        unreadable: dict[Path, str] = {}
        place = cache(partial(place_annotation, looked=looked, unreadable=unreadable, repairs=repairs))
        splits = {split: [one for item in written[split] if (one := place(item)) is not None] for split in SPLITS}
        faults.add_images(unreadable, UNREADABLE_IMAGE)
        classes = _classes(options.get("classes"), splits, faults)
        everything = [item for items in splits.values() for item in items]
        dropped = [f"{item.name}.xml" for item in dict.fromkeys(everything) for _ in range(item.dropped)]
        if not any(item.objects for item in everything):
            raise no_box_error(root, dropped)
    files = [file for item in everything for file in (item.annotation, item.image)]
    records = {
        split: [_record(item, classes, looked, learns_all=split == "train" and difficult == "train") for item in items]
        for split, items in splits.items()
    }
    return DetectionData(
        spec=f"voc:{path}",
        classes=classes,
        splits=records,
        fingerprint=fingerprint(
            ["voc", seed, classes, difficult, chosen, layout.tests_on_validation]
            + [(split, [item.name for item in items]) for split, items in splits.items()],
            files,
        ),
        notes=(
            *degenerate_note(dropped),
            *layout.notes,
            *shared_files(records, tests_on_validation=layout.tests_on_validation),
            *class_notes(classes, records),
            *_unannotated(classes, everything),
            *finder.notes,
            *looked.notes,
            *faults.notes,
        ),
        dropped=tuple(dropped),
        faults=faults.found,
        on_fault=chosen.on_fault,
        layout=layout.text,
        repairs=repairs.found,
        tests_on_validation=layout.tests_on_validation,
    )


def _read(listed: Listed, finder: ImageFinder, faults: FaultCollector, repairs: RepairCollector) -> WrittenFile | None:
    """Read an annotation file; None where it cannot be used, or is left out for its faults."""
    own = faults.of_image()
    read = read_annotation(listed, finder, own, repairs)
    return None if faults.leaves_out(listed.name, own) else read


def _classes(given: object, splits: Mapping[str, Sequence[AnnotatedFile]], faults: FaultCollector) -> tuple[str, ...]:
    found: dict[str, Path] = {}
    for items in splits.values():
        for item in items:
            for label, _, _ in item.objects:
                found.setdefault(label, item.annotation)
    if given is None:
        return tuple(sorted(found))
    classes = tuple(name for name in given if isinstance(name, str)) if isinstance(given, list | tuple) else ()
    if not isinstance(given, list | tuple) or not classes or len(set(classes)) != len(given):
        raise DataError(f"voc classes is {given!r}: it must be a list of different names")
    for label, file in found.items():
        if label not in classes:
            text = f"annotation {file} has the class {label!r}{suggestion(label, classes)}"
            faults.add("unknown class", file, text)
    return classes


def _unannotated(classes: Sequence[str], items: Sequence[AnnotatedFile]) -> list[str]:
    """Say which of the given classes no annotation has: there is no list to look them up in."""
    found = {label for item in items for label, _, _ in item.objects}
    missing = [repr(name) for name in classes if name not in found]
    return [f"{len(missing)} class(es) have no box in any split: {', '.join(missing)}"] if missing else []


def _record(item: AnnotatedFile, classes: Sequence[str], looked: LookedAt, *, learns_all: bool) -> ImageRecord:
    objects = [one for one in item.objects if one[0] in classes]  # others are among the faults
    return ImageRecord(
        name=item.name,
        read=looked.reader(item.image),
        width=item.width,
        height=item.height,
        boxes=np.asarray([box for _, box, _ in objects], np.float32).reshape(-1, 4),
        labels=np.asarray([classes.index(label) + 1 for label, _, _ in objects], np.int64),
        ignore=np.asarray([is_difficult and not learns_all for _, _, is_difficult in objects], np.bool_),
    )
