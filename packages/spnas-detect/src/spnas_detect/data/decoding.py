"""Decoding the images of a split with several threads."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from spnas_core.errors import DataError
from spnas_detect.data._base import ImageRecord
from spnas_detect.data.faults import UNREADABLE_IMAGE, Fault
from spnas_detect.data.fitting import read_pixels

MOST_THREADS = 8

_T = TypeVar("_T")


def decode(
    records: Sequence[ImageRecord], use: Callable[[int, ImageRecord, NDArray[np.uint8]], _T]
) -> Iterator[_T | Fault]:
    """Decode every image, and do something with it.

    Args:
        records: the images.
        use: called with index, record and pixels, by several threads at once.

    Yields:
        In the order of the records what ``use`` returns, or the fault of an image that cannot be read.
    """

    def one(index: int) -> _T | Fault:
        record = records[index]
        try:
            image = read_pixels(record)
        except DataError as error:
            return Fault(UNREADABLE_IMAGE, record.name, str(error))
        return use(index, record, image)

    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS))
    try:
        yield from pool.map(one, range(len(records)))
    finally:
        pool.shutdown(cancel_futures=True)
