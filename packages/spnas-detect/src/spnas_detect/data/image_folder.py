"""Classification data, what a backbone can be pretrained on, and its reader: one folder of images per class."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from spnas_core.errors import DataError, suggestion
from spnas_core.paths import found_at
from spnas_detect.data._base import carve, fingerprint
from spnas_detect.data.faults import Fault, FaultyDataError, left_out
from spnas_detect.data.images import IMAGE_SUFFIXES, read_image
from spnas_detect.data.images.looking import look_at
from spnas_detect.data.images.options import ImageOptions

CLASSIFICATION_SPLITS = ("train", "validation")

_VALIDATION_FOLDERS = ("val", "validation")
_LAYOUT = "expected PATH/train/CLASS/*.jpg and PATH/val/CLASS/*.jpg, or PATH/CLASS/*.jpg"


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """One image of one class, its pixels read on demand.

    Attributes:
        name: what messages call the image.
        read: gives the pixels as uint8[H, W, 3] RGB of any size; raises DataError naming the file.
        label: 0…C-1.
    """

    name: str
    read: Callable[[], NDArray[np.uint8]]
    label: int


@dataclass(frozen=True, eq=False)
class ClassificationData:
    """Labelled images in two splits.

    Attributes:
        spec: where they come from.
        classes: names of the labels 0…C-1, at least two.
        splits: images under the keys ``train`` and ``validation``; sequences may be lazy.
        fingerprint: changes whenever the content would.
        notes: what a reader of results should know, such as a carved split.
        files: of the images, those of one split after the other, where each has a file of its own; else empty.
    """

    spec: str
    classes: tuple[str, ...]
    splits: Mapping[str, Sequence[LabelledImage]]
    fingerprint: str
    notes: tuple[str, ...] = ()
    files: Sequence[str] = ()


def open_image_folder(path: str | Path, *, seed: int, on_fault: str = "refuse") -> ClassificationData:
    """Read a folder of images by class, in the layout of ImageNet and of torchvision's ``ImageFolder``.

    Either ``PATH/train/CLASS/…`` and ``PATH/val/CLASS/…`` (or ``validation``), or ``PATH/CLASS/…``. The former is
    assumed where ``PATH/train`` holds a folder. Where the validation images are missing, 20 % of each class, at least
    one image, are carved from the training images by the seed; a class of one image only trains. Classes are sorted by
    name; images may lie in folders below their class. Files whose suffix is not among ``IMAGE_SUFFIXES``, and names
    that begin with a dot, are left out. An orientation that EXIF notes is applied.

    Args:
        path: the folder.
        seed: decides the carved split.
        on_fault: ``drop`` leaves out images whose headers cannot be read, and counts them; ``refuse`` looks at none:
            see ``header_faults``.

    Returns:
        The data; pixels are read later.

    Raises:
        DataError: a missing folder, fewer than two classes, classes without an image, or validation classes that are
            not among the training classes.
    """
    root = found_at(path)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: {_LAYOUT}")
    train_folder = root / "train"
    if not (train_folder.is_dir() and _folders(train_folder)):
        train_folder = root
    classes = tuple(_folders(train_folder))
    if len(classes) < 2:
        raise DataError(f"{train_folder} holds {len(classes)} class folder(s), at least 2 are needed: {_LAYOUT}")
    train, dropped = _images([train_folder / name for name in classes], on_fault)
    empty = [train_folder / name for name, files in zip(classes, train, strict=True) if not files]
    _refuse_folders(dict.fromkeys(empty, "holds no image: add some, or remove it"))
    validation, notes = _validation(root, train_folder, classes, train, seed, on_fault)
    chosen = {"train": train, "validation": validation}
    splits = {split: _Files(root, by_class) for split, by_class in chosen.items()}
    parts = ["image folder", classes, [len(files) for files in validation]]
    return ClassificationData(
        spec=str(path),
        classes=classes,
        splits=splits,
        fingerprint=fingerprint(parts, [file for split in chosen.values() for files in split for file in files]),
        notes=(*left_out(dropped, "training"), *notes),
        files=[file for split in splits.values() for file in split.paths],
    )


def header_faults(data: ClassificationData) -> list[Fault]:
    """Find images whose headers cannot be read: they cannot be decoded, either."""
    looked = look_at(((Path(file), None) for file in data.files), ImageOptions())
    return [Fault("unreadable image", str(file), reason) for file, reason in looked.reasons.items()]


def _images(folders: Sequence[Path], on_fault: str) -> tuple[list[list[Path]], list[str]]:
    """Return the images below each folder, and the names of those that are left out."""
    found = [list(images_below(folder)) for folder in folders]
    if on_fault != "drop":
        return found, []
    reasons = look_at(((file, None) for files in found for file in files), ImageOptions()).reasons
    kept = [[file for file in files if file not in reasons] for files in found]
    return kept, [file.name for file in reasons]


class _Files(Sequence[LabelledImage]):
    """Records that are made when they are asked for: a million of them would take half a gigabyte."""

    def __init__(self, root: Path, by_class: Sequence[Sequence[Path]]) -> None:
        self._root = root
        self._files = [str(file) for files in by_class for file in files]
        self._labels = np.repeat(np.arange(len(by_class)), [len(files) for files in by_class])

    @property
    def paths(self) -> Sequence[str]:
        """Of all images."""
        return self._files

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> LabelledImage: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[LabelledImage]: ...
    def __getitem__(self, index: int | slice) -> LabelledImage | Sequence[LabelledImage]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        file = Path(self._files[index])
        name = file.relative_to(self._root).as_posix()
        return LabelledImage(name, partial(read_image, file), int(self._labels[index]))


def _validation(
    root: Path, train_folder: Path, classes: Sequence[str], train: list[list[Path]], seed: int, on_fault: str
) -> tuple[list[list[Path]], list[str]]:
    """Find the validation images by class, or take them out of the training images, in place."""
    found = [root / name for name in _VALIDATION_FOLDERS if (root / name).is_dir()]
    if train_folder == root or not found:
        validation: list[list[Path]] = [[] for _ in classes]
        for label, files in enumerate(train):
            if len(files) > 1:
                names = [file.as_posix() for file in files]
                train[label], validation[label] = carve(files, names, seed=seed, split="validation")
        if not any(validation):
            raise DataError(f"every class of {train_folder} has one image only: none is left to validate with")
        count = sum(map(len, validation))
        return validation, [f"validation split carved from training images by seed {seed}: {count} images"]
    folder = found[0]
    _refuse_folders(
        {
            folder / name: f"is not among the training classes{suggestion(name, classes)}"
            for name in _folders(folder)
            if name not in classes
        }
    )
    validation, dropped = _images([folder / name for name in classes], on_fault)
    if not any(validation):
        raise DataError(f"{folder} holds no image: {_LAYOUT}")
    missing = [name for name, files in zip(classes, validation, strict=True) if not files]
    notes = [*left_out(dropped, "validation")]
    notes += [f"{len(missing)} class(es) have no validation image, first {missing[0]}"] if missing else []
    return validation, notes


def _refuse_folders(reasons: Mapping[Path, str]) -> None:
    """Refuse class folders, all of them at once."""
    if reasons:
        faults = [Fault("class folder", str(folder), f"class folder {folder} {why}") for folder, why in reasons.items()]
        raise FaultyDataError(None, faults)


def _folders(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir() if item.is_dir() and not item.name.startswith("."))


def images_below(folder: Path) -> Iterator[Path]:
    """Yield the images below a folder in the order of their paths; none where there is no folder.

    Names that begin with a dot are left out.
    """
    for place, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            if Path(file).suffix.lower() in IMAGE_SUFFIXES and not file.startswith("."):
                yield Path(place) / file
