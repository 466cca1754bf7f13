"""Opening an archive for looking at, on read-only media too: nothing beside it is written, whoever owns it."""

import contextlib
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path

from spnas_core.errors import ArchiveError
from spnas_search.archive import schema

_TRIES = 8
_PAUSE_SECONDS = 0.05
"""Before the second try, and so much longer before each further one."""

_HEADER = 32
"""Bytes at the beginning of SQLite's journal: with its salt, which changes whenever the journal starts over."""


def snapshot(path: Path) -> sqlite3.Connection:
    """Return a copy of an archive in memory, brought up to this version; the file stays as it is.

    SQLite reads a database that another process writes through two files beside it; where those are not there, it would
    have to make them. So the file and its journal are copied, and the copy is opened: it holds all that was committed
    before, and maybe some of what is committed meanwhile.

    Args:
        path: of the archive.

    Raises:
        ArchiveError: it cannot be read, is no archive, is damaged, of a newer version, or written faster than it can be
            copied.
        sqlite3.Error: it is no database.
    """
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(attempt * _PAUSE_SECONDS)  # only the writer knows when it is done, and we ask nothing of it
        try:
            held = _copied(path)
        except (sqlite3.DatabaseError, ArchiveError):
            if attempt:
                raise  # the first time it may be a network's disk, which tells of changes late
        else:
            if held is not None:
                return held
    raise ArchiveError(f"archive {path} is busy, and changes faster than it can be copied: try again in a moment")


def _copied(path: Path) -> sqlite3.Connection | None:
    """Copy an archive once; None where a writer has come in between."""
    with tempfile.TemporaryDirectory(prefix="spnas-") as folder:
        copy = Path(folder) / path.name
        try:
            is_whole = _copy(path, copy)
        except OSError as error:
            raise ArchiveError(f"archive {path} cannot be read: {error.strerror}") from error
        if not is_whole:
            return None
        source = sqlite3.connect(copy, isolation_level=None)
        try:
            schema.check_readable(source, path)
            held = sqlite3.connect(":memory:", isolation_level=None)
            try:
                source.backup(held)
                schema.migrate(held, path)
            except BaseException:
                held.close()
                raise
        finally:
            source.close()
    return held


def _copy(path: Path, copy: Path) -> bool:
    """Copy an archive's file and then its journal, and say whether they belong together.

    A commit leaves the file as it is and adds to the end of the journal, where SQLite drops what was copied in part,
    known by its checksums. Pages go from the journal into the file now and then; once all have, the journal starts over
    with another salt, or is removed. So the file and a later copy of its journal are one state of the archive where
    neither of both has happened since before the file was copied.
    """
    before = _state(path)
    shutil.copyfile(path, copy)
    with contextlib.suppress(FileNotFoundError):  # there is none, or it was removed just now, which the state tells
        shutil.copyfile(_journal(path), _journal(copy))
    return _state(path) == before


def _state(path: Path) -> tuple[int, int, int, bytes]:
    """Return which file an archive is, its time and size, and the head of its journal, empty where there is none."""
    status = path.stat()
    try:
        with _journal(path).open("rb") as file:
            head = file.read(_HEADER)
    except FileNotFoundError:
        head = b""
    return status.st_ino, status.st_mtime_ns, status.st_size, head


def _journal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")
