"""What ties a run to its settings, its data, its first weights and the packages that compute it.

The archive keeps all four from the beginning; a run goes on only where they are what they were. A difference is refused
by name, together with the way out.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spnas_core.checksums import file_checksum
from spnas_core.errors import ArchiveError, ConfigError
from spnas_search.archive import ENDING, Archive
from spnas_search.installed import other_versions

MAY_CHANGE = ("budget.", "executor.", "asynchronous", "alike_failures", "task.data", "task.cache", "task.cache_limit")
"""Settings, or tables of them, that a resumed run may have changed: when it ends, where it computes, whether in rounds,
where its data lies and how it is kept, as long as the data's content is the same."""

COMPLETE = "complete"
"""The fact that says whether nothing more is to come, ``yes`` or ``no``; archives of before do not say."""

ENDED = "ended"
"""The fact that says why the search ended, once its finalists are scored again or its verdict has begun."""


FORMER = "former"
"""The fact that lists what packages and code computed a run before they changed, and the first candidate since."""


@dataclass(frozen=True)
class Identity:
    """What a run is computed from.

    Attributes:
        settings: the resolved configuration.
        data: fingerprint of the data's content; empty where the task has none.
        pretraining: the same of the images that backbones are reignited on, where these are none of the data.
        init: checksum of the weights that the start inherits; empty for a fresh start.
        versions: of the packages, by name.
        code: digests of the code that is ours or a plugin's, by package.
    """

    settings: Mapping[str, Any]
    data: str
    pretraining: str
    init: str
    versions: Mapping[str, str]
    code: Mapping[str, str]

    def facts(self) -> dict[str, str]:
        """Return what the archive remembers."""
        return {
            "settings": json.dumps(self.settings),
            "data": self.data,
            "pretraining": self.pretraining,
            "init": self.init,
            "versions": json.dumps(self.versions, sort_keys=True),
            "code": json.dumps(self.code, sort_keys=True),
        }


def keep_former(archive: Archive, now: Identity) -> list[str]:
    """Keep what a run was computed with so far, where that is not what it goes on with.

    What is still to be evaluated, or was taken back, is computed by what the run goes on with, whatever its number.

    Returns:
        The packages whose code is not what it was.
    """
    then = {key: json.loads(archive.recall(key) or "{}") for key in ("versions", "code")}
    changed = [name for name, before, after in differences(then["code"], now.code) if before and after]
    is_other = changed or (then["versions"] and [*other_versions(then["versions"], now.versions)])
    known = json.loads(archive.recall(FORMER) or "[]")
    pending = {candidate.id for candidate in archive.pending()}
    former = [
        {**one, "until": min(one["until"], len(archive)), "but": sorted(pending | set(one.get("but", ())))}
        for one in (*known, *([{**then, "until": len(archive)}] if is_other else ()))
    ]
    if former != known:
        archive.remember(FORMER, json.dumps(former))
    return changed


def computed_with(archive: Archive, candidate: int) -> dict[str, dict[str, str] | None]:
    """Return the ``versions`` and the ``code`` that a candidate was evaluated by, None where the archive has none."""
    for former in json.loads(archive.recall(FORMER) or "[]"):
        if candidate < former["until"] and candidate not in former.get("but", ()):
            return {key: former[key] or None for key in ("versions", "code")}
    stored = {key: archive.recall(key) for key in ("versions", "code")}
    return {key: None if text is None else json.loads(text) for key, text in stored.items()}


def check_settings(archive: Archive, settings: Mapping[str, Any], folder: Path) -> None:
    """Refuse to go on with other settings.

    Args:
        archive: of the run.
        settings: as its ``run.toml`` has them now.
        folder: of the run.

    Raises:
        ConfigError: the first key that differs, both values, and the way out.
    """
    stored = archive.recall("settings")
    if stored is None:
        return
    before = json.loads(stored)
    if "ranking" not in before:
        raise ConfigError(
            f"{folder} was begun by an earlier spnas-search, which ranked and compared otherwise: finish it with that "
            f"version, or start another run with --from {folder}"
        )
    for said in altered(before, settings):
        raise ConfigError(
            f"run.toml of {folder} {said}: put that back (remove the file, and it is written anew), or start another "
            "run with --out elsewhere"
        )


