"""The box of a COCO annotation: its ``bbox``, or what its segmentation covers; and its ``area``.

A ``bbox`` is (x, y, width, height) from 0, so x1 = x and x2 = x + width. Polygons are lists of x, y, x, y, …; a mask is
written in run lengths, column by column, background first: ``counts`` as numbers or as COCO's text.
"""

from collections.abc import Mapping
from itertools import chain

import numpy as np

from spnas_core.errors import DataError
from spnas_detect.data._base import MOST_SIDE
from spnas_detect.data.coco.values import is_missing, number, numbers, whole
from spnas_detect.data.repairs import RepairCollector

Box = tuple[float, float, float, float]

_FEWEST_POINTS = 3
_ROUNDING = 0.05  # pixels outside that come of written decimals


def corners(
    item: Mapping[str, object],
    where: str,
    place: str,
    repairs: RepairCollector,
    size: tuple[int, int] | None = None,
) -> Box | None:
    """Return (x1, y1, x2, y2) of an annotation's box as written; None where it has none.

    Without a ``bbox`` it is the box around the segmentation: around all polygons of three points or more, and without
    area where there is none.

    Args:
        item: the annotation.
        where: it stands, for errors.
        place: it stands, for repairs.
        repairs: takes what was done.
        size: (width, height) of the image, where it is known: a mask is as large.

    Raises:
        DataError: a ``bbox`` that is not four numbers, or a segmentation that is not as described.
    """
    found, outline = item.get("bbox"), item.get("segmentation")
    if not is_missing(found):
        return _bbox(found, where, place, repairs)
    if outline in (None, [], {}):
        repairs.add("annotations without a box, left out", place)
        return None
    repairs.add("boxes taken from their segmentation", place)
    if isinstance(outline, dict):
        return _mask_box(outline, where, size)
    return _polygon_box(outline, where, place, repairs)


def annotated_area(item: Mapping[str, object], place: str, repairs: RepairCollector) -> float | None:
    """Return an annotation's ``area`` in square pixels, which is its mask's; None where the box's is meant.

    Args:
        item: the annotation.
        place: it stands.
        repairs: takes what was done.
    """
    value = item.get("area")
    if isinstance(value, str):
        repairs.add("areas written as texts, read as numbers", place)
    area = number(value)
    if area is not None and area > 0:
        return area
    repairs.add("areas that are missing or no area, taken from the box", place)
    return None


def clip(box: Box, width: int, height: int) -> tuple[Box | None, bool]:
    """Return the box inside its image, None for one without area; and whether it reached beyond the image."""
    x1, y1, x2, y2 = max(box[0], 0.0), max(box[1], 0.0), min(box[2], width), min(box[3], height)
    # compared as stored: a width below float32's resolution is no width
    has_area = np.float32(x2) > np.float32(x1) and np.float32(y2) > np.float32(y1)
    is_beyond = min(box[0], box[1], width - box[2], height - box[3]) < -_ROUNDING
    return ((x1, y1, x2, y2) if has_area else None), is_beyond


def _bbox(found: object, where: str, place: str, repairs: RepairCollector) -> Box:
    values = found if isinstance(found, list) and len(found) == 4 else []
    read = numbers(values)
    if not read:
        raise DataError(f"{where} has bbox {found!r}: four numbers x, y, width, height are expected")
    if any(isinstance(value, str) for value in values):
        repairs.add("boxes written as texts, read as numbers", place)
    x, y, width, height = read
    return x, y, x + width, y + height


def _polygon_box(found: object, where: str, place: str, repairs: RepairCollector) -> Box:
    """Return the box around the polygons that have a surface, in pixels; one without area where none has."""
    if not isinstance(found, list):
        raise DataError(f"{where} has segmentation {found!r}: polygons or run lengths are expected")
    polygons = [polygon for polygon in found if polygon != []] if isinstance(found[0], list) else [found]
    polygons = [polygons] if len(polygons) >= _FEWEST_POINTS and all(map(_is_pair, polygons)) else polygons
    points: list[list[float]] = []
    for polygon in polygons:
        written = polygon if isinstance(polygon, list) else []
        flat = list(chain.from_iterable(written)) if all(map(_is_pair, written)) else written
        read = numbers(flat)
        if not read or len(read) % 2:
            raise DataError(f"{where} has a polygon {str(polygon)[:60]}: numbers x, y, x, y, … are expected")
        if flat is not written or any(isinstance(value, str) for value in flat):
            repairs.add("polygons written as texts or as pairs, read as numbers", place)
        if len(read) >= 2 * _FEWEST_POINTS:
            points.append(read)
    if not points:
        return 0.0, 0.0, 0.0, 0.0
    xs, ys = ([value for polygon in points for value in polygon[start::2]] for start in (0, 1))
    return min(xs), min(ys), max(xs), max(ys)


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and not any(isinstance(one, list) for one in value)


def _mask_box(found: Mapping[str, object], where: str, image: tuple[int, int] | None) -> Box:
    """Return the box around a mask in run lengths, in whole pixels; one without area for an empty mask."""
    written = found.get("counts")
    size = _wholes(found.get("size"))
    counts = _wholes(_decoded(written) if isinstance(written, str) else written)
    if size is None or len(size) != 2 or min(size) < 1 or counts is None:
        raise DataError(f"{where} has a mask with size {found.get('size')!r} and counts that are no run lengths")
    if image is not None and (size[1], size[0]) != image:
        raise DataError(
            f"{where} has a mask of {size[1]}x{size[0]} pixels, and its image has {image[0]}x{image[1]}: size is "
            "[height, width]"
        )
    if max(size) > MOST_SIDE or sum(counts) != size[0] * size[1]:
        raise DataError(f"{where} has a mask of {sum(counts)} pixels, and size {size} makes {size[0] * size[1]}")
    ends = np.cumsum(counts, dtype=np.int64)
    starts, ends = ends[:-1:2], ends[1::2]  # of the runs that are mask
    starts, last = starts[: len(ends)][ends > starts[: len(ends)]], ends[ends > starts[: len(ends)]] - 1
    if not len(starts):
        return 0.0, 0.0, 0.0, 0.0
    height = size[0]
    is_broken = bool((starts // height < last // height).any())  # a run that goes on at the top of the next column
    top, bottom = (0, height) if is_broken else (int((starts % height).min()), int((last % height).max()) + 1)
    return float(starts.min() // height), float(top), float(last.max() // height + 1), float(bottom)


def _wholes(values: object) -> list[int] | None:
    """Read whole numbers from 0 on; None where it is no list of these."""
    if not isinstance(values, list):
        return None
    found = [one for value in values if (one := whole(value)) is not None and one >= 0]
    return found if len(found) == len(values) else None


def _decoded(text: str) -> list[int] | None:
    """Return the run lengths of COCO's text: five bits a letter, from the fourth on differences to the last but one."""
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts if shift == 0 else None
