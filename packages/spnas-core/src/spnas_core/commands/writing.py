"""Files that a command writes where the user has said."""

from pathlib import Path

from spnas_core.durable import write_durably
from spnas_core.errors import ConfigError


def write_result(path: Path, text: str, option: str) -> None:
    """Write a text file that is complete or absent; one of that name is replaced.

    Where a link leads elsewhere the file is written there, and what is no file, such as a pipe, is written to.

    Args:
        path: of the file.
        text: in UTF-8.
        option: that names the file, for messages.

    Raises:
        ConfigError: it cannot be written; why, and what to do.
    """
    try:
        path = path.resolve()
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
        else:
            write_durably(path, text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}; name another file by {option}") from error
