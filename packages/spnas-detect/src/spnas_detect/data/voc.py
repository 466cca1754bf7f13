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
    image_size,
    no_box_error,
    read_image,
)
from spnas_detect.data.faults import BROKEN_ANNOTATION, MISSING_IMAGE, UNREADABLE_IMAGE, FaultCollector
from spnas_detect.data.voc_lists import Listed, list_images

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG", ".bmp")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")

_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Object:
    """One object as written: corners are (xmin, ymin, xmax, ymax), counted from 1."""

    label: str
    corners: _Box
    is_difficult: bool


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
            the test images are all there is to score.

    Returns:
        The data set; the annotated ``<size>`` is believed until the image is decoded. Images of a VOCdevkit are named
        ``2007/000005``.

        Among its faults are missing annotations and images, XML that is malformed or declares entities, objects without
        a name or with unusable corners, and classes outside ``classes``; all name the file.

    Raises:
        DataError: a missing folder or list, or no box at all.
    """
    check_options("voc", options, ("classes", "difficult", "years", "validation"))
    if path is None:
        raise DataError("voc data needs a folder: write voc:PATH")
    difficult = options.get("difficult") or "ignore"
    if difficult not in {"ignore", "train"}:
        raise DataError(f"voc difficult is {difficult!r}: it must be 'ignore' or 'train'")
    root = Path(path).expanduser().resolve()
    faults = FaultCollector(f"voc:{path}")
    with faults.blamed():
        lists, notes = list_images(root, options, seed, faults)
        read = cache(partial(_read_annotation, faults=faults))  # an image may be in two splits
        found = {split: [read(image) for image in lists[split]] for split in SPLITS}
        splits = {split: [item for item in items if item is not None] for split, items in found.items()}
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
            split: [_record(item, classes, learns_all=split == "train" and difficult == "train") for item in items]
            for split, items in splits.items()
        },
        fingerprint=fingerprint(
            ["voc", root.as_posix(), seed, classes, difficult]
            + [(split, [item.name for item in items]) for split, items in splits.items()],
            files,
        ),
        notes=(*degenerate_note(dropped), *notes),
        dropped=tuple(dropped),
        faults=faults.found,
    )


def _read_annotation(listed: Listed, faults: FaultCollector) -> _Annotated | None:
    """Read an annotation file, and note whatever is wrong with it; None where the image cannot be used."""
    file = listed.root / "Annotations" / f"{listed.stem}.xml"
    tree = faults.attempt(BROKEN_ANNOTATION, file, lambda: _parse(file, listed.stem))
    if tree is None:
        return None
    image = faults.attempt(MISSING_IMAGE, file, lambda: _find_image(listed.root, listed.stem, tree, file))
    size = None if image is None else faults.attempt(UNREADABLE_IMAGE, image, lambda: _size(tree, image))
    found = [
        faults.attempt(BROKEN_ANNOTATION, file, partial(_object, item, f"annotation {file}: object {position}"))
        for position, item in enumerate(tree.findall("object"), start=1)
    ]
    if image is None or size is None:
        return None
    placed = [(one.label, _clip(one.corners, *size), one.is_difficult) for one in found if one is not None]
    objects = tuple((label, box, is_difficult) for label, box, is_difficult in placed if box is not None)
    return _Annotated(listed.name, file, image, *size, objects, dropped=len(placed) - len(objects))


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


def _find_image(root: Path, name: str, tree: "Element", file: Path) -> Path:
    """Find the image by the listed name, else by the annotation's ``<filename>``."""
    folder = root / "JPEGImages"
    candidates = [folder / f"{name}{suffix}" for suffix in _SUFFIXES]
    written = (tree.findtext("filename") or "").strip()
    if written:
        candidates.append(folder / Path(written).name)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise DataError(f"annotation {file} names the image {written or name + '.jpg'}, which {folder} does not hold")


def _size(tree: "Element", image: Path) -> tuple[int, int]:
    try:
        width = int(tree.findtext("size/width", ""))
        height = int(tree.findtext("size/height", ""))
    except ValueError:
        return image_size(image)
    # tools that never opened the image write zeros
    return (width, height) if width > 0 and height > 0 else image_size(image)


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


def _record(item: _Annotated, classes: Sequence[str], *, learns_all: bool) -> ImageRecord:
    objects = [one for one in item.objects if one[0] in classes]  # others are among the faults
    return ImageRecord(
        name=item.name,
        read=partial(read_image, item.image),
        width=item.width,
        height=item.height,
        boxes=np.asarray([box for _, box, _ in objects], np.float32).reshape(-1, 4),
        labels=np.asarray([classes.index(label) + 1 for label, _, _ in objects], np.int64),
        ignore=np.asarray([is_difficult and not learns_all for _, _, is_difficult in objects], np.bool_),
    )
