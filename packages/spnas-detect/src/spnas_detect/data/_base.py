"""The contract of detection data: records of images, splits, and the readers that make them."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from spnas_core.errors import DataError, suggestion
from spnas_detect.data.annotated import AnnotatedAs
from spnas_detect.data.faults import Fault, refuse
from spnas_detect.data.images import common_folder
from spnas_detect.data.repairs import Repair

SPLITS = ("train", "validation", "test")
"""The names of the splits, in the order in which everything lists them."""

ALL = "all"
"""In the place of a split: every image of the data."""

CARVED_NOTE = "split carved from training images"
"""What the note on such a split says of it."""

CARVED, VALIDATION = "carved", "validation"
"""Values of the option ``test``: a share of the training images, or the validation images once more."""

CARVED_SHARE = 0.2
"""The share of the training images that becomes a split which the data set lacks."""

_LEAST_CARVED = 2  # images: one for either split

MOST_SIDE = 10**9
"""Pixels along a side, or away from the origin, that annotations are believed."""

_T = TypeVar("_T")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_N = TypeVar("_N", bound=_Named)


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """One annotated image, its pixels read on demand.

    Attributes:
        name: what messages and reports call the image; the same wherever the data lies.
        read: gives the pixels as uint8[H, W, 3] RGB; raises DataError naming the file.
        width: in pixels, as annotated.
        height: in pixels, as annotated.
        boxes: float32[G, 4] of (x1, y1, x2, y2) in original pixels, inside the image, x1 < x2, y1 < y2.
        labels: int64[G] in 1…C.
        ignore: bool[G]; True where neither a hit nor a miss counts (VOC difficult, COCO crowd).
        tags: one tuple of texts per box, such as ``("occluded>40",)``; empty where the data has none.
        own_boxes: float32[G, 4], boxes of the objects without what belongs to them, such as riders without their
            vehicles; inside the image, perhaps without an area. None where they are ``boxes``.
        areas: float64[G] in square pixels, what decides how large an object is to COCO's metric, such as the area of
            its mask; NaN for a box's own. None where all are the boxes'.
        annotated_as: what the file of annotations calls the image and its classes; None where none does by ids.
    """

    name: str
    read: Callable[[], NDArray[np.uint8]]
    width: int
    height: int
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    tags: tuple[tuple[str, ...], ...] = ()
    own_boxes: NDArray[np.float32] | None = None
    areas: NDArray[np.float64] | None = None
    annotated_as: AnnotatedAs | None = None


@dataclass(frozen=True, eq=False)
class DetectionData:
    """A data set with its three splits.

    Attributes:
        spec: the text that opened it, such as ``voc:data/bccd``.
        classes: names of the labels 1…C.
        splits: records under the keys ``train``, ``validation`` and ``test``; sequences may be lazy.
        fingerprint: changes whenever the content would (options, seed, file names, sizes and times).
        notes: what a reader of results should know, such as dropped boxes and carved splits.
        dropped: of each degenerate box that the reader left out, the file or image that has it.
        faults: files, images and objects that cannot be read, and are left out: the data is not to be used, only
            looked at.
        on_fault: ``drop`` where images that do not decode are left out and counted, as those with other faults of their
            own already are; ``refuse`` where the data is not to be used then.
        layout: the arrangement of files that was recognised, such as ``split folders with XML beside images``.
        repairs: what was mended or left out, counted.
        tests_on_validation: whether the test images are the validation images.
    """

    spec: str
    classes: tuple[str, ...]
    splits: Mapping[str, Sequence[ImageRecord]]
    fingerprint: str
    notes: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    on_fault: str = "refuse"
    layout: str = ""
    repairs: tuple[Repair, ...] = ()
    tests_on_validation: bool = False

    @property
    def remarks(self) -> tuple[str, ...]:
        """The notes, and a line per repair: what goes with every result."""
        return (*self.notes, *map(str, self.repairs))

    def made(self) -> "DetectionData":
        """Return the same data with every record made, for whoever goes through lazy ones more than once."""
        return replace(self, splits={split: tuple(records) for split, records in self.splits.items()})

    def once(self) -> "DetectionData":
        """Return the same data without test images where those are the validation images: every image once."""
        return replace(self, splits={**self.splits, "test": ()}) if self.tests_on_validation else self


def object_areas(boxes: NDArray[Any], annotated: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return float64[G] in square pixels: as annotated, where that is not NaN, else those of the boxes [G, 4]."""
    sides = boxes[:, 2:].astype(np.float64) - boxes[:, :2]
    own: NDArray[np.float64] = sides[:, 0] * sides[:, 1]
    return own if annotated is None else np.where(np.isnan(annotated), own, annotated)


