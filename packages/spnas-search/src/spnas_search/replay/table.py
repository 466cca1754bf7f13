"""A table of independent trainings: every architecture of a small space, several times.

A gzipped CSV file with a line per training and the columns ``data``, ``code``, ``repetition``, ``epochs``,
``multiply_adds``, ``parameters``, ``activation_bytes``, and one column per metric. All trainings began with fresh
weights.
"""

import csv
import gzip
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError, ConfigError, suggestion

KEYS = ("data", "code", "repetition", "epochs")
COSTS = ("multiply_adds", "parameters", "activation_bytes")

Trained = dict[str, dict[int, dict[int, dict[str, float]]]]
"""Metrics by code, epochs, and number of the repetition, ascending."""


@dataclass(frozen=True)
class ReplayTable:
    """Trainings on one kind of data.

    Attributes:
        data: its name in the file.
        metrics: names of what was measured.
        trained: metrics by code, epochs and repetition.
        costs: by code.
    """

    data: str
    metrics: tuple[str, ...]
    trained: Trained
    costs: Mapping[str, Mapping[str, float]]

    @property
    def ages(self) -> tuple[int, ...]:
        """Epochs after which every architecture has scores, ascending."""
        return tuple(sorted(set.intersection(*(set(by_epochs) for by_epochs in self.trained.values()))))

    @property
    def fewest(self) -> int:
        """The fewest repetitions that any architecture has, scored at all of ``ages``.

        Of two, one is hidden from a search and the other is all that it sees: replicates are equal then, and what they
        tell of the noise is that there is none.
        """
        return min(len(self.repetitions_of(code)) for code in self.trained)

    def repetitions_of(self, code: str) -> tuple[int, ...]:
        """Return the numbers of a code's repetitions that were scored at all of ``ages``, ascending."""
        return self._whole[code]

    @cached_property
    def _whole(self) -> Mapping[str, tuple[int, ...]]:
        ages = self.ages
        return {
            code: tuple(sorted(set.intersection(*(set(by_epochs[age]) for age in ages)))) if ages else ()
            for code, by_epochs in self.trained.items()
        }

    def scored(self, code: str, epochs: int) -> Mapping[int, Mapping[str, float]]:
        """Return the metrics of each training of a code, by repetition.

        Raises:
            ConfigError: the table has no such training; it says what it has.
        """
        if code not in self.trained:
            raise ConfigError(
                f"{code} is not among the {len(self.trained)} architectures of the replay table "
                f"{self.data!r}{suggestion(code, self.trained)}"
            )
        if epochs not in self.trained[code]:
            ages = ", ".join(map(str, sorted(self.trained[code])))
            raise ConfigError(f"the replay table {self.data!r} has {code} after {ages} epochs, not after {epochs}")
        return self.trained[code][epochs]


Row = dict[str, str | int | float]
LEAST = 2
"""Repetitions of every architecture that a search needs: one to see, and one that judges it."""
ENOUGH = 3
"""Repetitions of every architecture from which on searches see noise."""


def read_table(path: Path, data: str) -> ReplayTable:
    """Read the trainings on one kind of data; a file that stays as it is is read once in a process.

    Args:
        path: of the file.
        data: which of the kinds of data in it.

    Raises:
        ConfigError: there is no such file, it is no replay table, or it has no such data.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise ConfigError(f"the replay table {path} cannot be read: {error}") from error
    return _read(path, data, (state.st_mtime_ns, state.st_size, state.st_ino))


@lru_cache(maxsize=8)
def _read(path: Path, data: str, state: tuple[int, ...]) -> ReplayTable:
    del state  # a key alone
    rows = read_rows(path)
    known = {str(row["data"]) for row in rows}
    if data not in known:
        raise ConfigError(f"the replay table {path} has no data {data!r}{suggestion(data, known)}")
    metrics = tuple(name for name in rows[0] if name not in {*KEYS, *COSTS})
    trained: Trained = {}
    costs: dict[str, dict[str, float]] = {}
    for row in sorted((row for row in rows if row["data"] == data), key=lambda row: row["repetition"]):
        code = str(row["code"])
        found = {name: float(row[name]) for name in metrics}
        trained.setdefault(code, {}).setdefault(int(row["epochs"]), {})[int(row["repetition"])] = found
        costs[code] = {name: float(row[name]) for name in COSTS}
    return ReplayTable(data, metrics, trained, costs)


def read_rows(path: Path) -> list[Row]:
    """Read all trainings of a table.

    Raises:
        ConfigError: there is no such file, or it is no replay table.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            columns = tuple(reader.fieldnames or ())
            if not {*KEYS, *COSTS} < set(columns):
                raise ConfigError(
                    f"{path} is no replay table: its columns must be {', '.join((*KEYS, *COSTS))} and metrics"
                )
            return list(_rows(reader, path))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"the replay table {path} cannot be read: {error}") from error


def _rows(lines: Iterable[Mapping[Any, Any]], path: Path) -> Iterator[Row]:
    """Yield the trainings of a table, each once; a wrong line is named by its number, from 2 behind the columns."""
    known: set[tuple[object, ...]] = set()
    codes: set[str] = set()
    for number, line in enumerate(lines, 2):
        where = f"line {number} of the replay table {path}"
        if None in line or None in line.values():
            raise ConfigError(f"{where} has more or fewer cells than there are columns")
        row = {name: _typed(name, text, where) for name, text in line.items()}
        if (code := line["code"]) not in codes:
            _check_code(code, where)
            codes.add(code)
        key = tuple(row[name] for name in KEYS)
        if key in known:
            raise ConfigError(f"{where} is {', '.join(map(str, key))}, which another line is already")
        known.add(key)
        yield row


def _check_code(code: str, where: str) -> None:
    """Refuse what is no code, or one in another spelling than searches look it up by."""
    try:
        usual = str(Architecture.parse(code))
    except CodeError as error:
        raise ConfigError(f"{where}: {error}") from error
    if usual != code:
        raise ConfigError(f"{where} has the code {code!r}: write it {usual}")


def _typed(name: str, text: str, where: str) -> str | int | float:
    if name in {"data", "code"}:
        return text
    is_whole = name in {"repetition", "epochs", *COSTS}
    try:
        value = int(text) if is_whole else float(text or math.nan)
        float(value)  # of which a whole number may be too long
    except (ValueError, OverflowError):
        value = -1 if is_whole else math.inf
    if value < 0 if is_whole else math.isinf(value):
        kind = "a whole number, 0 or more" if is_whole else "a finite number, or empty where it is undefined"
        raise ConfigError(f"{where} has {name} = {text!r}: it must be {kind}")
    return value


def write_table(path: Path, rows: Iterable[Mapping[str, object]], metrics: Sequence[str]) -> None:
    """Write trainings; the same trainings give the same bytes, in whatever order they come.

    Args:
        path: of the file.
        rows: each with all of ``KEYS``, ``COSTS`` and metrics.
        metrics: names of what was measured.
    """
    names = (*KEYS, *COSTS, *metrics)
    ordered = sorted(rows, key=lambda row: tuple(str(row[key]).rjust(40) for key in KEYS))
    with path.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as packed:
        lines = [",".join(names), *(",".join(_cell(row[name]) for name in names) for row in ordered)]
        packed.write(("\n".join(lines) + "\n").encode())


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.5g}" if abs(value) < 1 else f"{value:.10g}"
    return str(value)
