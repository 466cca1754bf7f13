"""Tables of an archive, and how an archive of an older version becomes one of this version.

``PRAGMA user_version`` holds the version of the schema, ``PRAGMA application_id`` marks the file as ours. An
archive is made by the same migrations that bring an old one up to date.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from spnas_core.errors import ArchiveError
from spnas_search.archive.repair import repaired_row

APPLICATION_ID = int.from_bytes(b"SPNA")

_META = "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"

_CANDIDATES = """
CREATE TABLE candidates (
    id INTEGER PRIMARY KEY,
    round INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('start', 'child', 'control', 'final')),
    parent INTEGER REFERENCES candidates (id),
    parent_code TEXT NOT NULL,
    code TEXT NOT NULL,
    block_map TEXT NOT NULL,
    steps TEXT NOT NULL,
    epochs INTEGER NOT NULL,
    split TEXT NOT NULL CHECK (split IN ('validation', 'test')),
    age INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    threads INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('proposed', 'done', 'failed')),
    reason TEXT NOT NULL,
    metrics TEXT NOT NULL,
    cost TEXT NOT NULL,
    receipt TEXT NOT NULL,
    seconds REAL NOT NULL,
    checksum TEXT
)
"""


_STRICT_META = _META.replace("WITHOUT ROWID", "STRICT, WITHOUT ROWID")
_STRICT_CANDIDATES = f"{_CANDIDATES.rstrip()} STRICT"


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(_META)
    connection.execute(_CANDIDATES)


def _make_strict(connection: sqlite3.Connection) -> None:
    """Let SQLite itself refuse what is of the wrong kind, and repair what an earlier version let in."""
    for table, strict in (("meta", _STRICT_META), ("candidates", _STRICT_CANDIDATES)):
        connection.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
        connection.execute(strict)
    connection.execute("INSERT INTO meta SELECT key, CAST(value AS TEXT) FROM old_meta")
    width = len(connection.execute("SELECT * FROM old_candidates LIMIT 0").description)
    connection.executemany(
        f"INSERT INTO candidates VALUES ({', '.join('?' * width)})",  # noqa: S608 - constants only
        map(repaired_row, connection.execute("SELECT * FROM old_candidates ORDER BY id").fetchall()),
    )
    for table in ("meta", "candidates"):
        connection.execute(f"DROP TABLE old_{table}")


Migration = Callable[[sqlite3.Connection], None]

MIGRATIONS: list[Migration] = [_create, _make_strict]
"""The migration at index n turns version n into version n + 1; it runs inside a transaction."""


def installed_version() -> str:
    """Version of the installed spnas-search."""
    return version("spnas-search")


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Commit what happens inside as a whole, or nothing of it.

    Raises:
        ArchiveError: SQLite cannot write (disk full, held by another process, …).
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            # A full disk makes SQLite roll back by itself; a second ROLLBACK would then hide the reason.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    except sqlite3.Error as error:
        raise ArchiveError(f"archive {path} cannot be written: {error}") from error


def configure(connection: sqlite3.Connection) -> None:
    """Choose the journal that survives a kill and a power cut, and lets others read meanwhile."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a database up to this version, one transaction per version.

    Raises:
        ArchiveError: SQLite cannot write.
    """
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    for number in range(found, len(MIGRATIONS)):
        with transaction(connection, path):
            MIGRATIONS[number](connection)
            connection.execute("REPLACE INTO meta VALUES ('spnas_search', ?)", (installed_version(),))
            connection.execute(f"PRAGMA user_version = {number + 1}")


def check_readable(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a database that is no archive, is damaged, or comes from a newer spnas.

    Raises:
        ArchiveError: naming the file and what to do.
        sqlite3.DatabaseError: the file is no database at all.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise ArchiveError(f"{path} is no spnas archive: name the folder of a run, as `spnas run` makes it")
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    known = len(MIGRATIONS)
    if found > known:
        row = connection.execute("SELECT value FROM meta WHERE key = 'spnas_search'").fetchone()
        wanted = f"'spnas-search>={row[0]}'" if row else "--upgrade spnas-search"
        raise ArchiveError(
            f"archive {path} has schema version {found}, and spnas-search {installed_version()} reads up to "
            f"{known}: pip install {wanted}"
        )
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        what = " ".join(verdict.split())
        raise ArchiveError(
            f"archive {path} is damaged ({what}): restore a copy, or start this run with --out elsewhere"
        )