class Reader(Protocol):
    """Opens one kind of data set."""

    def __call__(self, path: str | None, *, seed: int, options: Mapping[str, object]) -> DetectionData:
        """Read the annotations and prepare the records.

        Args:
            path: what follows the colon of the spec, or None.
            seed: decides carved splits and generated content.
            options: settings of this kind of data.

        Returns:
            The data set; pixels are read later. What is wrong with single files is among its faults.

        Raises:
            DataError: a path or option that is not usable, or no data is left beside the faults.
        """
        ...


def _builtin(module: str, function: str, summary: str) -> Reader:
    """Defer a reader's import until a spec asks for it; the summary becomes its docstring."""

    def read(path: str | None, *, seed: int, options: Mapping[str, object]) -> DetectionData:
        reader = cast("Reader", getattr(import_module(module), function))
        return reader(path, seed=seed, options=options)

    read.__doc__ = summary
    return read


READERS: dict[str, Reader] = {
    "shapes": _builtin("spnas_detect.data.shapes", "read_shapes", "generated squares, discs, triangles and rings"),
    "voc": _builtin("spnas_detect.data.voc", "read_voc", "Pascal VOC folder or VOCdevkit: voc:PATH"),
    "coco": _builtin("spnas_detect.data.coco", "read_coco", "COCO layout: coco:PATH"),
    "ecp": _builtin("spnas_detect.data.eurocity", "read_eurocity", "EuroCity Persons layout: ecp:PATH"),
    "yolo": _builtin("spnas_detect.data.yolo", "read_yolo", "YOLO folder or its data.yaml: yolo:PATH"),
    "folder": _builtin("spnas_detect.data.folder", "read_folder", "folder in any of these layouts: folder:PATH"),
}
"""The kinds of data that come with this package."""


def open_data(spec: str, *, seed: int, readers: Mapping[str, Reader] | None = None, **options: object) -> DetectionData:
    """Open a data set by its spec.

    Args:
        spec: ``kind`` or ``kind:PATH``, such as ``shapes`` or ``voc:data/bccd``.
        seed: decides carved splits and generated content.
        readers: the kinds that are known; the built-in ones by default.
        options: settings of the kind.

    Returns:
        The data set, without a fault.

    Raises:
        DataError: an unknown kind, or whatever the reader has to say.
        FaultyDataError: files that cannot be read, all of them.
    """
    data = read_data(spec, seed=seed, readers=readers, options=options)
    refuse(spec, data.faults)
    return data


def read_data(
    spec: str, *, seed: int, readers: Mapping[str, Reader] | None = None, options: Mapping[str, object]
) -> DetectionData:
    """Open a data set for looking at: as ``open_data`` does, but with whatever is left beside its faults.

    Raises:
        DataError: an unknown kind, or nothing is left.
    """
    kind, colon, path = spec.partition(":")
    known = READERS if readers is None else readers
    if kind not in known:
        message = f"unknown kind of data {kind!r} in {spec!r}{suggestion(kind, known)}"
        raise DataError(message)
    if colon and not path:
        raise DataError(f"data {spec!r} has no path after the colon: write {kind}:PATH")
    return known[kind](path or None, seed=seed, options=options)


def check_options(kind: str, options: Mapping[str, object], known: Iterable[str]) -> None:
    """Refuse options that the kind of data does not have.

    Raises:
        DataError: names the first unknown option and the nearest known one.
    """
    names = tuple(known)
    for name in options:
        if name not in names:
            hint = "; the seed of data is data_seed, --data-seed" if name == "seed" else suggestion(name, names)
            raise DataError(f"{kind} data has no option {name!r}{hint}")