def altered(before: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[str]:
    """Say which settings differ that a run has from its beginning to its end.

    Args:
        before: as the archive remembers them.
        settings: as ``run.toml`` has them now; what neither has, since it came later, differs in nothing.
    """
    for key, then, now in differences(before, settings):
        if not may_change(key):
            yield f"has {key} = {_shown(now)}, and the run was made with {_shown(then)}"


def closed(archive: Archive) -> str | None:
    """Why nothing more may be chosen, once finalists were scored again or the winner was tested; None where it may."""
    if not any(candidate.phase in ENDING for candidate in archive):
        return None
    return archive.recall(ENDED) or "its finalists were scored again, or its winner was tested"


def check_budget(archive: Archive, settings: Mapping[str, Any], folder: Path) -> None:
    """Refuse another budget for a search whose choice is judged already, so that nothing more may be chosen.

    Raises:
        ConfigError: what to do instead.
    """
    stored = archive.recall("settings")
    if stored is None or (why := closed(archive)) is None:
        return
    for key, then, now in differences(json.loads(stored), settings):
        if key.startswith("budget."):
            raise ConfigError(
                f"run.toml of {folder} has {key} = {_shown(now)} instead of {_shown(then)}, and that search is over "
                f"({why}): start another run with --from {folder}"
            )


def check_data(archive: Archive, fingerprint: str, settings: Mapping[str, Any], folder: Path) -> None:
    """Refuse to go on with other data; data that only lies elsewhere is taken.

    Raises:
        ConfigError: the data's content differs, or nothing says whether it does.
    """
    stored = archive.recall("data")
    place = str(settings.get("task", {}).get("data", "the task's data"))
    if stored is None or stored == fingerprint != "":
        return
    if stored != fingerprint:
        raise ConfigError(
            f"the data of {folder} has changed: {place} does not hold what the run has scored on so far; restore it, "
            "say where that data lies with --resume --data, or start another run with --out elsewhere"
        )
    before = json.loads(archive.recall("settings") or "{}").get("task", {}).get("data")
    if before != settings.get("task", {}).get("data"):
        raise ConfigError(
            f"the data of {folder} was {before!r} and is {place!r} now, and its task cannot tell whether that is the "
            "same: start another run with --out elsewhere"
        )


def check_pretraining_images(archive: Archive, fingerprint: str, folder: Path) -> None:
    """Refuse to reignite on other images than so far; what began before these were remembered takes those there are.

    Raises:
        ConfigError: they differ.
    """
    stored = archive.recall("pretraining")
    if stored and stored != fingerprint:
        raise ConfigError(
            f"the images that {folder} reignites its candidates on (task.pretraining.data) have changed: restore them, "
            "or start another run with --out elsewhere"
        )


def check_versions(archive: Archive, versions: Mapping[str, str], folder: Path) -> None:
    """Refuse to go on with other versions of the packages.

    Raises:
        ConfigError: the first package that differs, both versions, and the way out.
    """
    stored = archive.recall("versions")
    for name, then, now in other_versions(json.loads(stored), versions) if stored else ():
        raise ConfigError(
            f"{folder} was computed with {name} {then or '(not installed)'}, and {now or 'no version'} is installed: "
            "scores of both need not be comparable; install that version, or go on with --resume --accept-versions"
        )


def check_init(archive: Archive, path: Path) -> None:
    """Refuse weights for the start that are not those which the run was given.

    Raises:
        ArchiveError: the file is missing or altered.
    """
    stored = archive.recall("init")
    if not stored:
        return
    try:
        found = file_checksum(path)
    except OSError as error:
        found = str(error.strerror)
    if found != stored:
        state = "altered" if path.exists() else "missing"
        raise ArchiveError(
            f"{path} is {state}, and the start is to be trained from it: put it back, or start another run with "
            "--init and --out elsewhere"
        )


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield dotted keys with both values, None where one side lacks the key, in alphabetical order."""
    then_flat, now_flat = dict(_flat(before)), dict(_flat(now))
    for key in sorted(then_flat.keys() | now_flat.keys()):
        if then_flat.get(key) != now_flat.get(key):
            yield key, then_flat.get(key), now_flat.get(key)


def may_change(key: str, free_ones: Sequence[str] = MAY_CHANGE) -> bool:
    """Whether a setting, named with dots, is one of those that may differ when a run goes on, or whatever else does."""
    return any(key.startswith(free) if free.endswith(".") else key == free for free in free_ones)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _shown(value: object) -> str:
    return "nothing" if value is None else repr(value)
