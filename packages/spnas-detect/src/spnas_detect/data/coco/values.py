"""Values of a COCO file as tools write them: one reading of numbers, whichever field they stand in."""

import math
import re
from collections.abc import Mapping, Sequence

from spnas_core.errors import DataError
from spnas_detect.data._base import MOST_SIDE

_TEXTS = {"true": 1.0, "false": 0.0}


def is_missing(value: object) -> bool:
    """Say whether a value stands for none: null, an empty text or list, or a list of such."""
    if isinstance(value, list):
        return all(map(is_missing, value))
    return value is None or (isinstance(value, str) and not value.strip())


def number(value: object) -> float | None:
    """Read a finite number, also from a text such as ``"64.5"``; None for anything else, true and false included."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def numbers(values: Sequence[object]) -> list[float]:
    """Read numbers; nothing where one of them is something else."""
    found = [one for value in values if (one := number(value)) is not None]
    return found if len(found) == len(values) else []


def whole(value: object) -> int | None:
    """Read a whole number that may be written as 3, 3.0, "3" or "3.0"; None for anything else."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    is_text = isinstance(value, str) and re.fullmatch(r"-?\d{1,18}(\.0*)?", value.strip(), re.ASCII)
    return int(str(value).strip().partition(".")[0]) if is_text else None


def sides(item: Mapping[str, object], where: str) -> tuple[int, int] | None:
    """Return width and height as annotated; None where one is missing, or is no number of pixels.

    Raises:
        DataError: one is no number at all, or beyond belief.
    """
    found = []
    for key in ("width", "height"):
        value = item.get(key)
        side = 0.0 if is_missing(value) else number(value)
        if side is None or side > MOST_SIDE:
            raise DataError(f"{where} has {key} {value!r}: a whole number of pixels is expected, or none")
        found.append(int(side) if side.is_integer() else 0)
    return (found[0], found[1]) if min(found) > 0 else None


def is_crowd(item: Mapping[str, object], where: str) -> bool:
    """Say whether an annotation is a crowd; one that says nothing of it is none.

    Raises:
        DataError: ``iscrowd`` is neither 0 nor 1.
    """
    value = item.get("iscrowd")
    if is_missing(value):
        return False
    found = float(value) if isinstance(value, bool) else _TEXTS.get(str(value).strip().lower(), number(value))
    if found not in (0.0, 1.0):
        raise DataError(f"{where} has iscrowd {value!r}: 0 or 1 is expected")
    return found == 1


def name_of(item: Mapping[str, object], key: str, where: str) -> str:
    """Return the name of a category or of an image's file; digits are names, too.

    Raises:
        DataError: it has none, or something else.
    """
    value = item.get(key)
    if type(value) is int:
        return str(value)
    if is_missing(value):
        raise DataError(f"{where} has no {key}: give it one")
    if not isinstance(value, str):
        raise DataError(f"{where} has {key} {value!r}: a text is expected")
    return value


def name_once(
    item: Mapping[str, object], key: str, where: str, written: dict[int | str, object], own: int | str
) -> str:
    """Return the name of a category or image whose id occurs for the first time.

    Args:
        item: its entry.
        key: of the name.
        where: it stands, for errors.
        written: ids as they are written in the entries before; takes this one.
        own: the entry's id as it is read.

    Raises:
        DataError: the id has occurred, perhaps written otherwise; or as ``name_of`` says.
    """
    if own in written:
        ids = " and ".join(dict.fromkeys(map(repr, (written[own], item.get("id")))))
        raise DataError(f"{where} occurs twice, its id written as {ids}: give each an id of its own")
    written[own] = item.get("id")
    return name_of(item, key, where)
