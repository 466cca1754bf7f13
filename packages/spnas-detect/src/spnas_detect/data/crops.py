"""Classification data out of detection data: crops of the objects, and of places without one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import overload

import numpy as np
from numpy.typing import NDArray

from spnas_core.errors import DataError
from spnas_detect.data._base import DetectionData, ImageRecord, fingerprint
from spnas_detect.data.image_folder import CLASSIFICATION_SPLITS, ClassificationData, LabelledImage

BACKGROUND = "background"
"""Name of the last class of crops."""

_TRIES = 30
_Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Windows:
    """What is cut out of which image.

    Attributes:
        windows: int64[N, 4] of (x1, y1, x2, y2), whole pixels inside the image.
        images: int64[N], index of the image in its split.
        labels: int64[N] in 0…C-1, the last one background.
    """

    windows: _Ints
    images: _Ints
    labels: _Ints


def crops_from(
    data: DetectionData, *, seed: int, context: float = 1.25, min_side: int = 8, background: float = 1.0
) -> ClassificationData:
    """Cut objects, and places without an object, out of the training and validation images of a detection data set.

    An object's crop is the square around the middle of its box, ``context`` times as wide as the longer side; it is
    moved into the image where it reaches outside, and cut to the image where it is larger. Ignored objects give no
    crop. Background crops have the sizes that objects' crops have and share no area with any box, ignored ones
    included. Test images stay untouched.

    Args:
        data: the data set; annotations are read at once, pixels with each crop, for which its whole image is decoded.
        seed: decides where background crops lie.
        context: width of a crop as a multiple of the box's longer side, 1…4.
        min_side: objects whose longer side is shorter, in pixels, give no crop; at least 1.
        background: number of background crops, as a multiple of the mean number of crops per class, at least 0. Where
            images are too full, fewer are found, and a note says how many. 0 leaves the class out.

    Returns:
        Images of the data set's classes, in its order, and of BACKGROUND.

    Raises:
        DataError: a setting out of its range, fewer than two classes in the end, or a split without a crop.
    """
    if not 1 <= context <= 4:
        raise DataError(f"context of crops is {context!r}: it must be in 1…4")
    if min_side < 1:
        raise DataError(f"min_side of crops is {min_side!r}: it must be at least 1 pixel")
    if not 0 <= background < float("inf"):
        raise DataError(f"background of crops is {background!r}: it must be a number, not negative")
    classes = (*data.classes, BACKGROUND) if background else data.classes
    if len(set(classes)) < max(2, len(classes)):
        raise DataError(
            f"crops of {data.spec} would have the classes {', '.join(classes)}: two are needed, all different"
        )
    splits: dict[str, Sequence[LabelledImage]] = {}
    notes: list[str] = []
    for number, split in enumerate(CLASSIFICATION_SPLITS):
        records = data.splits[split]
        rng = np.random.default_rng([seed, number])
        objects, free, wanted = _find(records, len(data.classes), rng, context, min_side, background)
        if not len(objects.labels):
            raise DataError(f"no object in the {split} images of {data.spec} is {min_side} pixels long: lower min_side")
        splits[split] = _Crops(records, objects, free)
        notes.append(f"{split}: {len(objects.labels)} object crops, {len(free.labels)} background crops")
        if len(free.labels) < wanted:
            notes[-1] += f" of {wanted} wanted: images are too full"
    return ClassificationData(
        spec=f"crops of {data.spec}",
        classes=classes,
        splits=splits,
        fingerprint=fingerprint(["crops", data.fingerprint, seed, context, min_side, background]),
        notes=tuple(notes),
    )


def _find(
    records: Sequence[ImageRecord],
    classes: int,
    rng: np.random.Generator,
    context: float,
    min_side: int,
    background: float,
) -> tuple[_Windows, _Windows, int]:
    """Choose object windows and background windows, and say how many of the latter were wanted."""
    sizes: list[tuple[int, int]] = []
    boxes: list[NDArray[np.float32]] = []
    labels: list[_Ints] = []
    windows: list[_Ints] = []
    for record in records:
        sizes.append((record.width, record.height))
        boxes.append(record.boxes)
        longer = (record.boxes[:, 2:] - record.boxes[:, :2]).max(1, initial=0)
        chosen = ~record.ignore & (longer >= min_side)
        labels.append(record.labels[chosen] - 1)
        windows.append(_squares(record.boxes[chosen], sizes[-1], context))
    counts = [len(part) for part in labels]
    empty = np.zeros((0, 4), np.int64)
    objects = _Windows(
        np.concatenate([empty, *windows]),
        np.repeat(np.arange(len(counts)), counts),
        np.concatenate([np.zeros(0, np.int64), *labels]),
    )
    wanted = round(background * len(objects.labels) / classes)
    sides = (objects.windows[:, 2:] - objects.windows[:, :2]).max(1, initial=0)
    found: list[_Ints] = []
    places: list[int] = []
    for _ in range(wanted):
        image = int(rng.integers(len(sizes)))
        window = _free_window(sizes[image], boxes[image], sides, rng)
        if window is not None:
            found.append(window)
            places.append(image)
    free = _Windows(
        np.concatenate([empty, *(window[None] for window in found)]),
        np.asarray(places, np.int64),
        np.full(len(found), classes),
    )
    return objects, free, wanted


def _squares(boxes: NDArray[np.float32], size: tuple[int, int], context: float) -> _Ints:
    """Return the square windows of boxes [G, 4] in an image of (width, height)."""
    limits = np.asarray(size)
    middle = (boxes[:, :2] + boxes[:, 2:]).astype(np.float64) / 2
    side = np.ceil((boxes[:, 2:] - boxes[:, :2]).astype(np.float64).max(1, initial=0) * context)[:, None]
    first = np.clip(np.round(middle - side / 2), 0, np.maximum(limits - side, 0))
    return np.concatenate([first, np.minimum(first + side, limits)], 1).astype(np.int64)


def _free_window(
    size: tuple[int, int], boxes: NDArray[np.float32], sides: _Ints, rng: np.random.Generator
) -> _Ints | None:
    """Draw a window that shares no area with a box, or None after several tries."""
    for _ in range(_TRIES):
        side = min(int(sides[rng.integers(len(sides))]), *size)
        x, y = (int(rng.integers(most - side + 1)) for most in size)
        apart = (boxes[:, 0] >= x + side) | (boxes[:, 2] <= x) | (boxes[:, 1] >= y + side) | (boxes[:, 3] <= y)
        if apart.all():
            return np.asarray([x, y, x + side, y + side])
    return None


class _Crops(Sequence[LabelledImage]):
    """Objects, then background; records are made when they are asked for."""

    def __init__(self, records: Sequence[ImageRecord], objects: _Windows, background: _Windows) -> None:
        self._records = records
        self._windows = np.concatenate([objects.windows, background.windows])
        self._images = np.concatenate([objects.images, background.images])
        self._labels = np.concatenate([objects.labels, background.labels])

    def __len__(self) -> int:
        return len(self._labels)

    @overload
    def __getitem__(self, index: int) -> LabelledImage: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[LabelledImage]: ...
    def __getitem__(self, index: int | slice) -> LabelledImage | Sequence[LabelledImage]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        record = self._records[int(self._images[index])]
        window = tuple(self._windows[index].tolist())
        name = f"{record.name} at {window[0]},{window[1]}-{window[2]},{window[3]}"
        return LabelledImage(name, partial(_cut, record, window), int(self._labels[index]))


def _cut(record: ImageRecord, window: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Read uint8[h, w, 3]; a copy, so that the image can go."""
    x1, y1, x2, y2 = window
    image = record.read()
    crop = image[y1:y2, x1:x2].copy()
    if not crop.size:
        height, width = image.shape[:2]
        raise DataError(
            f"image {record.name} is {width}x{height} instead of {record.width}x{record.height}, so it has nothing at "
            f"{x1},{y1}: mend its annotated size"
        )
    return crop
