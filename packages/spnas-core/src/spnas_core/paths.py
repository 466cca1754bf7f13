"""Texts as names of files: whether there is such a file, and whether other files can hold its name."""

from pathlib import Path


def is_there(path: Path | str) -> bool:
    """Whether a file or folder of this name exists; what is too long for a name, or holds what none may, does not."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def is_utf8(name: str) -> bool:
    """Whether UTF-8 can hold a name; those in another encoding have lone surrogates for their bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
