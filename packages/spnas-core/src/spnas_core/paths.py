"""Texts as names of files: where they lead, whether there is such a file, and whether other files can hold its name."""

import os
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


def found_at(path: str | os.PathLike[str]) -> Path:
    """Return where a path leads from here; ``~`` is the home folder, and stays where there is no such user."""
    return Path(os.path.expanduser(path)).resolve()  # noqa: PTH111 - Path's raises where there is no such user
