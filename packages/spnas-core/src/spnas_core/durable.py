"""What it takes for a new or renamed file to outlive a power cut, and to be read by whom the umask lets."""

import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _current_umask() -> int:
    """Read the process's umask, which the system only tells to those who set it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask


_KEPT = 40
"""Letters of a file's name in that of its unfinished version, which must not become longer than names may be."""

_UMASK = _current_umask()  # once, before there are threads that could make files in between


def sync_folder(folder: Path) -> None:
    """Write a folder's list of names to the disk; syncing a file does not."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, text: str) -> None:
    """Write a text file that is complete or absent, whatever happens, and is there after a power cut.

    Args:
        path: of the file; one of that name is replaced.
        text: in UTF-8.
    """
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def whole_file(path: Path, *, is_durable: bool = True) -> Iterator[Path]:
    """Write a file that is complete or absent, however many write it at once: the last to end has written it.

    Args:
        path: of the file; one of that name is replaced, unless something is raised.
        is_durable: whether it is to be there after a power cut, which takes the disk's time.

    Yields:
        Where to write; no other process writes there. ``unfinished`` finds what killed ones have left.
    """
    temporary = path.with_name(f".{path.name[:_KEPT]}.{os.getpid()}-{secrets.token_hex(4)}.new")
    try:
        yield temporary
        if is_durable:
            replace_durably(temporary, path)
        else:
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def unfinished(path: Path) -> Iterator[Path]:
    """Find what writers of a file have left that were killed."""
    yield from path.parent.glob(f".{glob.escape(path.name[:_KEPT])}.*-*.new")


def replace_durably(temporary: Path, final: Path) -> None:
    """Give a complete file its name in one step; a crash at any moment leaves the old file or the new one.

    Args:
        temporary: the file, in the same folder.
        final: its name from now on; a file of that name is replaced.
    """
    with temporary.open("rb") as file:
        os.fchmod(file.fileno(), 0o666 & ~_UMASK)  # some writers make files that nobody else may read
        os.fsync(file.fileno())
    temporary.replace(final)
    sync_folder(final.parent)
