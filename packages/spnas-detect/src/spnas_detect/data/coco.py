"""Reader of COCO folders: JSON files of images, annotations and categories, and the image folders.

COCO boxes are (x, y, width, height) from 0, so x1 = x and x2 = x + width; what leaves the image is clipped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from spnas_core.errors import DataError
from spnas_detect.data._base import (
    SPLITS,
    DetectionData,
    ImageRecord,
    carve,
    check_options,
    degenerate_note,
    fingerprint,
    no_box_error,
    read_image,
    read_json,
)

_FILES = {
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
_CARVED = "carved"
_LAYOUT = "expected annotations/instances_train2017.json and train2017/, or annotations/train.json and images/"

_Box = tuple[float, float, float, float]


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


@dataclass(frozen=True)
class _Contents:
    """One JSON file."""

    images: list[_Annotated]
    categories: dict[int, str]
    dropped: list[str]


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

    Returns:
        The data set.

    Raises:
        DataError: a missing folder, JSON file or image, malformed JSON, a missing key, an unknown image or
            category, files that name a category differently, or no box at all; names the file.
    """
    check_options("coco", options, (*SPLITS, "images"))
    if path is None:
        raise DataError("coco data needs a folder: write coco:PATH")
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: {_LAYOUT}")
    files = {split: _find_json(root, split, options.get(split)) for split in SPLITS}
    if files["train"] is None:
        raise DataError(f"{root} has no training annotations: {_LAYOUT}")
    contents = {
        split: _read_json(file, _image_folders(root, file, options.get("images")))
        for split, file in files.items()
        if file is not None
    }
    categories = _merge_categories(root, contents)
    splits = {split: found.images for split, found in contents.items()}
    notes: list[str] = []
    for split in ("test", "validation"):
        if not splits.get(split):
            train = splits["train"]
            splits["train"], splits[split] = carve(train, [i.name for i in train], seed=seed, split=split)
            count = len(splits[split])
            notes.append(f"{split} split carved from training images by seed {seed}: {count} images")
    dropped = [place for found in contents.values() for place in found.dropped]
    if not any(item.boxes for items in splits.values() for item in items):
        raise no_box_error(root, dropped)
    labels = {identifier: label for label, identifier in enumerate(sorted(categories), start=1)}
    every_file = [file for file in files.values() if file is not None]
    every_file += [item.image for split in SPLITS for item in splits[split]]
    counts = [(split, len(splits[split])) for split in SPLITS]
    return DetectionData(
        spec=f"coco:{path}",
        classes=tuple(categories[identifier] for identifier in sorted(categories)),
        splits={split: [_record(item, labels) for item in splits[split]] for split in SPLITS},
        fingerprint=fingerprint(["coco", root.as_posix(), seed, counts], every_file),
        notes=(*degenerate_note(dropped), *notes),
        dropped=tuple(dropped),
    )


def _find_json(root: Path, split: str, given: object) -> Path | None:
    if given is None:
        known = [root / "annotations" / name for name in _FILES[split]]
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
    return [root / split, root / "images" / split, root / "images", root]


def _read_json(file: Path, folders: Sequence[Path]) -> _Contents:
    content = read_json(file, "images")
    categories = _read_categories(content, file)
    images = _read_images(content, file)
    objects: dict[int, list[tuple[_Box, int, bool]]] = {identifier: [] for identifier in images}
    dropped: list[str] = []
    for position, item in enumerate(_entries(content, "annotations", file)):
        where = f"{file}: annotation {item.get('id', f'number {position + 1}')}"
        image = _integer(item, "image_id", where)
        category = _integer(item, "category_id", where)
        if image not in images:
            raise DataError(f"{where} belongs to image {image}, which the file does not list")
        if category not in categories:
            raise DataError(f"{where} has category {category}, which the file does not list")
        name, width, height = images[image]
        box = _box(item, where, width, height)
        if box is None:
            dropped.append(name)
        else:
            objects[image].append((box, category, item.get("iscrowd", 0) == 1))
    annotated = [
        _Annotated(
            name,
            _find_image(folders, name, file),
            width,
            height,
            boxes=tuple(box for box, _, _ in objects[identifier]),
            categories=tuple(category for _, category, _ in objects[identifier]),
            is_crowd=tuple(is_crowd for _, _, is_crowd in objects[identifier]),
        )
        for identifier, (name, width, height) in images.items()
    ]
    return _Contents(annotated, categories, dropped)


def _read_categories(content: Mapping[str, object], file: Path) -> dict[int, str]:
    categories: dict[int, str] = {}
    for item in _entries(content, "categories", file):
        identifier = _integer(item, "id", f"{file}: category")
        name = item.get("name")
        if not isinstance(name, str) or identifier in categories:
            raise DataError(f"{file}: category {identifier} has no name, or occurs twice")
        categories[identifier] = name
    return categories


def _read_images(content: Mapping[str, object], file: Path) -> dict[int, tuple[str, int, int]]:
    """Return file name, width and height by image id, in the order of the file."""
    images: dict[int, tuple[str, int, int]] = {}
    for item in _entries(content, "images", file):
        identifier = _integer(item, "id", f"{file}: image")
        where = f"{file}: image {identifier}"
        name = item.get("file_name")
        if not isinstance(name, str) or identifier in images:
            raise DataError(f"{where} has no file_name, or occurs twice")
        width, height = _integer(item, "width", where), _integer(item, "height", where)
        if min(width, height) < 1:
            raise DataError(f"{where} is {width}x{height}: both sides must be at least 1 pixel")
        images[identifier] = (name, width, height)
    if not images:
        raise DataError(f"{file} lists no image")
    return images


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


def _box(item: Mapping[str, object], where: str, width: int, height: int) -> _Box | None:
    """Return the clipped box, or None for one without area."""
    found = item.get("bbox")
    is_numbers = isinstance(found, list) and all(isinstance(value, int | float) for value in found)
    if not isinstance(found, list) or not is_numbers or len(found) != 4 or not np.isfinite(found).all():
        raise DataError(f"{where} has bbox {found!r}: four numbers x, y, width, height are expected")
    x, y, box_width, box_height = (float(value) for value in found)
    x1, y1, x2, y2 = max(x, 0.0), max(y, 0.0), min(x + box_width, width), min(y + box_height, height)
    # compared as stored: a width below float32's resolution is no width
    has_area = np.float32(x2) > np.float32(x1) and np.float32(y2) > np.float32(y1)
    return (x1, y1, x2, y2) if has_area else None


def _find_image(folders: Sequence[Path], name: str, file: Path) -> Path:
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    places = ", ".join(str(folder) for folder in folders)
    raise DataError(f"{file} lists the image {name}, which none of these folders holds: {places}")


def _merge_categories(root: Path, contents: Mapping[str, _Contents]) -> dict[int, str]:
    merged: dict[int, str] = {}
    for found in contents.values():
        for identifier, name in found.categories.items():
            if merged.setdefault(identifier, name) != name:
                first = merged[identifier]
                raise DataError(f"category {identifier} is {first!r} in one file of {root} and {name!r} in another")
    return merged


def _record(item: _Annotated, labels: Mapping[int, int]) -> ImageRecord:
    return ImageRecord(
        name=item.name,
        read=partial(read_image, item.image),
        width=item.width,
        height=item.height,
        boxes=np.asarray(item.boxes, np.float32).reshape(-1, 4),
        labels=np.asarray([labels[category] for category in item.categories], np.int64),
        ignore=np.asarray(item.is_crowd, np.bool_),
    )
