"""Reader of Pascal VOC folders (``Annotations``, ``JPEGImages``, ``ImageSets/Main``) and of the official VOCdevkit.

Coordinates: VOC counts pixels from 1 and includes both ends, so a box that covers the first two pixels of a
row says xmin=1, xmax=2. Here a box has x1 = xmin - 1 and x2 = xmax (0 and 2 in the example), and likewise for
y; what leaves the image is clipped. A box whose xmax does not exceed its xmin (or ymax its ymin) as written,
or that has no area inside the image, is degenerate: it is dropped and counted in the notes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import defusedxml.ElementTree  # type: ignore[import-untyped]
import numpy as np
from defusedxml.common import DefusedXmlException  # type: ignore[import-untyped]

from spnas_core.errors import DataError, suggestion
from spnas_detect.data._base import (
    SPLITS,
    DetectionData,
    ImageRecord,
    check_options,
    degenerate_note,
    fingerprint,
    no_box_error,
)
from spnas_detect.data.faults import BROKEN_ANNOTATION, MISSING_IMAGE, UNREADABLE_IMAGE, FaultCollector, left_out
from spnas_detect.data.images import (
    IMAGE_OPTIONS,
    IMAGE_SUFFIXES,
    ImageFinder,
    LookedAt,
    image_options,
    look_at,
)
from spnas_detect.data.voc_lists import Listed, list_images

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_CORNERS = ("xmin", "ymin", "xmax", "ymax")

_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Object:
    """One object as written: corners are (xmin, ymin, xmax, ymax), counted from 1."""

    label: str
    corners: _Box
    is_difficult: bool


@dataclass(frozen=True)
class _Written:
    """One annotation file as written; ``size`` is None where it says none."""

    name: str
    annotation: Path
    image: Path
    size: tuple[int, int] | None
    objects: tuple[_Object, ...]


@dataclass(frozen=True)
class _Annotated:
    """One annotation file; boxes lie inside the image, in pixels counted from 0."""

    name: str
    annotation: Path
    image: Path
    width: int
    height: int
    objects: tuple[tuple[str, _Box, bool], ...]
    dropped: int


def read_voc(path: str | None, *, seed: int, options: Mapping[str, object]) -> DetectionData:
    """Read the annotations of a VOC folder, or of a VOCdevkit that holds ``VOC2007``, ``VOC2012`` or both.

    In a plain folder ``train.txt``, ``val.txt`` and ``test.txt`` are the splits. Where ``val.txt`` or ``test.txt`` is
    missing or empty, the split is carved from the training images by the seed, and a note says so. An image without
    an object stays, as a negative.

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
            the test images are all there is to score. ``exif``, ``on_fault`` and ``max_pixels``: those of
            ``ImageOptions``.

    Returns:
        The data set; the annotated ``<size>`` is believed until the image is decoded. Images of a VOCdevkit are named
        ``2007/000005``. An image that is not there under its annotated name is found by its stem, and a note says so.

        Among its faults are missing annotations and images, XML that is malformed or declares entities, objects without
        a name or with unusable corners, and classes outside ``classes``; all name the file.

    Raises:
        DataError: a missing folder or list, or no box at all.
    """
    check_options("voc", options, ("classes", "difficult", "years", "validation", *IMAGE_OPTIONS))
    if path is None:
        raise DataError("voc data needs a folder: write voc:PATH")
    difficult = options.get("difficult") or "ignore"
    if difficult not in {"ignore", "train"}:
        raise DataError(f"voc difficult is {difficult!r}: it must be 'ignore' or 'train'")
    chosen = image_options("voc", options)
    root = Path(path).expanduser().resolve()
    faults = FaultCollector(f"voc:{path}")
    with faults.blamed():
        lists, notes = list_images(root, options, seed, faults)
        finder = ImageFinder()
        read = cache(partial(_read_annotation, finder=finder, faults=faults))  # an image may be in two splits
        written = {split: [item for one in lists[split] if (item := read(one)) is not None] for split in SPLITS}
        looked = look_at(((item.image, item.size) for items in written.values() for item in items), chosen)
        unreadable: dict[Path, str] = {}
        place = cache(partial(_place, looked=looked, unreadable=unreadable))
        splits = {split: [one for item in written[split] if (one := place(item)) is not None] for split in SPLITS}
        faults.add_images(finder.contested, MISSING_IMAGE)
        if chosen.on_fault == "refuse":
            faults.add_images(unreadable, UNREADABLE_IMAGE)
        classes = _classes(options.get("classes"), splits, faults)
        everything = [item for items in splits.values() for item in items]
        dropped = [f"{item.name}.xml" for item in dict.fromkeys(everything) for _ in range(item.dropped)]
        if not any(item.objects for item in everything):
            raise no_box_error(root, dropped)
    files = [file for item in everything for file in (item.annotation, item.image)]
    return DetectionData(
        spec=f"voc:{path}",
        classes=classes,
        splits={
            split: [
                _record(item, classes, looked, learns_all=split == "train" and difficult == "train") for item in items
            ]
            for split, items in splits.items()
        },
        fingerprint=fingerprint(
            ["voc", root.as_posix(), seed, classes, difficult, chosen]
            + [(split, [item.name for item in items]) for split, items in splits.items()],
            files,
        ),
        notes=(
            *degenerate_note(dropped),
            *notes,
            *finder.notes,
            *looked.notes,
            *left_out([image.name for image in unreadable] if chosen.on_fault == "drop" else []),
        ),
        dropped=tuple(dropped),
        faults=faults.found,
        on_fault=chosen.on_fault,
    )


def _read_annotation(listed: Listed, finder: ImageFinder, faults: FaultCollector) -> _Written | None:
    """Read an annotation file, and note whatever is wrong with it; None where the image cannot be used."""
    file = listed.root / "Annotations" / f"{listed.stem}.xml"
    tree = faults.attempt(BROKEN_ANNOTATION, file, lambda: _parse(file, listed.stem))
    if tree is None:
        return None
    image = faults.attempt(MISSING_IMAGE, file, lambda: _find_image(listed, tree, file, finder))
    found = [
        faults.attempt(BROKEN_ANNOTATION, file, partial(_object, item, f"annotation {file}: object {position}"))
        for position, item in enumerate(tree.findall("object"), start=1)
    ]
    if image is None:
        return None
    return _Written(listed.name, file, image, _size(tree), tuple(one for one in found if one is not None))


def _place(item: _Written, looked: LookedAt, unreadable: dict[Path, str]) -> _Annotated | None:
    """Cut the boxes at their image; None, and the reason noted, where nothing says how large that is."""
    size = looked.size(item.image, item.size)
    if size is None:
        unreadable[item.image] = looked.reasons[item.image]
        return None
    placed = [(one.label, _clip(one.corners, *size), one.is_difficult) for one in item.objects]
    objects = tuple((label, box, is_difficult) for label, box, is_difficult in placed if box is not None)
    return _Annotated(item.name, item.annotation, item.image, *size, objects, dropped=len(placed) - len(objects))


def _clip(corners: _Box, width: int, height: int) -> _Box | None:
    """Count a box's pixels from 0 and cut it at its image; None for a degenerate one."""
    xmin, ymin, xmax, ymax = corners
    box = (max(xmin - 1, 0), max(ymin - 1, 0), min(xmax, width), min(ymax, height))
    is_degenerate = xmax <= xmin or ymax <= ymin or box[2] <= box[0] or box[3] <= box[1]
    return None if is_degenerate else box


