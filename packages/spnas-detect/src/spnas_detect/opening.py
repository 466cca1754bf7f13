"""Opening data by its spec, with the readers of all plugins; those that are not ours are held to their contract."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from spnas_core.errors import PluginError, SpnasError
from spnas_core.once import once
from spnas_core.plugins import asked, owner, registry
from spnas_detect.data import READERS, DetectionData, Fault, ImageRecord, Reader, read_data
from spnas_detect.data.contract import data_mistake, record_mistakes
from spnas_detect.data.faults import refuse
from spnas_detect.settings import DetectionSettings


def opened(settings: DetectionSettings, *, is_last: bool = False) -> DetectionData:
    """Open the data that a task's settings name, once for all who look into it before a run begins.

    Args:
        settings: name the data and its options. Inside of ``spnas_core.once.reading_once`` its annotations are read for
            the first call only.
        is_last: whether nobody will need it after this call.

    Raises:
        DataError: the data cannot be used.
        PluginError: a plugin's reader raised, or returned what is no data.
    """
    return once(
        repr(("data", settings.data, settings.data_seed, sorted(settings.data_options.items()))),
        lambda: open_known(settings.data, settings.data_seed, settings.data_options),
        is_last=is_last,
    )


def open_known(spec: str, seed: int, options: Mapping[str, Any]) -> DetectionData:
    """Open a data set of any kind that is registered, for use.

    Raises:
        DataError: an unknown kind, whatever its reader has to say, or files that cannot be read.
        PluginError: a plugin's reader raised, or returned what is no data.
    """
    data = read_known(spec, seed, options)
    refuse(spec, data.faults)
    return data


def read_known(spec: str, seed: int, options: Mapping[str, Any]) -> DetectionData:
    """Open a data set of any kind that is registered, for looking at: with whatever is left beside its faults.

    Records of a plugin's reader that are none as its contract has them are such faults.

    Raises:
        DataError: an unknown kind, or nothing is left.
        PluginError: a plugin's reader raised, or returned what is no data.
    """
    return read_data(spec, seed=seed, readers=_readers(), options=options)


def _readers() -> dict[str, Reader]:
    known: dict[str, Reader] = registry("datasets").items
    return {
        kind: reader if kind in READERS and reader is READERS[kind] else _Held(owner("datasets", kind), reader)
        for kind, reader in known.items()
    }


@dataclass(frozen=True)
class _Held:
    """A plugin's reader, held to what a reader owes."""

    who: str
    reader: Reader

    def __call__(self, path: str | None, *, seed: int, options: Mapping[str, object]) -> DetectionData:
        read = partial(self.reader, path, seed=seed, options=options)
        found = asked(self.who, "read", read, passes=(SpnasError,))
        mistake = data_mistake(found)
        if mistake is not None:
            raise PluginError(f"{self.who} {mistake}")
        splits: dict[str, Sequence[ImageRecord]] = {}
        faults: list[Fault] = []
        for split, records in found.splits.items():
            mistakes = asked(self.who, f"the {split} split", partial(_mistakes, split, records, len(found.classes)))
            faults += mistakes.values()
            good = [place for place in range(len(records)) if place not in mistakes]
            splits[split] = _HeldRecords(self.who, records, good)
        return replace(found, splits=splits, faults=(*found.faults, *faults))


def _mistakes(split: str, records: Sequence[object], classes: int) -> dict[int, Fault]:
    return dict(record_mistakes(split, records, classes))


class _HeldRecords(Sequence[ImageRecord]):
    """Those records of a plugin that are well formed; they may be lazy."""

    def __init__(self, who: str, records: Sequence[ImageRecord], places: Sequence[int]) -> None:
        self._who, self._records, self._places = who, records, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> ImageRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ImageRecord]: ...
    def __getitem__(self, index: int | slice) -> ImageRecord | Sequence[ImageRecord]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        record = self._records[self._places[index]]
        return replace(record, read=_HeldPixels(self._who, record.name, record.read))

    def __iter__(self) -> Iterator[ImageRecord]:
        return (self[place] for place in range(len(self)))


@dataclass(frozen=True)
class _HeldPixels:
    """Reads an image of a plugin."""

    who: str
    name: str
    read: Callable[[], NDArray[np.uint8]]

    def __call__(self) -> NDArray[np.uint8]:
        pixels: Any = asked(self.who, f"reading {self.name}", self.read, passes=(SpnasError, OSError))
        if not isinstance(pixels, np.ndarray):
            raise PluginError(f"{self.who} read {self.name} as a {type(pixels).__name__}: it must be uint8[H, W, 3]")
        return pixels
