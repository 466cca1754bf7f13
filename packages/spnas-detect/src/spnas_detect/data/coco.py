"""Reader of COCO folders: JSON files of images, annotations and categories, and the image folders.

COCO boxes are (x, y, width, height) from 0, so x1 = x and x2 = x + width; what leaves the image is clipped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from spnas_core.errors import DataError
from spnas_detect.data._base import (
    SPLITS,
    DetectionData,
    ImageRecord,
    carve_missing,
    check_options,
    degenerate_note,
    fingerprint,
    no_box_error,
    read_json,
)
from spnas_detect.data.faults import BROKEN_ANNOTATION, MISSING_IMAGE, FaultCollector
from spnas_detect.data.images import IMAGE_OPTIONS, ImageFinder, LookedAt, image_options, look_at

FILES: Mapping[str, tuple[str, ...]] = {
    "train": ("instances_train2017.json", "instances_train2014.json", "instances_train.json", "train.json"),
    "validation": (
        "instances_val2017.json",
        "instances_val2014.json",
        "instances_val.json",
        "val.json",
        "validation.json",
    ),
    "test": ("instances_test2017.json", "instances_test.json", "test.json"),
}
"""Names in the folder ``annotations`` that need no option, by split, the preferred one first."""

_CARVED = "carved"
_LAYOUT = "expected annotations/instances_train2017.json and train2017/, or annotations/train.json and images/"

_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Image:
    """One entry of ``images``: what it is called, the file, and its annotated size."""

    name: str
    file: Path
    width: int
    height: int


@dataclass(frozen=True)
class _Object:
    """One entry of ``annotations``, with the corners of the box as written."""

    image: int
    corners: _Box
    category: int
    is_crowd: bool


@dataclass(frozen=True)
class _Annotated:
    """One image of a JSON file; boxes are (x1, y1, x2, y2) inside it."""

    name: str
    image: Path
    width: int
    height: int
    boxes: tuple[_Box, ...]
    categories: tuple[int, ...]
    is_crowd: tuple[bool, ...]
    dropped: int


@dataclass(frozen=True)
class _Contents:
    """One JSON file: its images, each with its objects."""

    images: list[tuple[_Image, list[_Object]]]
    categories: dict[int, str]


def read_coco(path: str | None, *, seed: int, options: Mapping[str, object]) -> DetectionData:
    """Read the annotations of a COCO folder.

    The official layout is ``annotations/instances_train2017.json`` beside ``train2017/``, and the same for
    ``val2017``; its test annotations are not public. Labels 1…C follow the category ids in ascending order, over all
    files. A crowd region (``iscrowd``) is neither a hit nor a miss, neither object nor background. Where a validation
    or test file is missing, the split is carved from the training images by the seed, and a note says so.

    Args:
        path: the folder that holds ``annotations``.
        seed: decides carved splits.
        options: ``train``, ``validation``, ``test``: JSON files, relative to the folder or to its
            ``annotations``, the latter two also ``carved``; ``images``: the folder of all images, relative to the
            folder. ``validation=carved`` with ``test=instances_val2017.json`` keeps val2017 for the final number.
            ``exif``, ``on_fault`` and ``max_pixels``: those of ``ImageOptions``.

    Returns:
        The data set. An image that no folder holds is found by its stem, and a note says so. Among its faults are
        malformed JSON, missing keys and images, unknown images or categories, and files that name a category
        differently; all name the file.

    Raises:
        DataError: a missing folder or JSON file, or no box at all.
    """
    check_options("coco", options, (*SPLITS, "images", *IMAGE_OPTIONS))
    if path is None:
        raise DataError("coco data needs a folder: write coco:PATH")
    chosen = image_options("coco", options)
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: {_LAYOUT}")
    files = {split: _find_json(root, split, options.get(split)) for split in SPLITS}
    if files["train"] is None:
        raise DataError(f"{root} has no training annotations: {_LAYOUT}")
    faults, finder = FaultCollector(f"coco:{path}"), ImageFinder()
    with faults.blamed():
        contents = {
            split: _read_file(file, root, _image_folders(root, file, options.get("images")), finder, faults)
            for split, file in files.items()
            if file is not None
        }
        categories = _merge_categories(root, contents, faults)
        faults.add_images(finder.contested, MISSING_IMAGE)
        every_image = chain.from_iterable(found.images for found in contents.values())
        looked = look_at(((image.file, (image.width, image.height)) for image, _ in every_image), chosen)
        splits = {
            split: [_annotated(image, objects, looked) for image, objects in found.images]
            for split, found in contents.items()
        }
        dropped = [item.name for items in splits.values() for item in items for _ in range(item.dropped)]
        notes = carve_missing(splits, seed)
        if not any(item.boxes for items in splits.values() for item in items):
            raise no_box_error(root, dropped)
    labels = {identifier: label for label, identifier in enumerate(sorted(categories), start=1)}
    every_file = [file for file in files.values() if file is not None]
    every_file += [item.image for split in SPLITS for item in splits[split]]
    counts = [(split, len(splits[split])) for split in SPLITS]
    return DetectionData(
        spec=f"coco:{path}",
        classes=tuple(categories[identifier] for identifier in sorted(categories)),
        splits={split: [_record(item, labels, looked) for item in splits[split]] for split in SPLITS},
        fingerprint=fingerprint(["coco", root.as_posix(), seed, counts, chosen], every_file),
        notes=(*degenerate_note(dropped), *notes, *finder.notes, *looked.notes),
        dropped=tuple(dropped),
        faults=faults.found,
        on_fault=chosen.on_fault,
    )


def _find_json(root: Path, split: str, given: object) -> Path | None:
    if given is None:
        known = [root / "annotations" / name for name in FILES[split]]
        return next((file for file in known if file.is_file()), None)
    if given == _CARVED and split != "train":
        return None
    if not isinstance(given, str | Path):
        raise DataError(f"coco {split} is {given!r}: it must be the name of a JSON file")
    for file in (root / given, root / "annotations" / given):
        if file.is_file():
            return file
    raise DataError(f"coco {split} is {str(given)!r}: neither {root} nor its annotations folder holds it")


def _image_folders(root: Path, file: Path, given: object) -> list[Path]:
    """List where the images of a JSON file may lie, the most particular folder first."""
    if given is not None:
        if not isinstance(given, str | Path) or not (root / given).is_dir():
            raise DataError(f"coco images is {str(given)!r}: {root} has no such folder")
        return [root / given]
    split = file.stem.removeprefix("instances_")
    known = [root / split, root / "images" / split, root / "images", root]
    # Roboflow writes the JSON file of a split among its images
    return known if file.parent in (root, root / "annotations") else [file.parent, *known]


def _read_file(
    file: Path, root: Path, folders: Sequence[Path], finder: ImageFinder, faults: FaultCollector
) -> _Contents:
    """Read a JSON file, and note whatever is wrong in it."""
    content = faults.attempt(BROKEN_ANNOTATION, file, lambda: read_json(file, "images"))
    lists = {
        key: None if content is None else faults.attempt(BROKEN_ANNOTATION, file, partial(_entries, content, key, file))
        for key in ("categories", "images", "annotations")
    }
    categories = _read_categories(lists["categories"] or [], file, faults)
    images = _read_images(lists["images"] or [], file, root, folders, finder, faults)
    if lists["images"] == []:
        faults.add(BROKEN_ANNOTATION, file, f"{file} lists no image")
    # without one of the lists, every object would lack its image or its category
    entries = [] if None in lists.values() else lists["annotations"] or []
    objects = _read_objects(entries, file, images, categories, faults)
    return _Contents(
        [(image, objects[identifier]) for identifier, image in images.items() if image is not None],
        {identifier: name for identifier, name in categories.items() if name is not None},
    )


def _annotated(image: _Image, objects: Sequence[_Object], looked: LookedAt) -> _Annotated:
    """Cut the boxes at their image, as large as that is when it is read."""
    size = looked.size(image.file, (image.width, image.height)) or (image.width, image.height)
    clipped = [(_clip(one.corners, *size), one.category, one.is_crowd) for one in objects]
    kept = [(box, category, is_crowd) for box, category, is_crowd in clipped if box is not None]
    return _Annotated(
        image.name,
        image.file,
        *size,
        boxes=tuple(box for box, _, _ in kept),
        categories=tuple(category for _, category, _ in kept),
        is_crowd=tuple(is_crowd for _, _, is_crowd in kept),
        dropped=len(clipped) - len(kept),
    )


def _read_categories(
    entries: Sequence[Mapping[str, object]], file: Path, faults: FaultCollector
) -> dict[int, str | None]:
    """Return names by id; None for a category that is among the faults."""
    categories: dict[int, str | None] = {}
    for item in entries:
        identifier = faults.attempt(BROKEN_ANNOTATION, file, partial(_integer, item, "id", f"{file}: category"))
        if identifier is None:
            continue
        name = item.get("name")
        if not isinstance(name, str) or identifier in categories:
            where = f"{file}: category {identifier}"
            faults.add(BROKEN_ANNOTATION, where, f"{where} has no name, or occurs twice")
            name = None
        categories[identifier] = name
    return categories


def _read_images(
    entries: Sequence[Mapping[str, object]],
    file: Path,
    root: Path,
    folders: Sequence[Path],
    finder: ImageFinder,
    faults: FaultCollector,
) -> dict[int, _Image | None]:
    """Return images by id, in the order of the file; None for one that is among the faults."""
    images: dict[int, _Image | None] = {}
    for item in entries:
        identifier = faults.attempt(BROKEN_ANNOTATION, file, partial(_integer, item, "id", f"{file}: image"))
        if identifier is None:
            continue
        where = f"{file}: image {identifier}"
        is_new = identifier not in images
        images[identifier] = None
        named = faults.attempt(BROKEN_ANNOTATION, where, partial(_image_entry, item, where, is_new=is_new))
        if named is not None:
            name, width, height = named
            found = faults.attempt(MISSING_IMAGE, where, partial(_find_image, folders, name, file, finder))
            images[identifier] = None if found is None else _Image(_moved_name(name, root), found, width, height)
    return images


def _moved_name(file_name: str, root: Path) -> str:
    """Call an image by what stays when the data set is moved, should its file name be absolute."""
    path = Path(file_name)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else file_name


def _image_entry(item: Mapping[str, object], where: str, *, is_new: bool) -> tuple[str, int, int]:
    """Return file name, width and height."""
    name = item.get("file_name")
    if not isinstance(name, str) or not is_new:
        raise DataError(f"{where} has no file_name, or occurs twice")
    width, height = _integer(item, "width", where), _integer(item, "height", where)
    if min(width, height) < 1:
        raise DataError(f"{where} is {width}x{height}: both sides must be at least 1 pixel")
    return name, width, height


def _read_objects(
    entries: Sequence[Mapping[str, object]],
    file: Path,
    images: Mapping[int, _Image | None],
    categories: Mapping[int, str | None],
    faults: FaultCollector,
) -> dict[int, list[_Object]]:
    """Return objects by image id; those whose image or category is among the faults are left out."""
    objects: dict[int, list[_Object]] = {identifier: [] for identifier in images}
    for position, item in enumerate(entries):
        where = f"{file}: annotation {item.get('id', f'number {position + 1}')}"
        read = faults.attempt(BROKEN_ANNOTATION, where, partial(_read_object, item, where, images, categories))
        if read is not None:
            objects[read.image].append(read)
    return objects


def _read_object(
    item: Mapping[str, object], where: str, images: Mapping[int, _Image | None], categories: Mapping[int, str | None]
) -> _Object | None:
    """Return an object; None for one whose image or category is among the faults itself."""
    image = _integer(item, "image_id", where)
    category = _integer(item, "category_id", where)
    if image not in images:
        raise DataError(f"{where} belongs to image {image}, which the file does not list")
    if category not in categories:
        raise DataError(f"{where} has category {category}, which the file does not list")
    corners = _corners(item, where)
    if images[image] is None or categories[category] is None:
        return None
    return _Object(image, corners, category, item.get("iscrowd", 0) == 1)


def _entries(content: Mapping[str, object], key: str, file: Path) -> list[dict[str, object]]:
    found = content.get(key)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise DataError(f"{file} has no list of objects under the key {key!r}")
    return found


def _integer(item: Mapping[str, object], key: str, where: str) -> int:
    value = item.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise DataError(f"{where} has {key} {value!r}: an integer is expected")
    return value


def _corners(item: Mapping[str, object], where: str) -> _Box:
    """Return (x1, y1, x2, y2) of the box as written."""
    found = item.get("bbox")
    is_numbers = isinstance(found, list) and all(isinstance(value, int | float) for value in found)
    if not isinstance(found, list) or not is_numbers or len(found) != 4 or not np.isfinite(found).all():
        raise DataError(f"{where} has bbox {found!r}: four numbers x, y, width, height are expected")
    x, y, width, height = (float(value) for value in found)
    return x, y, x + width, y + height


def _clip(box: _Box, width: int, height: int) -> _Box | None:
    """Return the clipped box, or None for one without area."""
    x1, y1, x2, y2 = max(box[0], 0.0), max(box[1], 0.0), min(box[2], width), min(box[3], height)
    # compared as stored: a width below float32's resolution is no width
    has_area = np.float32(x2) > np.float32(x1) and np.float32(y2) > np.float32(y1)
    return (x1, y1, x2, y2) if has_area else None


def _find_image(folders: Sequence[Path], name: str, file: Path, finder: ImageFinder) -> Path:
    for folder in folders:
        if (folder / name).is_file():
            return finder.take(folder / name, folder / name)
    for folder in folders:
        found = finder.by_stem(folder / name)
        if found is not None:
            return finder.take(folder / name, found)
    places = ", ".join(str(folder) for folder in folders)
    raise DataError(f"{file} lists the image {name}, which none of these folders holds: {places}")


def _merge_categories(root: Path, contents: Mapping[str, _Contents], faults: FaultCollector) -> dict[int, str]:
    merged: dict[int, str] = {}
    for found in contents.values():
        for identifier, name in found.categories.items():
            first = merged.setdefault(identifier, name)
            if first != name:
                text = f"category {identifier} is {first!r} in one file of {root} and {name!r} in another"
                faults.add(BROKEN_ANNOTATION, root, text)
    return merged


def _record(item: _Annotated, labels: Mapping[int, int], looked: LookedAt) -> ImageRecord:
    return ImageRecord(
        name=item.name,
        read=looked.reader(item.image),
        width=item.width,
        height=item.height,
        boxes=np.asarray(item.boxes, np.float32).reshape(-1, 4),
        labels=np.asarray([labels[category] for category in item.categories], np.int64),
        ignore=np.asarray(item.is_crowd, np.bool_),
    )
