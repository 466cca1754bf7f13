"""Where a YOLO data set's images and labels lie, though it was written on another machine."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from spnas_core.paths import as_written
from spnas_detect.data.image_folder import images_below

VALIDATION_NAMES = ("val", "valid", "validation")

_SPLIT_NAMES = {"train": ("train", "training"), "validation": VALIDATION_NAMES, "test": ("test",)}
_ANY_SPLIT = frozenset(name for names in _SPLIT_NAMES.values() for name in names)
_LOOKED_AT = 100  # images of a folder, to see whether there are labels
_IMAGE_FOLDERS = frozenset({"images", "JPEGImages"})  # the latter is darknet's, for VOC


@dataclass(frozen=True)
class Found:
    """An existing file or folder.

    Attributes:
        path: without ``..``; a link stays the link, since names and labels go by it.
        is_moved: whether only the end of the written path led there.
    """

    path: Path
    is_moved: bool


def locate(written: str, bases: Sequence[Path]) -> Found | None:
    """Find a file or folder by its written path, else by the end of that path.

    Example: of ``/home/joe/birds/images/train/a.jpg`` the ends ``joe/birds/images/train/a.jpg``,
    ``birds/images/train/a.jpg``, ``images/train/a.jpg`` and ``train/a.jpg`` are tried, in this order, and ``a.jpg`` is
    not: an end that no longer tells the split could belong to another one.

    Args:
        written: absolute or relative, with slashes of either kind.
        bases: folders that it may be relative to, the first one first.

    Returns:
        None where there is nothing of that name.
    """
    text = re.sub(r"^[A-Za-z]:", "", written.strip().replace("\\", "/"))
    for base in bases:
        found = as_written(base / text)
        if found is not None:
            return Found(found, is_moved=False)
    for end in _ends(text):
        for base in bases:
            found = as_written(base / end)
            if found is not None:
                return Found(found, is_moved=True)
    return None


def _ends(text: str) -> Iterator[str]:
    parts = [part for part in PurePosixPath(text).parts if part not in ("/", "..", ".")]
    splits = [index for index, part in enumerate(parts) if part.lower() in _ANY_SPLIT]
    last = splits[-1] if splits else len(parts) - 1
    for start in range(last + 1):
        yield "/".join(parts[start:])


def is_optional(entry: str, split: str) -> bool:
    """Tell whether an entry is one that Roboflow writes whether or not there are such images."""
    return split != "train" and re.fullmatch(r"(\.\./)?(valid|val|test)/images/?", entry) is not None


def images_of_split(folder: Path, split: str) -> Path | None:
    """Find a split's list or folder of images where nothing describes it.

    In this order: ``train.txt``, ``images/train``, ``train/images``, ``train``; for the training images also ``images``
    and the folder itself. For the other splits ``val``, ``valid``, ``validation`` and ``test`` likewise.

    Returns:
        The first of them that holds an image, or None.
    """
    for name in _SPLIT_NAMES[split]:
        if (folder / f"{name}.txt").is_file():
            return folder / f"{name}.txt"
        for place in (folder / "images" / name, folder / name / "images", folder / name):
            if holds_image(place):
                return place
    rest = (folder / "images", folder) if split == "train" else ()
    return next((place for place in rest if holds_image(place)), None)


def holds_image(folder: Path) -> bool:
    """Tell whether an image lies below a folder."""
    return next(images_below(folder), None) is not None


def has_labels(folder: Path) -> bool:
    """Tell whether one of the first images below a folder has a label file."""
    first = islice(images_below(folder), _LOOKED_AT)
    return any(place.is_file() for image in first for place in label_places(image))


def label_places(image: Path) -> list[Path]:
    """List where the labels of an image may lie, the usual place first.

    The last folder called ``images`` becomes ``labels``; else they lie beside the image.
    """
    beside, parts = image.with_suffix(".txt"), list(image.parts)
    index = next((index for index in reversed(range(len(parts) - 1)) if parts[index] in _IMAGE_FOLDERS), None)
    if index is None:
        return [beside]
    parts[index] = "labels"
    return [Path(*parts).with_suffix(".txt"), beside]
