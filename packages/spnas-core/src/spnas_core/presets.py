"""Presets: settings under a name, each a TOML file of a package. Needs ``spnas-core[commands]``.

A file has, at its top, ``summary`` (what it is for) and ``machine`` (what it is meant to run on), one line each;
``extends``, the name of another preset that it begins with, where there is one; and any of three tables:

- ``[task]``: the task's settings, without the data;
- ``[train]``: what only a training of its own has (``spnas train``, ``spnas compare``), such as ``epochs``;
- ``[search]``: what only a search has (``spnas run``), as in ``run.toml``.

Whoever uses a table checks it. Plugins bring presets of their own through ``spnas_register_presets``.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import Field

from spnas_core.configuration import NO_TOML, Table, merge_tables, validate
from spnas_core.errors import ConfigError, SpnasError
from spnas_core.plugins import registry

FOLDER = "presets"
"""Inside a package, where ``presets_in`` looks."""

SUFFIX = ".toml"
WIDTH = 120
"""Most characters of a line of TOML that ``Preset.text`` writes."""

TableName = Literal["task", "train", "search"]
TABLES: tuple[TableName, ...] = ("task", "train", "search")

WHOLE = ("data_options", "odds")
"""Tables that one of the same name replaces: what such a table does not name is meant to be absent."""


class _File(Table):
    """What stands in a preset's file, as it is."""

    summary: str = Field(min_length=1)
    machine: str = Field(min_length=1)
    extends: str | None = None
    task: dict[str, Any] = Field(default_factory=dict)
    train: dict[str, Any] = Field(default_factory=dict)
    search: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Preset:
    """Settings under a name; their file is read when they are asked for.

    Attributes:
        name: under which it is registered, or its file.
        file: TOML.
    """

    name: str
    file: Traversable

    @property
    def summary(self) -> str:
        """What it is for.

        Raises:
            ConfigError: the file cannot be read, is malformed, or has an unknown key.
        """
        return self._read().summary

    @property
    def machine(self) -> str:
        """What it is meant to run on.

        Raises:
            ConfigError: as ``summary``.
        """
        return self._read().machine

    def table(self, name: TableName) -> dict[str, Any]:
        """Return one of its tables, over that of the preset that it extends; a copy.

        Raises:
            ConfigError: as ``summary``; or presets extend one another in a circle.
            PluginError: it extends a preset that nobody registers.
        """
        values: dict[str, Any] = {}
        for preset in reversed(self._lineage()):
            merge_tables(values, deepcopy(getattr(preset, name)), WHOLE)
        return values

    def values(self) -> dict[str, Any]:
        """Return everything that it sets, as a preset file that extends none has it; tables without a key are left out.

        Raises:
            ConfigError: as ``table``.
        """
        tables = {name: self.table(name) for name in TABLES}
        top = {"summary": self.summary, "machine": self.machine}
        return {**top, **{name: table for name, table in tables.items() if table}}

    def text(self) -> str:
        """Write ``values`` as TOML.

        Raises:
            ConfigError: as ``table``.
        """
        written = tomli_w.dumps(self.values())
        return "\n".join(_with_short_arrays(written.split("\n")))  # splitlines would split texts, too

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Name the preset and its file in the message of whatever is wrong with its settings inside.

        Raises:
            ConfigError: that message.
        """
        try:
            yield
        except SpnasError as error:
            raise ConfigError(f"preset {self.name} ({self.file}): {error}") from None

    def _lineage(self) -> list[_File]:
        """This file, and those that it extends, the nearest first."""
        found, names, preset = [self._read()], [self.name], self
        while (name := found[-1].extends) is not None:
            if name in names:
                circle = " extends ".join([*names, name])
                raise ConfigError(f"preset {self.name} ({self.file}): {circle}: leave one of these out")
            with preset.explained():
                preset = find_preset(name)
            found.append(preset._read())  # noqa: SLF001 - of the same class
            names.append(name)
        return found

    def _read(self) -> _File:
        with self.explained():
            try:
                values = tomllib.loads(self.file.read_text(encoding="utf-8"))
            except OSError as error:
                raise ConfigError(f"the file cannot be read: {error.strerror}") from None
            except NO_TOML as error:
                raise ConfigError(f"the file is no valid TOML: {error}") from None
            return validate(_File, values)


def presets_in(package: str) -> Iterator[tuple[str, Preset]]:
    """Yield the presets of an importable package by name: the files ``presets/NAME.toml`` in it, in alphabetical order.

    Args:
        package: such as ``spnas_detect``; its ``package-data`` must list these files.
    """
    found = (file for file in (files(package) / FOLDER).iterdir() if file.name.endswith(SUFFIX))
    for file in sorted(found, key=lambda file: file.name):
        name = file.name.removesuffix(SUFFIX)
        yield name, Preset(name, file)


def find_preset(reference: str) -> Preset:
    """Return what ``--preset`` names.

    Args:
        reference: name of a registered preset, or path of a file that ends in ``.toml``.

    Raises:
        PluginError: nobody registers the name; the nearest known one is suggested.
    """
    if reference.endswith(SUFFIX):
        return Preset(reference, Path(reference))
    preset: Preset = registry("presets").get(reference)
    return preset


def for_data(below: Mapping[str, Any], data: object) -> dict[str, Any]:
    """Return a preset's table of a task or training; where other data is wanted than its own, without options of that.

    Args:
        below: the preset's table.
        data: what one's own settings name; None where they name none.
    """
    is_other = data is not None and data != below.get("data")
    return {key: value for key, value in below.items() if not (is_other and key in {"data", "data_options"})}


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings over those of a preset, table by table; both stay as they are.

    Args:
        below: such as a preset's.
        above: wins.
    """
    values = deepcopy(dict(below))
    merge_tables(values, deepcopy(dict(above)), WHOLE)
    return values


def _with_short_arrays(lines: Sequence[str]) -> list[str]:
    """Write each array of TOML in one line where it fits."""
    written: list[str] = []
    place = 0
    while place < len(lines):
        line = lines[place]
        margin = line[: len(line) - len(line.lstrip())]
        closing = (number for number in range(place, len(lines)) if lines[number] in {f"{margin}]", f"{margin}],"})
        end = next(closing, place) if line.endswith("[") else place  # an array inside { } closes otherwise, and stays
        block = lines[place : end + 1]
        joined = margin + " ".join(part.strip() for part in block).replace("[ ", "[").replace(", ]", "]")
        if end == place:
            written.append(line)
        elif len(joined) <= WIDTH and _array(joined) == _array("\n".join(block)):
            written.append(joined)
        else:
            written += [line, *_with_short_arrays(block[1:-1]), block[-1]]
        place = end + 1
    return written


def _array(text: str) -> object:
    """Read an array, whatever key is before it and comma behind it."""
    try:
        return tomllib.loads(f"array = {text[text.index('[') :].rstrip(',')}")
    except tomllib.TOMLDecodeError:  # a bracket in its key
        return text
