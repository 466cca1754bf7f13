"""The results of a study's trainings: a file of lines that only ever grows, and survives being cut off anywhere."""

import contextlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from spnas_core.commands.json_text import to_json
from spnas_core.durable import sync_folder
from spnas_core.errors import MALFORMED, ArchiveError, ConfigError, MachineError
from spnas_search.studies.keys import TrainingKey

_PLAIN: dict[str, Any] = {
    "digest": str,
    "seed": int,
    "threads": int,
    "seconds": float,
    "trained_epochs": int,
    "reason": str,
}
"""Fields of a training that stand in its line as they are, and their kinds."""


@dataclass(frozen=True)
class Training:
    """How a training ended.

    Attributes:
        key: which one it is.
        digest: of the job that it answers; see ``Job.digest``.
        seed: of everything random in it.
        threads: CPU threads that it was computed with; results depend on them in the last bits.
        seconds: that it took.
        trained_epochs: that it was trained for itself; those of the weights that it inherited do not count.
        metrics: by name, NaN where undefined; empty where it failed.
        cost: by name, of the backbone; empty where it failed.
        reason: why it failed, in one line; empty where it did not.
        partial: metrics in the middle of the training, by epoch; empty where none were asked for.
        checksum: of its weights file, where one was written and this is known; empty otherwise. Two trainings that
            differ in nothing else are equal: whether a file is written depends on who inherits it.
    """

    key: TrainingKey
    digest: str
    seed: int
    threads: int
    seconds: float
    trained_epochs: int
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    cost: Mapping[str, float] = field(default_factory=dict, hash=False)
    reason: str = ""
    partial: Mapping[int, Mapping[str, float]] = field(default_factory=dict, hash=False)
    checksum: str = field(default="", compare=False)

    @property
    def has_failed(self) -> bool:
        """Whether it ended without a score."""
        return bool(self.reason)

    def as_dict(self) -> dict[str, object]:
        """Return everything as plain values, the key's fields in front."""
        own = {name: getattr(self, name) for name in _PLAIN}
        partial = {str(epoch): dict(metrics) for epoch, metrics in self.partial.items()}
        own |= {"partial": partial} if partial else {}
        own |= {"checksum": self.checksum} if self.checksum else {}
        return {**self.key.as_dict(), "metrics": dict(self.metrics), "cost": dict(self.cost), **own}

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Read what ``as_dict`` gives; null is NaN, which JSON lacks.

        Raises:
            ConfigError: a field is missing or of another kind.
        """
        try:
            metrics, cost = (_numbers(values[name]) for name in ("metrics", "cost"))
            own = {name: kind(values[name]) for name, kind in _PLAIN.items()}
            partial = {int(epoch): _numbers(found) for epoch, found in values.get("partial", {}).items()}
            own["checksum"] = str(values.get("checksum", ""))
            return cls(TrainingKey.read(values), metrics=metrics, cost=cost, partial=partial, **own)
        except ConfigError:
            raise
        except KeyError as error:
            raise ConfigError(f"the field {error} is missing") from None
        except MALFORMED as error:
            raise ConfigError(f"a field is of another kind: {error}") from None


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: math.nan if value is None else value + 0 for name, value in values.items()}


@dataclass(frozen=True)
class TrainingLines:
    """What a file of trainings holds.

    Attributes:
        trainings: by key; of several lines of one key, as after another try of a failed one or new weights, the last
            counts.
        size: bytes up to the end of the last complete line.
        note: that a line was cut off, in words; empty where none was.
    """

    trainings: Mapping[TrainingKey, Training]
    size: int
    note: str


def read_trainings(path: Path) -> TrainingLines:
    """Read a file of trainings; one that does not exist holds none. Another process may be writing it.

    A last line without its end is dropped: its writer was killed, or is at it.

    Raises:
        ArchiveError: a complete line is no training; the message has its number.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return TrainingLines({}, 0, "")
    *lines, torn = content.split(b"\n")
    found: dict[TrainingKey, Training] = {}
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            training = Training.read(values if isinstance(values, dict) else {})
        except MALFORMED as error:  # a ConfigError is a ValueError
            what = str(error) if isinstance(error, ConfigError) else "it is no JSON"
            raise ArchiveError(
                f"{path}, line {number}: {what}; restore a copy, or remove the line to have its training made again"
            ) from None
        found[training.key] = training
    note = f"{path.name}: the last line was cut off and is dropped; its training is made again" if torn else ""
    return TrainingLines(found, len(content) - len(torn), note)


class TrainingFile:
    """A file of trainings, open for appending; a context manager. One process at a time may have it open.

    Args:
        path: made where it does not exist; a line that was cut off is removed from its end.

    Attributes:
        trainings: everything that the file holds, by key.
        note: what was found wrong and mended; empty where nothing was.

    Raises:
        ArchiveError: the file holds something else.
        MachineError: it cannot be opened for writing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = read_trainings(path)
        self.trainings = dict(lines.trainings)
        self.note = lines.note
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            os.ftruncate(self._descriptor, lines.size)
            sync_folder(path.parent)
        except OSError as error:
            raise MachineError(f"{path} cannot be written: {error.strerror}") from error

    def append(self, training: Training) -> None:
        """Add a line; when this returns, it outlives a power cut.

        Raises:
            MachineError: the disk is full, or does not take the line; the file is as it was.
        """
        size = os.fstat(self._descriptor).st_size
        left = memoryview(f"{to_json(training.as_dict())}\n".encode())
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
            os.fsync(self._descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, size)
            raise MachineError(f"{self._path} cannot be written: {error.strerror}") from error
        self.trainings[training.key] = training

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
