"""Whether a text, which may be something else altogether, names a file or folder."""

from pathlib import Path


def is_there(path: Path | str) -> bool:
    """Whether a file or folder of this name exists; what is too long for a name, or holds what none may, does not."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False
