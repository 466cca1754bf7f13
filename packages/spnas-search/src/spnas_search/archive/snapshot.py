"""Opening an archive for looking at, on read-only media too: nothing beside it is written, whoever owns it."""

import contextlib
import errno
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from spnas_core.errors import ArchiveError, MachineError
from spnas_search.archive import schema

_TRIES = 8
_PAUSE_SECONDS = 0.05
"""Before the second try, and so much longer before each further one."""

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""What only a file that is written can lack."""

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
        MachineError: there is no room for the copy.
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
    with _temporary_folder(path) as folder:
        copy = folder / path.name
        try:
            is_whole = _copy(path, copy)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise _no_room(path, error) from error
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


@contextlib.contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    """Make a folder that the copy of an archive lies in for a moment."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="spnas-")
    except OSError as error:
        raise _no_room(path, error) from error
    with folder as name:
        yield Path(name)


def _no_room(path: Path, error: OSError) -> MachineError:
    return MachineError(
        f"archive {path} cannot be copied to look at it: {error.strerror}; make room for temporary files, or name a "
        "folder that has some in the environment variable TMPDIR"
    )


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
