"""Folders that a user names for results: one line where nothing can be written into them."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from spnas_core.errors import ConfigError


@contextmanager
def explained_writing(folder: Path) -> Iterator[None]:
    """Say in one line what is wrong with a folder where something inside cannot be looked at or written.

    Raises:
        ConfigError: in the place of an OSError.
    """
    try:
        yield
    except BrokenPipeError:  # of whoever reads the output
        raise
    except OSError as error:
        raise ConfigError(f"cannot write into {folder}: {error.strerror or error}; choose another --out") from error


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Make a folder, and say in one line what is wrong with it where something inside cannot be written.

    Raises:
        ConfigError: the folder cannot be made, or written into.
    """
    with explained_writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        yield


def make_folder(folder: Path) -> None:
    """Make a folder where it is missing, and see to it that files can be made inside, before hours are spent.

    Raises:
        ConfigError: they cannot.
    """
    with writing_into(folder), TemporaryFile(dir=folder):
        pass


@contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Make a folder for something that begins; where that fails with nothing written, no new folder is left.

    Raises:
        ConfigError: the folder cannot be made, or written into.
    """
    with explained_writing(folder):
        existed = folder.exists()
    try:
        make_folder(folder)
        yield
    except BaseException:
        if not existed:
            with suppress(OSError):  # it holds something
                folder.rmdir()
        raise
