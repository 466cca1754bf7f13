"""A user's mistake on its way between processes: its type and its message."""

import pickle
from typing import Any

from spnas_core.errors import SpnasError


def sendable_mistake(error: SpnasError) -> tuple[type[Any], str]:
    """Return what is sent of a mistake."""
    kind = type(error)
    try:
        pickle.dumps(kind)
    except Exception:  # noqa: BLE001 - a type made inside a function
        kind = SpnasError
    return kind, str(error)


def same_mistake(kind: type[Any], message: str) -> SpnasError:
    """Make it again."""
    try:
        error = kind(message)
    except TypeError:  # a type of a plugin whose constructor takes something else
        return SpnasError(message)
    return error if isinstance(error, SpnasError) else SpnasError(message)
