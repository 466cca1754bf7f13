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
    """Return the absolute path that a path is from here, through links as they are written.

    ``~`` is the home folder, and stays where there is no such user.
    """
    written = Path(os.path.expanduser(path)).absolute()  # noqa: PTH111 - Path's raises where there is no such user
    return as_written(written) or written.resolve()


def as_written(path: Path) -> Path | None:
    """Take ``..`` out of a path by its text, so that the names along it stay though some are links; None for nothing.

    Example: ``birds/../images/1.jpg`` is ``images/1.jpg``, whatever ``birds`` and ``1.jpg`` are links to. Where that
    leads to nothing, the path counts as the system reads it, from where ``birds`` leads.
    """
    plain = Path(os.path.normpath(path))
    if is_there(plain):
        return plain
    return path.resolve() if is_there(path) else None
