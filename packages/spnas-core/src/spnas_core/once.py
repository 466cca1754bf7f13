"""Reading something once for several who need it one after the other, such as the annotations of a large data set."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar, cast

_T = TypeVar("_T")

_READ: ContextVar[dict[str, Any] | None] = ContextVar("spnas_once", default=None)


@contextmanager
def reading_once() -> Iterator[None]:
    """Let ``once`` read everything once inside, in this thread; nothing is kept afterwards."""
    token = _READ.set({})
    try:
        yield
    finally:
        _READ.reset(token)


def once(key: str, read: Callable[[], _T], *, is_last: bool = False) -> _T:
    """Return what was read inside of ``reading_once`` before, or read it; outside it is read each time.

    Args:
        key: tells what is read from all else.
        read: reads it.
        is_last: whether nobody will ask for it any more, so that it is not kept.
    """
    kept = _READ.get()
    if kept is None:
        return read()
    value = cast("_T", kept[key]) if key in kept else read()
    if is_last:
        kept.pop(key, None)
    else:
        kept[key] = value
    return value
