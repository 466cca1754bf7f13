"""Reader of COCO data sets, as the official site, Roboflow, CVAT, Label Studio and FiftyOne lay them out.

``layouts.py`` finds the files, ``files.py`` reads one, ``boxes.py`` a box; ``classes.py`` merges
classes over the files.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import attrgetter
from pathlib import Path

import numpy as np

from spnas_core.errors import DataError
from spnas_core.paths import found_at
from spnas_detect.data._base import (
    CARVED,
    SPLITS,
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
from spnas_detect.data.coco.classes import merge_classes
from spnas_detect.data.coco.files import AnnotatedImage, place_image, read_file
from spnas_detect.data.coco.layouts import find_layout
from spnas_detect.data.faults import MISSING_IMAGE, UNREADABLE_IMAGE, FaultCollector
from spnas_detect.data.images import IMAGE_OPTIONS, ImageFinder, LookedAt, image_options, look_at
from spnas_detect.data.overlaps import shared_files
from spnas_detect.data.repairs import RepairCollector


def read_coco(path: str | None, *, seed: int, options: Mapping[str, object]) -> DetectionData:
    """Read the annotations of a COCO data set.

    The layouts, the first that is there:

    * a file per split: ``annotations/instances_train2017.json`` beside ``train2017/``, and the same for ``val2017``,
      whose test annotations are not public; or ``annotations/train.json`` and ``images/``;
    * a folder per split, ``train``, ``valid`` or ``val``, and ``test``, with ``_annotations.coco.json`` beside the
      images, or a file of the next kind;
    * one file for all images: ``annotations/instances_default.json`` and ``images/``, ``result.json`` and ``images/``,
      ``labels.json`` and ``data/``, or ``_annotations.coco.json``.

    Where a validation or test file is missing, the split is carved from the training images by the seed, and a note
    says so. COCO's own files are an exception: all of train2017 trains, and val2017 is both validation and test, since
    that is what published numbers are of; a note says so, too. A class is a name: category ids may differ between
    files, and labels 1…C follow the ids in the first file that has the class. A category without a box in any split is
    left out. A crowd region (``iscrowd``) is neither a hit nor a miss, neither object nor background. ``area`` is the
    mask's, and decides what is small, medium or large.

    What is mended is counted among the repairs: ids that are texts or decimals; sizes that are missing or 0; boxes that
    are texts, missing (taken from the segmentation, else left out), or that leave the image; areas that are texts or
    missing (the box's is meant then); file names of another
    machine; several entries of one image. A box without area is dropped and counted in the notes, and so is a
    segmentation whose polygons have fewer than three points.

    Args:
        path: the folder, or one JSON file whose images are all there is.
        seed: decides carved splits.
        options: ``train``, ``validation``, ``test``: JSON files, relative to the folder or to its
            ``annotations``, the latter two also ``carved``, and ``test`` also ``validation``, the validation images;
            ``images``: the folder of all images, relative to the folder. ``validation=carved`` with
            ``test=instances_val2017.json`` keeps val2017 for the final number.
            ``classes``: a sequence of names in the order of the labels, those without a box among them. ``exif``,
            ``on_fault`` and ``max_pixels``: those of ``ImageOptions``.

    Returns:
        The data set. An image that no folder holds is found by its stem, and a note says so. Among its faults are
        malformed JSON, missing keys and images, unknown images or categories, and classes outside ``classes``; all name
        the file.

    Raises:
        DataError: a missing folder or JSON file, or no box at all.
    """
    check_options("coco", options, (*SPLITS, "images", "classes", *IMAGE_OPTIONS))
    if path is None:
        raise DataError("coco data needs a folder: write coco:PATH")
    chosen = image_options("coco", options)
    layout = find_layout(found_at(path), options)
    root = layout.root
    faults, repairs, finder = FaultCollector(f"coco:{path}", chosen.on_fault), RepairCollector(), ImageFinder()
    with faults.blamed():
        contents = {split: read_file(source, root, finder, faults, repairs) for split, source in layout.sources.items()}
        contested = faults.add_images(finder.contested, MISSING_IMAGE)
        every_image = chain.from_iterable(found.images for found in contents.values())
        looked = look_at(((image.file, image.size) for image in every_image if image.file not in contested), chosen)
        unreadable: dict[Path, str] = {}
        splits = {
            split: [
                placed
                for image in found.images
                if image.file not in contested
                and (placed := place_image(image, looked, unreadable, repairs)) is not None
            ]
            for split, found in contents.items()
        }
        faults.add_images(unreadable, UNREADABLE_IMAGE)
        classes = merge_classes(
            {layout.sources[split].place(root): found.categories for split, found in contents.items()},
            {one.category for items in splits.values() for item in items for one in item.objects},
            options.get("classes"),
            repairs,
            faults,
        )
        dropped = [item.name for items in splits.values() for item in items for _ in range(item.dropped)]
        image = attrgetter("file")
        tests_on_validation = layout.tests_on_validation or (
            options.get("test") != CARVED and has_no_own_test(splits, image)
        )
        notes = carve_missing(splits, seed, tests_on_validation=tests_on_validation, image=image)
        if not any(item.objects for items in splits.values() for item in items):
            raise no_box_error(root, dropped)
    files = [source.file for source in layout.sources.values()]
    files += [item.file for split in SPLITS for item in splits[split]]
    counts = [(split, len(splits[split])) for split in SPLITS]
    records = {split: [_record(item, classes, looked) for item in splits[split]] for split in SPLITS}
    return DetectionData(
        spec=f"coco:{path}",
        classes=classes,
        splits=records,
        fingerprint=fingerprint(["coco", seed, counts, classes, chosen, tests_on_validation], files),
        notes=(
            *degenerate_note(dropped),
            *notes,
            *shared_files(records, tests_on_validation=tests_on_validation),
            *class_notes(classes, records),
            *finder.notes,
            *looked.notes,
            *faults.notes,
        ),
        dropped=tuple(dropped),
        faults=faults.found,
        on_fault=chosen.on_fault,
        layout=layout.text,
        repairs=repairs.found,
        tests_on_validation=tests_on_validation,
    )


def _record(item: AnnotatedImage, classes: Sequence[str], looked: LookedAt) -> ImageRecord:
    labels = {name: label for label, name in enumerate(classes, start=1)}
    objects = [one for one in item.objects if one.category in labels]  # others are among the faults
    has_areas = any(one.area is not None for one in objects)
    return ImageRecord(
        name=item.name,
        read=looked.reader(item.file),
        width=item.width,
        height=item.height,
        boxes=np.asarray([one.box for one in objects], np.float32).reshape(-1, 4),
        labels=np.asarray([labels[one.category] for one in objects], np.int64),
        ignore=np.asarray([one.is_crowd for one in objects], np.bool_),
        # None becomes NaN
        areas=np.asarray([one.area for one in objects], np.float64) if has_areas else None,
        annotated_as=item.annotated_as,
    )
