"""Label files of YOLO: a line per object, in fractions of the image's width and height.

A line is ``class cx cy w h``, or ``class x1 y1 x2 y2 x3 y3 …``: a polygon of three points or more, which counts as its
bounding box. An oriented box is a polygon of four points.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from spnas_core.errors import DataError
from spnas_detect.data.faults import BROKEN_ANNOTATION, FaultCollector
from spnas_detect.data.texts import read_lines

SLIGHT = 0.1
"""How far outside 0…1 a written number may lie; what lies farther is no fraction."""

ROUNDING = 1e-5
"""How far outside 0…1 a side may lie through the rounding of its decimals, which is no repair."""

_MOST_DIGITS = 100  # of a class: what is longer is none, whatever follows
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+|\d*,\d+)(?:[eE][+-]?\d+)?")
_BOX_COLUMNS = 5  # class cx cy w h
_LEAST_POLYGON = 7  # class and three points

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Naming:
    """What label files refer to.

    Attributes:
        source: the file that names the classes.
        classes: their names, in the order of their ids from 0.
        keypoint_values: numbers per keypoint, 2 or 3, where lines are boxes followed by keypoints; else None.
        reads_mixed: whether a line of five columns beside polygons is a box.
    """

    source: Path
    classes: tuple[str, ...]
    keypoint_values: int | None = None
    reads_mixed: bool = False


@dataclass(frozen=True)
class LabelledBox:
    """One object.

    Attributes:
        line: in the file, from 1.
        identifier: of the class, from 0.
        box: (x1, y1, x2, y2) in pixels, cut at the image; None for one without area.
        is_cut: whether it reached beyond the image by more than rounding.
        is_polygon: whether it is the bounding box of a polygon.
        has_keypoints: whether keypoints were left out.
        has_comma: whether a number had a decimal comma.
    """

    line: int
    identifier: int
    box: Box | None
    is_cut: bool = False
    is_polygon: bool = False
    has_keypoints: bool = False
    has_comma: bool = False


def read_labels(file: Path, size: tuple[int, int], naming: Naming, faults: FaultCollector) -> list[LabelledBox]:
    """Read a label file, and note each line that cannot be used among the faults.

    Args:
        file: to read; empty lines do not count.
        size: (width, height) of the image in pixels.
        naming: the classes, and what else lines may hold.
        faults: takes what is wrong.
    """
    lines = faults.attempt(BROKEN_ANNOTATION, file, partial(read_lines, file)) or []
    rows = [(number, line.split()) for number, line in enumerate(lines, start=1) if line.strip()]
    has_polygons = naming.keypoint_values is None and any(
        len(words) >= _LEAST_POLYGON and len(words) % 2 for _, words in rows
    )
    found = []
    for number, words in rows:
        where = f"{file}: line {number}"
        read = faults.attempt(
            BROKEN_ANNOTATION, file, partial(_read_line, number, words, where, size, naming, has_polygons=has_polygons)
        )
        if len(words) == 1:
            continue  # it is told already
        identifier = faults.attempt("unknown class", file, partial(_identifier, words[0], where, naming))
        if identifier is not None and read is not None:
            found.append(replace(read, identifier=identifier))
    return found


def _read_line(
    number: int, words: Sequence[str], where: str, size: tuple[int, int], naming: Naming, *, has_polygons: bool
) -> LabelledBox:
    count, written = len(words), [_number(word, where) for word in words[1:]]
    has_keypoints = _has_keypoints(count, naming.keypoint_values)
    is_polygon = naming.keypoint_values is None and count >= _LEAST_POLYGON and count % 2 == 1
    if not is_polygon and not has_keypoints:
        _check_columns(words, where, naming, has_polygons=has_polygons)
    values = written if is_polygon else written[:4]
    _check_fractions(values, words[1:], where, size, is_polygon=is_polygon)
    x1, y1, x2, y2 = _bounds(values) if is_polygon else _corners(values)
    return LabelledBox(
        number,
        0,  # whether the class is known is another question
        _pixels((x1, y1, x2, y2), size),
        is_cut=min(x1, y1) < -ROUNDING or max(x2, y2) > 1 + ROUNDING,
        is_polygon=is_polygon,
        has_keypoints=has_keypoints,
        has_comma=any("," in word for word in words[1:]),
    )


def _identifier(word: str, where: str, naming: Naming) -> int:
    names = naming.classes
    if re.fullmatch(r"[+-]?\d+(\.0*)?", word):
        identifier = int(word[:_MOST_DIGITS].partition(".")[0])
        if 0 <= identifier < len(names):
            return identifier
        known = f"names {len(names)} class(es), 0…{len(names) - 1}"
        raise DataError(f"{where} has class {word}, but {naming.source} {known}: name it there, or mend the line")
    if word in names:
        raise DataError(f"{where} has class {word!r}: write its number, which is {names.index(word)}")
    raise DataError(f"{where} has class {word!r}: a whole number is expected, the class's place in {naming.source}")


def _number(word: str, where: str) -> float:
    if not _NUMBER.fullmatch(word):
        hint = ": columns are separated by spaces, not commas" if "," in word else ", not a number"
        raise DataError(f"{where} has {word!r}{hint}")
    return float(word.replace(",", "."))


def _has_keypoints(count: int, values: int | None) -> bool:
    return values is not None and count > _BOX_COLUMNS and (count - _BOX_COLUMNS) % values == 0


def _check_columns(words: Sequence[str], where: str, naming: Naming, *, has_polygons: bool) -> None:
    """Refuse a line that is neither a box nor a polygon.

    Raises:
        DataError: says which of the usual mistakes it is.
    """
    count = len(words)
    if count == _BOX_COLUMNS and has_polygons and not naming.reads_mixed:
        reason = "a polygon needs three; if such lines are boxes, open the data with mixed=boxes"
        raise DataError(f"{where} has two points in a file of polygons: {reason}")
    if count == _BOX_COLUMNS:
        return
    if count == _BOX_COLUMNS + 1:
        reason = "with a confidence or a track behind it, as predictions have: annotations are expected; if these are"
        raise DataError(f"{where} is a box {reason}, remove the last column")
    if naming.keypoint_values is not None:
        kind = f"kpt_shape of {naming.source} gives keypoints of {naming.keypoint_values} numbers"
        raise DataError(f"{where} has {count} columns, but {kind} behind class, cx, cy, w and h")
    reason = "coordinates come in pairs" if count > _BOX_COLUMNS else "class, cx, cy, w and h are expected"
    commas = ", separated by spaces" if any("," in word for word in words) else ""
    raise DataError(f"{where} has {count} column(s): {reason}{commas}")


def _check_fractions(
    values: Sequence[float], words: Sequence[str], where: str, size: tuple[int, int], *, is_polygon: bool
) -> None:
    for value, word in zip(values, words, strict=False):
        if not -SLIGHT <= value <= 1 + SLIGHT:
            track = "" if not is_polygon or value != values[-1] else "; if it is a track's number, remove it"
            raise DataError(
                f"{where} has {word}, far outside 0…1: fractions of the image are expected; if these are pixels, "
                f"divide x by its width {size[0]} and y by its height {size[1]}{track}"
            )


def _corners(values: Sequence[float]) -> Box:
    cx, cy, width, height = values
    return cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2


def _bounds(values: Sequence[float]) -> Box:
    return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])


def _pixels(box: Box, size: tuple[int, int]) -> Box | None:
    """Return the box in pixels, cut at the image, or None for one without area."""
    x1, y1, x2, y2 = (min(max(value, 0.0), 1.0) * size[side % 2] for side, value in enumerate(box))
    # compared as stored: a width below float32's resolution is no width
    has_area = np.float32(x2) > np.float32(x1) and np.float32(y2) > np.float32(y1)
    return (x1, y1, x2, y2) if has_area else None
