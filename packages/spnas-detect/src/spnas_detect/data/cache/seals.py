"""Noticing a cache whose files were altered after they were written: it is used again for as long as a run lasts."""

import json
from pathlib import Path

from spnas_core.checksums import file_checksum
from spnas_core.errors import MALFORMED, DataError

SEALS = "seals.json"


def seal(folder: Path) -> None:
    """Note size, time and digest of every file of a cache that is complete."""
    seals = {str(path.relative_to(folder)): [*_stamp(path), file_checksum(path)] for path in _files(folder)}
    (folder / SEALS).write_text(json.dumps(seals), encoding="utf-8")


def check_sealed(folder: Path) -> None:
    """Refuse a cache with a file that is not as it was written; one is read only where its size or time has changed.

    Raises:
        DataError: naming the file, and what to do.
    """
    try:
        seals = json.loads((folder / SEALS).read_text(encoding="utf-8"))
        if not seals:
            raise DataError(f"the image cache {folder} is damaged: remove the folder (nothing in it is sealed)")
        for name, (size, time, digest) in seals.items():
            path = folder / name
            if _stamp(path) != (size, time) and file_checksum(path) != digest:
                raise DataError(f"the image cache {folder} is damaged: remove the folder ({name} was altered)")
    except (OSError, *MALFORMED) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"the image cache {folder} is damaged: remove the folder ({error})") from None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEALS)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
