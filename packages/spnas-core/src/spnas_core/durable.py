"""What it takes for a new or renamed file to outlive a power cut."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Write a folder's list of names to the disk; syncing a file does not."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_durably(temporary: Path, final: Path) -> None:
    """Give a complete file its name in one step; a crash at any moment leaves the old file or the new one.

    Args:
        temporary: the file, in the same folder.
        final: its name from now on; a file of that name is replaced.
    """
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(final)
    sync_folder(final.parent)