def fingerprint(parts: Iterable[object], files: Iterable[Path] = ()) -> str:
    """Digest what decides the content of a data set.

    Args:
        parts: values whose ``repr`` is stable.
        files: existing files; their path below the folder that holds all of them, their size and modification time
            enter, their content does not.

    Returns:
        64 hexadecimal digits: the same where a data set was moved as it is.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part!r}\n".encode())
    found = list(files)
    root = common_folder(found)
    for file in found:
        stat = file.stat()
        place = os.fsencode(file.relative_to(root))
        digest.update(b"%s\0%d\0%d\n" % (place, stat.st_size, stat.st_mtime_ns))
    return digest.hexdigest()


def carve(items: Sequence[_T], names: Sequence[str], *, seed: int, split: str) -> tuple[list[_T], list[_T]]:
    """Take a seeded share of the training images for a split that the data set lacks.

    Args:
        items: the training images.
        names: their names; the draw depends on the sorted names, not on the order of the items.
        seed: of the draw.
        split: the split to make; different splits draw independently.

    Returns:
        The remaining and the carved items, both in their original order.

    Raises:
        DataError: fewer than two items.
    """
    if len(items) < _LEAST_CARVED:
        raise DataError(f"{len(items)} training image(s) cannot also make a {split} split: at least 2 are needed")
    count = min(max(1, round(CARVED_SHARE * len(items))), len(items) - 1)
    by_name = sorted(range(len(items)), key=lambda index: names[index])
    drawn = np.random.default_rng([seed, SPLITS.index(split)]).permutation(len(items))[:count]
    chosen = {by_name[position] for position in drawn}
    kept = [item for index, item in enumerate(items) if index not in chosen]
    return kept, [item for index, item in enumerate(items) if index in chosen]


def has_no_own_test(splits: Mapping[str, Sequence[_N]], image: Callable[[_N], object]) -> bool:
    """Tell whether nothing but the validation images can test.

    That is so where the test split is the validation split once more, and where there is none to carve: next to all
    training images validate, too.

    Args:
        splits: by name.
        image: what tells the image of an item, whatever its split.
    """
    validation, test = splits.get("validation", ()), splits.get("test", ())
    if not validation or test:
        return bool(validation) and set(test) == set(validation)
    train = splits["train"]
    return len(_unshared(splits, image)) < min(_LEAST_CARVED, len(train))


def _unshared(splits: Mapping[str, Sequence[_N]], image: Callable[[_N], object]) -> list[_N]:
    """Return the training images that no other split has."""
    others = {image(item) for split in ("validation", "test") for item in splits.get(split, ())}
    return [item for item in splits["train"] if image(item) not in others]


def carve_missing(
    splits: dict[str, list[_N]],
    seed: int,
    *,
    tests_on_validation: bool = False,
    image: Callable[[_N], object] | None = None,
) -> list[str]:
    """Fill test and validation splits that are missing or empty from the training images, in place.

    Args:
        splits: by name.
        seed: of the draw.
        tests_on_validation: whether the validation images become the test images, too, whatever there is of those.
        image: what tells the image of an item, whatever its split: those that another split has are not carved, unless
            hardly others are left. None takes all items for different images.

    Returns:
        A note per split that was carved, or is another one.

    Raises:
        DataError: fewer than two training images.
    """
    notes = []
    for split in ("validation",) if tests_on_validation else ("test", "validation"):
        if not splits.get(split):
            train = splits["train"]
            unshared = train if image is None else _unshared(splits, image)
            items = unshared if len(unshared) >= _LEAST_CARVED else train
            _, splits[split] = carve(items, [item.name for item in items], seed=seed, split=split)
            carved = set(map(id, splits[split]))
            splits["train"] = [item for item in train if id(item) not in carved]
            count = len(splits[split])
            notes.append(f"{split} {CARVED_NOTE} by seed {seed}: {count} images")
    if tests_on_validation:
        splits["test"] = splits["validation"]
        both = f"{len(splits['test'])} images are both"
        notes.append(f"test = validation: {both}, so nothing that their scores decide is tested on others")
    return notes


def split_title(split: str, *, tests_on_validation: bool) -> str:
    """Return what results call a split."""
    return "test = validation" if tests_on_validation and split == "test" else split


def read_json(file: Path, content: str) -> dict[str, object]:
    """Read a JSON file that holds an object.

    Args:
        file: to read.
        content: what the object is expected to have, for the message.

    Raises:
        DataError: the file is missing, malformed or no object; names the file and the line.
    """
    try:
        found: object = json.loads(file.read_bytes())  # UTF-8, 16 or 32, with its mark or without
    except json.JSONDecodeError as error:
        message = f"{file} is malformed JSON in line {error.lineno}, column {error.colno}: {error.msg}"
        raise DataError(message) from None
    except (OSError, ValueError, RecursionError) as error:  # no UTF-8, or a number of thousands of digits
        raise DataError(f"{file} cannot be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise DataError(f"{file} holds a {type(found).__name__}: an object with {content} is expected")
    return found


def no_box_error(where: object, dropped: Sequence[str]) -> DataError:
    """Word the refusal of a data set in which no box is left.

    Args:
        where: the data set's folder or file.
        dropped: one place per degenerate box that was left out.
    """
    if not dropped:
        return DataError(f"{where} has no box in any of its annotations: there is nothing to learn")
    places = ", ".join(list(dict.fromkeys(dropped))[:3])
    return DataError(
        f"{where} has no usable box: all {len(dropped)} have no area inside their image, first in {places}; look at "
        "the order of their coordinates"
    )


def degenerate_note(dropped: Sequence[str]) -> tuple[str, ...]:
    """Word the note on dropped boxes.

    Args:
        dropped: one place per dropped box, such as an annotation file's name.

    Returns:
        No note for no box, else one that names the first three places.
    """
    if not dropped:
        return ()
    places = list(dict.fromkeys(dropped))
    more = ", …" if len(places) > 3 else ""
    plural = "" if len(dropped) == 1 else "es"
    return (f"{len(dropped)} degenerate box{plural} dropped: {', '.join(places[:3])}{more}",)
