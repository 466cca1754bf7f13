"""Mappings and lists that nobody can write into: an archive's own are handed to plugins as they are."""

from collections.abc import Mapping
from typing import Any, NoReturn


def _refuse(*_: object, **__: object) -> NoReturn:
    raise TypeError("the results of a candidate cannot be changed: change a copy, such as dict(candidate.metrics)")


_refused: Any = _refuse


class FrozenDict(dict[str, Any]):
    """A dictionary to whoever reads, compares, pickles or encodes it, and that stays as it is."""

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refused

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


class FrozenList(list[Any]):
    """A list that stays as it is; see ``FrozenDict``."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refused
    append = clear = extend = insert = pop = remove = reverse = sort = _refused

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (list(self),)


def frozen(value: Any) -> Any:
    """Return a plain value in which all mappings and lists stay as they are; numbers and texts do anyway."""
    if isinstance(value, (FrozenDict, FrozenList)):
        return value
    if isinstance(value, Mapping):
        return FrozenDict((key, frozen(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return FrozenList(map(frozen, value))
    return value
