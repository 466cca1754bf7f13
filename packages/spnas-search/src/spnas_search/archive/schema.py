"""Tables of an archive, and how an archive of an older version becomes one of this version.

``PRAGMA user_version`` holds the version of the schema, ``PRAGMA application_id`` marks the file as ours. An
archive is made by the same migrations that bring an old one up to date.
"""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from spnas_core.errors import ArchiveError
from spnas_search.archive.repair import phased_rows, repaired_row, single_strategy_rows, unchanged_rows

_Row = tuple[Any, ...]

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


_PHASED_CANDIDATES = """
CREATE TABLE candidates (
    id INTEGER PRIMARY KEY,
    round INTEGER NOT NULL,
    phase TEXT NOT NULL CHECK (phase IN ('start', 'noise', 'search', 'finalists', 'verdict')),
    kind TEXT NOT NULL CHECK (kind IN ('start', 'child', 'control', 'replicate', 'rung', 'warm', 'final')),
    subject INTEGER NOT NULL REFERENCES candidates (id),
    parent INTEGER REFERENCES candidates (id),
    source INTEGER REFERENCES candidates (id),
    parent_code TEXT NOT NULL,
    code TEXT NOT NULL,
    block_map TEXT NOT NULL,
    steps TEXT NOT NULL,
    epochs INTEGER NOT NULL,
    width INTEGER,
    height INTEGER,
    share REAL NOT NULL,
    rung INTEGER NOT NULL,
    split TEXT NOT NULL CHECK (split IN ('validation', 'test')),
    preference REAL,
    age INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    threads INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('proposed', 'done', 'failed')),
    reason TEXT NOT NULL,
    metrics TEXT NOT NULL,
    cost TEXT NOT NULL,
    receipt TEXT NOT NULL,
    seconds REAL NOT NULL,
    checksum TEXT,
    digest TEXT NOT NULL
) STRICT
"""

_REIGNITED_CANDIDATES = _PHASED_CANDIDATES.replace("'child', 'control'", "'child', 'reignition', 'control'").replace(
    "    age INTEGER NOT NULL,",
    """    strategy INTEGER NOT NULL,
    pretrain_epochs INTEGER,
    pretrain_fresh INTEGER,
    age INTEGER NOT NULL,""",
)

_TRAINED_CANDIDATES = _REIGNITED_CANDIDATES.replace("'verdict'", "'verdict', 'training'").replace(
    "'warm', 'final'", "'warm', 'final', 'trained'"
)

_STRICT_META = _META.replace("NOT NULL) WITHOUT ROWID", "NOT NULL, digest TEXT NOT NULL) STRICT, WITHOUT ROWID")
_STRICT_CANDIDATES = f"{_CANDIDATES.rstrip().removesuffix(')')}, digest TEXT NOT NULL) STRICT"

_MEASUREMENTS = """
CREATE TABLE measurements (
    what TEXT NOT NULL,
    subject TEXT NOT NULL,
    value TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (what, subject)
) STRICT, WITHOUT ROWID
"""
"""Of architectures, on a device: no candidates."""

STORE_MEASUREMENT = "REPLACE INTO measurements VALUES (?, ?, ?, ?)"
"""Takes (what, subject, value, digest of the three)."""

STORE_META = "REPLACE INTO meta VALUES (?, ?, ?)"
"""Takes the values of ``meta_row``."""
FORGET_META = "DELETE FROM meta WHERE key = ?"


def row_digest(values: Iterable[object]) -> str:
    """Digest the values of a row: SQLite keeps no checksum of them, and a disk may give back other bytes.

    Returns:
        BLAKE2b, 32 hexadecimal digits.
    """
    text = repr(tuple(values)).encode("utf-8", "backslashreplace")
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def meta_row(key: str, value: str) -> tuple[str, str, str]:
    """Return a fact as the values of its row."""
    return key, value, row_digest((key, value))


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(_META)
    connection.execute(_CANDIDATES)


def _make_strict(connection: sqlite3.Connection) -> None:
    """Let SQLite itself refuse what is of the wrong kind, give rows digests, and repair what was let in before."""
    for table, strict in (("meta", _STRICT_META), ("candidates", _STRICT_CANDIDATES)):
        connection.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
        connection.execute(strict)
    facts = connection.execute("SELECT key, value FROM old_meta").fetchall()
    connection.executemany(STORE_META, [meta_row(key, str(value)) for key, value in facts])
    found = connection.execute("SELECT * FROM old_candidates ORDER BY id").fetchall()
    repaired = [repaired_row(row) for row in found]
    width = len(_CANDIDATES.strip().splitlines()) - 1
    connection.executemany(
        f"INSERT INTO candidates VALUES ({', '.join('?' * width)})",  # noqa: S608 - constants only
        [(*row, row_digest(row[1:])) for row in repaired],
    )
    for table in ("meta", "candidates"):
        connection.execute(f"DROP TABLE old_{table}")


