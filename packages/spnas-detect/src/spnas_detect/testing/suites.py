"""The suite of readers over one that was registered, for ``spnas plugins check``."""

from pathlib import Path

from spnas_core.testing import NoSuiteError
from spnas_detect.data import DetectionData, Reader
from spnas_detect.testing.reader_contract import ReaderContract

EXAMPLE = "write_example"
"""Attribute of a reader: called with a folder, it writes a small data set there and returns its path, or None."""


class _Registered(ReaderContract):
    """The suite over a reader that brings an example."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def write(self, folder: Path) -> str | None:
        """Have the reader's own example written."""
        path: str | Path | None = getattr(self._reader, EXAMPLE)(folder)
        return None if path is None else str(path)

    def _open(self, path: str | None, **options: object) -> DetectionData:
        return self._reader(path, seed=3, options=options)


def reader_suite(name: str, item: Reader) -> ReaderContract:
    """Return the suite over a reader.

    Raises:
        NoSuiteError: it has no example of what it reads.
    """
    if not hasattr(item, EXAMPLE):
        raise NoSuiteError(
            f"the reader {name!r} has no function {EXAMPLE}(folder): give it one, or subclass "
            "spnas_detect.testing.ReaderContract"
        )
    return _Registered(item)
