"""Opening an archive for looking at, on read-only media too: nothing beside it is written, whoever owns it."""

import shutil
import sqlite3
import tempfile
from pathlib import Path

from spnas_core.errors import ArchiveError
from spnas_search.archive import schema

_TRIES = 5


def snapshot(path: Path) -> sqlite3.Connection:
    """Return a copy of an archive in memory, brought up to this version; the file stays as it is.

    SQLite reads a database that another process writes through two files beside it; where those are not there, it would
    have to make them. So the file and its journal are copied, and the copy is opened.

    Args:
        path: of the archive.

    Raises:
        ArchiveError: it cannot be read, is no archive, is damaged, or of a newer version.
        sqlite3.Error: it is no database.
    """
    for attempt in range(_TRIES):
        try:
            return _copied(path)
        except (sqlite3.DatabaseError, ArchiveError):
            # A writer may have moved pages from the journal into the file while both were copied.
            if attempt == _TRIES - 1:
                raise
    raise AssertionError


def _copied(path: Path) -> sqlite3.Connection:
    with tempfile.TemporaryDirectory(prefix="spnas-") as folder:
        copy = Path(folder) / path.name
        try:
            before = _stamps(path)
            for file in before:
                shutil.copyfile(file, copy.with_name(file.name))
            if _stamps(path) != before:
                raise sqlite3.DatabaseError(f"{path} changes faster than it can be copied")
        except OSError as error:
            raise ArchiveError(f"archive {path} cannot be read: {error.strerror}") from error
        source = sqlite3.connect(copy, isolation_level=None)
        try:
            schema.check_readable(source, path)
            held = sqlite3.connect(":memory:", isolation_level=None)
            source.backup(held)
        finally:
            source.close()
    schema.migrate(held, path)
    return held


def _stamps(path: Path) -> dict[Path, tuple[int, int]]:
    """Return time and size of the archive and, where there is one, its journal."""
    files = [path, path.with_name(f"{path.name}-wal")]
    return {file: ((status := file.stat()).st_mtime_ns, status.st_size) for file in files if file.exists()}
