"""What a reader of data owes, checked: for readers that plugins bring, and by the suite that tests readers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spnas_detect.data._base import SPLITS, DetectionData, ImageRecord
from spnas_detect.data.faults import Fault

MALFORMED_RECORD = "malformed record"


def data_mistake(found: Any) -> str | None:
    """Say what is wrong with what a reader has returned, apart from its records; None where nothing is.

    Args:
        found: whatever that is.
    """
    if not isinstance(found, DetectionData):
        return f"returned a {type(found).__name__}: it must be a DetectionData"
    splits: Any = found.splits
    if not isinstance(splits, Mapping) or set(splits) != set(SPLITS):
        return f"returned the splits {_listed(splits)}: they must be {', '.join(SPLITS)}"
    for split, records in splits.items():
        if not isinstance(records, Sequence):
            return f"returned a {type(records).__name__} as the {split} split: it must be a sequence of records"
    names: Any = found.classes
    if not isinstance(names, tuple) or not names or not all(isinstance(one, str) and one.strip() for one in names):
        return f"returned the classes {names!r}: they must be a tuple of names, one at least"
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    return f"returned two classes of the name {twice[0]!r}: give each its own" if twice else None


def record_mistakes(split: str, records: Sequence[object], classes: int) -> Iterator[tuple[int, Fault]]:
    """Yield the place of each record that is none as a reader owes it, and what is wrong with it.

    Args:
        split: that they are of.
        records: whatever they are.
        classes: number of classes.
    """
    for place, record in enumerate(records):
        if not isinstance(record, ImageRecord):
            text = f"record {place} of the {split} split is a {type(record).__name__}: it must be an ImageRecord"
            yield place, Fault(MALFORMED_RECORD, split, text)
        elif (mistake := record_mistake(record, classes)) is not None:
            yield place, Fault(MALFORMED_RECORD, str(record.name), f"image {record.name} {mistake}")


def record_mistake(record: Any, classes: int) -> str | None:
    """Say what is wrong with a record, whose pixels are not looked at; None where nothing is.

    Args:
        record: an ImageRecord as the reader gives it, its fields whatever they are.
        classes: number of classes.
    """
    if not isinstance(record.name, str) or not callable(record.read):
        return "has no text as its name, or nothing that reads it"
    for side in (record.width, record.height):
        if not isinstance(side, int | np.integer) or side < 1:
            return f"has the size {record.width!r}x{record.height!r}: it must be whole numbers of pixels"
    count = len(record.boxes) if isinstance(record.boxes, np.ndarray) else 0
    due: tuple[tuple[str, type[np.generic], tuple[int, ...]], ...] = (
        ("boxes", np.float32, (count, 4)),
        ("labels", np.int64, (count,)),
        ("ignore", np.bool_, (count,)),
        ("own_boxes", np.float32, (count, 4)),
        ("areas", np.float64, (count,)),
    )
    for field, kind, shape in due:
        values = getattr(record, field)
        if values is None and field in {"own_boxes", "areas"}:
            continue
        if not isinstance(values, np.ndarray) or values.dtype != kind or values.shape != shape:
            return f"has {field} of {_kind(values)}: they must be {np.dtype(kind).name}{list(shape)}"
    if len(record.tags) not in {0, count}:
        return f"has {count} boxes and tags for {len(record.tags)}"
    wrong = record.labels[(record.labels < 1) | (record.labels > classes)]
    if len(wrong):
        return f"has a box of class {wrong[0]}: the data declares 1…{classes}"
    return _misplaced(record)


def _misplaced(record: ImageRecord) -> str | None:
    bounds = np.array([record.width, record.height] * 2, np.float32)
    inside = f"it must be inside {record.width}x{record.height} pixels"
    outside = _first(record.boxes, ~_holds(record.boxes, bounds))
    if outside is not None:
        return f"has the box {outside}: {inside}"
    empty = _first(record.boxes, np.asarray((record.boxes[:, :2] >= record.boxes[:, 2:]).any(axis=1)))
    if empty is not None:
        return f"has the box {empty} without an area: it must be left out"
    own = record.own_boxes
    if own is not None:
        outside = _first(own, ~_holds(own, bounds) | (own[:, :2] > own[:, 2:]).any(axis=1))
        if outside is not None:
            return f"has the own box {outside}: {inside}"
    if record.areas is not None and (record.areas <= 0).any():
        return "has an area that is not above 0: it must be square pixels, or NaN for the box's own"
    return None


def _holds(boxes: NDArray[np.float32], bounds: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray(((boxes >= 0) & (boxes <= bounds)).all(axis=1))  # NaN is neither


def _first(boxes: NDArray[np.float32], which: NDArray[np.bool_]) -> list[float] | None:
    return boxes[which.argmax()].tolist() if which.any() else None


def _kind(values: Any) -> str:
    return f"{values.dtype}{list(values.shape)}" if isinstance(values, np.ndarray) else type(values).__name__


def _listed(splits: object) -> str:
    return ", ".join(map(repr, splits)) if isinstance(splits, Mapping) else type(splits).__name__
