"""Starting a run, going on with one, and reading one."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from spnas_core.errors import ArchiveError, ConfigError, DataError
from spnas_core.once import reading_once
from spnas_core.presets import laid_over
from spnas_core.tasks import Task, data_fingerprint, pretraining_fingerprint
from spnas_search.archive import Archive, RunLock
from spnas_search.installed import installed_versions
from spnas_search.run.folder import Prepare, RunFolder, begun
from spnas_search.run.identity import (
    check_budget,
    check_data,
    check_pretraining_images,
    check_settings,
    check_versions,
    differences,
    keep_former,
)
from spnas_search.run.run import Run
from spnas_search.settings import ResolvedSettings, moved, of_begun, read_toml, resolve, suit, write_toml


def start_run(folder: Path, values: Mapping[str, Any], prepare: Prepare, *, cache: Path | None = None) -> Run:
    """Make a new run.

    What the configuration leaves open the task may choose, to suit its data. Everything is checked before the
    configuration is written: a run that cannot start leaves no run behind, and removes nothing that it has not made.

    Args:
        folder: new, or holding no trace of a run.
        values: the configuration.
        prepare: told how far reading the data is.
        cache: folder of cached data, where several runs share one; inside ``folder`` by default.

    Raises:
        SpnasError: whatever is wrong, in one line.
    """
    resolve(values)  # before the data is read for what they leave open
    files = RunFolder(folder)
    files.check_new()
    lock = RunLock(folder)
    with reading_once(), ExitStack() as stack:
        values, remarks = suit(values)
        settings = resolve(values).settled()
        stack.enter_context(begun(files, lock, files.check_new))
        run = Run(files, settings, lock, prepare, cache)
        run.remarks[:0] = remarks
        write_toml(settings.as_dict(), files.config)
        run.open_stores()
    return run


def checked_task(settings: ResolvedSettings, folder: Path, prepare: Prepare, cache: Path) -> Task:
    """Prepare the task of a run that is not made: whatever would keep it from beginning is said here.

    Args:
        settings: of the run.
        folder: where it is not made; nothing is written.
        prepare: told how far reading the data is.
        cache: folder of cached data.

    Raises:
        SpnasError: whatever is wrong, in one line.
    """
    with reading_once(), Run(RunFolder(folder), settings, RunLock(folder), prepare, cache) as run:
        run.check_measured()
        return run.task


def resume_run(
    folder: Path,
    prepare: Prepare,
    *,
    data: str | None = None,
    changes: Mapping[str, Any] | None = None,
    accept_versions: bool = False,
    cache: Path | None = None,
) -> Run:
    """Go on with a run.

    Args:
        folder: of the run.
        prepare: told how far reading the data is.
        data: where its data lies now; its content must be what it was.
        changes: settings that are other ones from now on, nested, of those that change no score: see ``MAY_CHANGE``.
        accept_versions: whether other versions of the packages than those which it began with are taken.
        cache: folder of cached data, where several runs share one; inside ``folder`` by default.

    Raises:
        ArchiveError: there is no run in the folder, another process holds it, or a part of it is missing.
        ConfigError: its settings, its data or the packages are not what they were; which, and the way out.
    """
    files = RunFolder(folder)
    if not folder.is_dir() or not (files.config.exists() or files.archive.exists()):
        raise ArchiveError(f"{folder} holds no run: there is no {files.config.name} in it")
    lock = RunLock(folder)
    lock.acquire()
    try:
        return _resumed(files, lock, prepare, data, changes or {}, cache, accept_versions=accept_versions)
    except BaseException:
        lock.release()
        raise


def _resumed(
    files: RunFolder,
    lock: RunLock,
    prepare: Prepare,
    data: str | None,
    changes: Mapping[str, Any],
    cache: Path | None,
    *,
    accept_versions: bool,
) -> Run:
    notes: list[str] = []
    if not files.config.exists():
        write_toml(read_values(files), files.config)
        notes.append("run.toml was missing: it is written anew from the archive")
    if not files.archive.exists() and files.has_weights:
        raise ArchiveError(
            f"{files.archive} is missing, and with it all results: restore a copy, or start another run with --out "
            "elsewhere"
        )
    values = laid_over(read_values(files), changes)
    if data is not None:
        values = moved(values, data)
    settings = resolve(of_begun(values))
    if files.archive.exists() and _begins_anew(files, values, accept_versions=accept_versions):
        _remove_archive(files, values)
        notes.append("the settings were changed before anything was evaluated: the run begins with these")
    try:
        run = Run(files, settings, lock, prepare, cache)
    except DataError as error:
        raise DataError(f"{error}; if the data has moved, say where it lies now by --resume --data") from error
    run.open_stores()
    try:
        check_data(run.archive, data_fingerprint(run.task), settings.as_dict(), files.path)
        check_pretraining_images(run.archive, pretraining_fingerprint(run.task), files.path)
        if run.archive.pending() and not run.archive.start.checksum:
            run.start_weights()
        if data is not None or changes:
            write_toml(values, files.config)
        _remember(run, values)
    except BaseException:
        run.archive.close()
        raise
    run.remarks += notes
    return run


def _begins_anew(files: RunFolder, values: Mapping[str, Any], *, accept_versions: bool) -> bool:
    """Whether nothing was evaluated yet, so that other settings may still be taken; otherwise they are checked.

    Raises:
        ConfigError: settings or packages are not what the run began with.
    """
    with Archive.open(files.archive) as archive:
        if _is_untouched(archive) and _has_other_settings(archive, values):
            return True
        check_settings(archive, values, files.path)
        check_budget(archive, values, files.path)
        if not accept_versions:
            check_versions(archive, installed_versions(), files.path)
    return False


def _is_untouched(archive: Archive) -> bool:
    """Whether nothing was evaluated yet, so that nothing ties the run to its settings."""
    return len(archive.pending()) == len(archive)


def _has_other_settings(archive: Archive, values: Mapping[str, Any]) -> bool:
    stored = archive.recall("settings")
    return stored is not None and any(differences(json.loads(stored), values))


def _remove_archive(files: RunFolder, values: Mapping[str, Any]) -> None:
    """Remove the archive, and the weights to begin with where they are not those of the settings as they are now."""
    with Archive.read(files.archive) as archive:
        before = json.loads(archive.recall("settings") or "{}")
    if any(before.get(name) != values.get(name) for name in ("init", "start")):
        files.init.unlink(missing_ok=True)
    files.remove_archive()


def _remember(run: Run, values: Mapping[str, Any]) -> None:
    """Store what the run goes on with, where that is not what it began with.

    The settings are stored as ``run.toml`` has them: a run from before a setting was there has its default, and neither
    file nor archive learns of it, or the two would differ when it is resumed again. What packages and code were so far
    is kept beside what they are now.
    """
    identity = run.identity()
    if changed := keep_former(run.archive, identity):
        run.remarks.append(
            f"the code of {', '.join(changed)} is not what the run was computed with so far: scores of both need not "
            "be comparable"
        )
    facts = identity.facts() | {"settings": json.dumps(values)}
    for key, value in facts.items():
        if key != "init" and run.archive.recall(key) != value:
            run.archive.remember(key, value)


def read_values(files: RunFolder) -> dict[str, Any]:
    """Read the configuration of a run as ``run.toml`` has it; where that is lost, as the archive remembers it.

    Raises:
        ArchiveError: there is no run in the folder, or its archive is too old to know.
        ConfigError: the configuration was made unreadable.
    """
    if files.config.exists():
        try:
            return read_toml(files.config)
        except ConfigError as error:
            if files.archive.exists():
                raise ConfigError(f"{error}; remove the file, and it is written anew as the archive has it") from error
            raise
    if not files.archive.exists():
        raise ArchiveError(f"{files.path} holds no run: there is no {files.config.name} in it")
    with Archive.read(files.archive) as archive:
        stored = archive.recall("settings")
    if stored is None:
        raise ArchiveError(
            f"{files.config} is missing, and the archive is too old to know what was in it: restore a copy"
        )
    values: dict[str, Any] = json.loads(stored)
    return values


def read_run_settings(folder: Path) -> ResolvedSettings:
    """Read the configuration of a run.

    Raises:
        ArchiveError: there is no run in the folder.
        ConfigError: the configuration was made unreadable.
    """
    return resolve(of_begun(read_values(RunFolder(folder))))


def read_archive(folder: Path) -> Archive:
    """Open the archive of a run for looking at, on read-only media too; a search may be going on in it.

    Raises:
        ArchiveError: there is no run in the folder, or its archive is damaged.
    """
    files = RunFolder(folder)
    if not files.archive.exists():
        raise ArchiveError(f"{folder} holds no run: there is no {files.archive.name} in it")
    return Archive.read(files.archive)