def _parse(file: Path, name: str) -> "Element":
    try:
        tree: Element | None = defusedxml.ElementTree.parse(file).getroot()
    except FileNotFoundError:
        raise DataError(f"annotation {file} does not exist, but ImageSets/Main lists {name!r}") from None
    except defusedxml.ElementTree.ParseError as error:
        line = error.position[0]
        raise DataError(f"annotation {file} is malformed XML in line {line}: {error}") from None
    except DefusedXmlException as error:
        reason = "entities, which can expand without bound, are refused"
        raise DataError(f"annotation {file} declares XML entities: {reason} ({error})") from None
    except (OSError, ValueError, LookupError) as error:  # unreadable, or an encoding nobody knows
        raise DataError(f"annotation {file} cannot be read: {error}") from None
    if tree is None:
        raise DataError(f"annotation {file} has no element")
    return tree


def _find_image(listed: Listed, tree: "Element", file: Path, finder: ImageFinder) -> Path:
    """Find the image by the listed name, whatever its extension, else by the annotation's ``<filename>``."""
    folder = listed.root / "JPEGImages"
    written = (tree.findtext("filename") or "").strip()
    named = folder / Path(written).name
    usual = folder / f"{listed.stem}.jpg"
    # what tools write there need not be the image's name, and then says nothing of its extension
    annotated = named if named.stem == listed.stem and named.suffix.lower() in IMAGE_SUFFIXES else None
    expected = annotated or usual
    if expected.is_file():
        return finder.take(expected, expected)
    found = finder.by_stem(expected)
    if found is not None:
        return finder.take(annotated or (found if found.stem == usual.stem else usual), found)
    if written:
        found = named if named.is_file() else finder.by_stem(named)
    if not written or found is None:
        raise DataError(f"annotation {file} names the image {written or usual.name}, which {folder} does not hold")
    return found


def _size(tree: "Element") -> tuple[int, int] | None:
    try:
        width = int(tree.findtext("size/width", ""))
        height = int(tree.findtext("size/height", ""))
    except ValueError:
        return None
    # tools that never opened the image write zeros
    return (width, height) if width > 0 and height > 0 else None


def _object(item: "Element", where: str) -> _Object:
    label = (item.findtext("name") or "").strip()
    if not label:
        raise DataError(f"{where} has no <name>")
    corners: list[float] = []
    for corner in _CORNERS:
        text = item.findtext(f"bndbox/{corner}")
        try:
            value = float(text or "")
        except ValueError:
            value = float("nan")
        if not np.isfinite(value):
            raise DataError(f"{where} has <{corner}> {text!r}, not a number")
        corners.append(value)
    is_difficult = (item.findtext("difficult") or "0").strip() in {"1", "true", "True"}
    return _Object(label, (corners[0], corners[1], corners[2], corners[3]), is_difficult)


def _classes(given: object, splits: Mapping[str, Sequence[_Annotated]], faults: FaultCollector) -> tuple[str, ...]:
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


def _record(item: _Annotated, classes: Sequence[str], looked: LookedAt, *, learns_all: bool) -> ImageRecord:
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
