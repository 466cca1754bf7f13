"""What a study's folder says of itself, and what it must not differ in when the study goes on."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from spnas_core.configuration import Table, read_toml, validate, write_toml
from spnas_core.errors import ArchiveError, ConfigError
from spnas_core.tasks import MetricSpec
from spnas_search.installed import other_versions
from spnas_search.run.identity import differences, may_change

CONFIG = "study.toml"
MAY_CHANGE = ("executor.", "alike_failures", "task.data", "task.cache", "task.cache_limit")
"""Settings, or tables of them, that may differ when a study goes on: they change no score."""


class _Objective(Table):
    name: str
    higher_is_better: bool


class _File(Table):
    """The tables of ``study.toml``."""

    kind: str
    data: str
    checksum: str
    objective: _Objective
    versions: dict[str, str]
    study: dict[str, Any]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Description:
    """What the trainings of a study are computed from.

    Attributes:
        kind: of study, such as ``signal``.
        study: its own settings, as plain values.
        settings: those of the task, of the executor, and whatever else of ``run.toml`` it heeds.
        objective: the metric that is compared.
        data: fingerprint of the data's content; empty where the task has none.
        versions: of the packages that decide a score, by name.
    """

    kind: str
    study: Mapping[str, Any]
    settings: Mapping[str, Any]
    objective: MetricSpec
    data: str
    versions: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path, kind: str) -> Self:
        """Read the description of a study.

        Raises:
            ArchiveError: there is none in the folder, or one of another kind.
            ConfigError: it was made unreadable.
        """
        path = folder / CONFIG
        if not path.exists():
            raise ArchiveError(f"{folder} holds no study: there is no {CONFIG} in it")
        try:
            found = validate(_File, read_toml(path))
        except ConfigError as error:
            raise ConfigError(f"{path} was altered: {error}; restore a copy") from None
        if found.kind != kind:
            raise ArchiveError(f"{folder} holds a study of the kind {found.kind!r}, not {kind!r}: choose another --out")
        values = found.model_dump()
        checksum = values.pop("checksum")
        description = cls(**{**values, "objective": MetricSpec(**values["objective"])})
        if description.checksum != checksum:
            raise ConfigError(
                f"{path} was altered: its settings are not those that the study began with; restore a copy, or start "
                "another study with --out elsewhere"
            )
        return description

    @property
    def checksum(self) -> str:
        """Digest of the data and of every setting that decides a score; the study's own settings do not count."""
        deciding = {key: value for key, value, _ in differences(self.settings, {}) if not may_change(key, MAY_CHANGE)}
        text = json.dumps([self.kind, self.data, deciding], sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def write(self, folder: Path) -> None:
        """Write it into the study's folder, durably."""
        write_toml({**asdict(self), "checksum": self.checksum}, folder / CONFIG)

    def check(self, now: "Description", folder: Path, *, accept_versions: bool = False) -> None:
        """Refuse to go on where scores would not be comparable with those that are there.

        Args:
            now: as things are; its study's own settings may differ.
            folder: of the study.
            accept_versions: whether other versions of the packages are taken.

        Raises:
            ConfigError: the first thing that differs, and what to do.
        """
        elsewhere = "start another study with --out elsewhere"
        for key, before, after in differences(self.settings, now.settings):
            if not may_change(key, MAY_CHANGE):
                raise ConfigError(
                    f"the study in {folder} was made with {key} = {before!r}, not {after!r}: leave that out, or "
                    f"{elsewhere}"
                )
        place = now.settings.get("task", {}).get("data", "the task's data")
        if self.data != now.data:
            raise ConfigError(
                f"the data of {folder} has changed: {place} does not hold what the study has trained on so far; "
                f"restore it, say where that data lies with --resume --data, or {elsewhere}"
            )
        before = self.settings.get("task", {}).get("data")
        if not self.data and before != now.settings.get("task", {}).get("data"):
            raise ConfigError(
                f"the data of {folder} was {before!r} and is {place!r} now, and its task cannot tell whether that is "
                f"the same: {elsewhere}"
            )
        for name, before, after in () if accept_versions else other_versions(self.versions, now.versions):
            raise ConfigError(
                f"{folder} was computed with {name} {before or '(not installed)'}, and {after or 'no version'} is "
                "installed: scores of both need not be comparable; install that version, or go on with --resume "
                "--accept-versions"
            )
