"""The two operators that detecting asks of ``spnas_kernels``; others stand in for them while a network is exported."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor

from spnas_kernels import nms_grouped_padded, roi_align_fpn


class Operators(NamedTuple):
    """What does the work.

    Attributes:
        suppress: called as ``spnas_kernels.nms_grouped_padded``.
        pool: called as ``spnas_kernels.roi_align_fpn``.
    """

    suppress: Callable[..., tuple[Tensor, Tensor]]
    pool: Callable[..., Tensor]


KERNELS = Operators(nms_grouped_padded, roi_align_fpn)

_current = KERNELS


def operators() -> Operators:
    """Return what does the work now."""
    return _current


@contextmanager
def using(others: Operators) -> Iterator[None]:
    """Let others do the work, in all threads, until the block ends."""
    global _current  # noqa: PLW0603
    before, _current = _current, others
    try:
        yield
    finally:
        _current = before
