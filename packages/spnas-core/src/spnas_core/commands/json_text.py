"""JSON that every reader takes, whatever the values are."""

import json
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any


def to_json(value: object, *, indent: int | None = None) -> str:
    """Write a value as JSON: strict, and of ASCII letters only, so that no encoding can fail or alter it.

    NaN and infinities become null, at any depth. Keys become texts, tuples and sets lists; sets are sorted. NumPy's and
    torch's numbers and arrays become numbers and lists; anything else, such as a path, becomes its text.

    Args:
        value: to write.
        indent: blanks per level; None writes one line.
    """
    if indent is None:
        try:
            return _STRICT.encode(value)
        except (TypeError, ValueError):
            pass  # something in it has no JSON of its own
    return json.dumps(_plain(value), indent=indent, allow_nan=False)


_STRICT = json.JSONEncoder(allow_nan=False)


def _plain(value: object) -> Any:
    """Return what JSON has for a value."""
    if isinstance(value, Mapping):
        return {_plain_scalar(key): _plain(item) for key, item in value.items()}
    if isinstance(value, AbstractSet):
        return sorted(map(_plain, value), key=str)
    if isinstance(value, (list, tuple)):
        return list(map(_plain, value))
    if callable(to_list := getattr(value, "tolist", None)):  # NumPy's and torch's arrays and numbers
        return _plain(to_list())
    return _plain_scalar(value)


def _plain_scalar(value: object) -> str | int | float | bool | None:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int)) else str(value)
