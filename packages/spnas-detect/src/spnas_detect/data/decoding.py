"""Decoding the images of a split with several threads."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from spnas_core.errors import DataError
from spnas_core.machine import usable_cores
from spnas_detect.data._base import SPLITS, DetectionData, ImageRecord
from spnas_detect.data.checks import SPLIT_WORDS, emptied_faults
from spnas_detect.data.faults import UNREADABLE_IMAGE, Fault, left_out, refuse
from spnas_detect.data.fitting import read_pixels

MOST_THREADS = 8

_T = TypeVar("_T")


def decode(records: Sequence[ImageRecord], use: Callable[[ImageRecord, NDArray[np.uint8]], _T]) -> Iterator[_T | Fault]:
    """Decode every image, and do something with it.

    Args:
        records: the images.
        use: called with record and pixels, by several threads at once.

    Yields:
        In the order of the records what ``use`` returns, or the fault of an image that cannot be read.
    """
    return take_in(records, lambda _, record: use(record, read_pixels(record)))


def take_in(records: Sequence[ImageRecord], take: Callable[[int, ImageRecord], _T]) -> Iterator[_T | Fault]:
    """Read every image, one way or another.

    Args:
        records: the images.
        take: reads the image of an index and record, by several threads at once; a DataError is the image's fault.

    Yields:
        In the order of the records what ``take`` returns, or the fault of an image that cannot be read.
    """

    def one(index: int) -> _T | Fault:
        record = records[index]
        try:
            return take(index, record)
        except DataError as error:
            return Fault(UNREADABLE_IMAGE, record.name, str(error))

    pool = ThreadPoolExecutor(min(usable_cores(), MOST_THREADS))
    try:
        yield from pool.map(one, range(len(records)))
    finally:
        pool.shutdown(cancel_futures=True)


def drop_unreadable(data: DetectionData, splits: Sequence[str] = SPLITS) -> DetectionData:
    """Leave out images that do not decode, as the cache does, for whoever reads the records without one.

    Every image of the splits is decoded for that, where the data drops what does not decode; other data stays as it is.

    Args:
        data: the data set.
        splits: those that are looked at.

    Returns:
        The data set without those images, and notes that count them.

    Raises:
        FaultyDataError: no box is left in a split.
    """
    if data.on_fault != "drop":
        return data
    kept: dict[str, Sequence[ImageRecord]] = {}
    notes: list[str] = []
    faults: list[Fault] = []
    for split in splits:
        found = list(decode(data.splits[split], lambda record, _: record))
        kept[split] = [one for one in found if isinstance(one, ImageRecord)]
        unreadable = [one.where for one in found if isinstance(one, Fault)]
        notes += left_out(unreadable, SPLIT_WORDS[split])
        if unreadable:
            faults += emptied_faults(data, split, kept[split])
    refuse(data.spec, faults)
    return replace(data, splits={**data.splits, **kept}, notes=(*data.notes, *notes))