def _tell_phases(connection: sqlite3.Connection) -> None:
    """Store what a round is for, what a score says something of, and the whole fidelity."""
    _rebuild(connection, _PHASED_CANDIDATES, phased_rows)


def _tell_strategies(connection: sqlite3.Connection) -> None:
    """Store which strategy has proposed a candidate, what its backbone was pretrained on, and measurements."""
    connection.execute(_MEASUREMENTS)
    _rebuild(connection, _REIGNITED_CANDIDATES, single_strategy_rows)


def _tell_trained(connection: sqlite3.Connection) -> None:
    """Let a search end with the training of its winner."""
    _rebuild(connection, _TRAINED_CANDIDATES, unchanged_rows)


def _rebuild(connection: sqlite3.Connection, table: str, rewritten: Callable[[list[_Row]], Iterable[_Row]]) -> None:
    """Replace the table of candidates by another one.

    Args:
        connection: inside a transaction.
        table: what makes the new one; a column a line.
        rewritten: turns all old rows into new ones, without their digests.
    """
    connection.execute("ALTER TABLE candidates RENAME TO old_candidates")
    connection.execute(table)
    found = connection.execute("SELECT * FROM old_candidates ORDER BY id").fetchall()
    width = len(table.strip().splitlines()) - 2
    connection.executemany(
        f"INSERT INTO candidates VALUES ({', '.join('?' * width)})",  # noqa: S608 - constants only
        [(*row, row_digest(row[1:])) for row in rewritten(found)],
    )
    connection.execute("DROP TABLE old_candidates")


_VERSION = "spnas_search"

Migration = Callable[[sqlite3.Connection], None]

MIGRATIONS: list[Migration] = [_create, _make_strict, _tell_phases, _tell_strategies, _tell_trained]
"""The migration at index n turns version n into version n + 1; it runs inside a transaction."""


def installed_version() -> str:
    """Version of the installed spnas-search."""
    return version("spnas-search")


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Commit what happens inside as a whole, or nothing of it.

    Raises:
        ArchiveError: SQLite cannot write (disk full, held by another process, a whole number too large, …).
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
    except (sqlite3.Error, OverflowError) as error:  # the latter of a whole number of more than 64 bits
        raise ArchiveError(f"archive {path} cannot be written: {error}") from error


def configure(connection: sqlite3.Connection) -> None:
    """Choose the journal that survives a kill and a power cut, and lets others read meanwhile."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def read_meta(connection: sqlite3.Connection, path: Path) -> dict[str, str]:
    """Return the facts about the archive.

    Raises:
        ArchiveError: one of them is not what was written.
    """
    facts = {}
    for key, value, digest in connection.execute("SELECT key, value, digest FROM meta"):
        if digest != row_digest((key, value)):
            raise ArchiveError(
                f"archive {path} is damaged: its fact {key!r} is not what was written: restore a copy, or start this "
                "run with --out elsewhere"
            )
        facts[key] = value
    return facts


def read_measurements(connection: sqlite3.Connection, path: Path) -> dict[tuple[str, str], str]:
    """Return all measurements by what was measured of what.

    Raises:
        ArchiveError: one of them is not what was written.
    """
    found = {}
    for what, subject, value, digest in connection.execute("SELECT what, subject, value, digest FROM measurements"):
        if digest != row_digest((what, subject, value)):
            raise ArchiveError(
                f"archive {path} is damaged: its {what} of {subject} is not what was written: restore a copy, or start "
                "this run with --out elsewhere"
            )
        found[what, subject] = value
    return found


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a database up to this version, one transaction per version.

    Raises:
        ArchiveError: SQLite cannot write, or a candidate refers to one that is not there.
    """
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    with _references_unchecked(connection):
        for number in range(found, len(MIGRATIONS)):
            with transaction(connection, path):
                MIGRATIONS[number](connection)
                if number:
                    connection.execute(STORE_META, meta_row(_VERSION, installed_version()))
                connection.execute(f"PRAGMA user_version = {number + 1}")
                _check_references(connection, path)


@contextmanager
def _references_unchecked(connection: sqlite3.Connection) -> Iterator[None]:
    """Let SQLite not check references row by row: dropping a table that refers to itself would take the square of them.

    Outside a transaction, since SQLite heeds the switch nowhere else.
    """
    (before,) = connection.execute("PRAGMA foreign_keys").fetchone()
    connection.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA foreign_keys = {before}")


def _check_references(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse what refers to a row that is not there.

    Raises:
        ArchiveError: it does; which row.
    """
    found = connection.execute("PRAGMA foreign_key_check").fetchone()
    if found is not None:
        table, row, other, _ = found
        raise ArchiveError(
            f"archive {path} is damaged: row {row} of its {table} refers to one of {other} that is not there: restore "
            "a copy, or start this run with --out elsewhere"
        )


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
