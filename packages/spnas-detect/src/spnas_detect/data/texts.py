"""Text files as annotation tools write them: UTF-8 with or without a byte order mark, UTF-16, and any line ends."""

import codecs
from pathlib import Path

from spnas_core.errors import DataError

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_lines(file: Path) -> list[str]:
    """Read the lines of a text file, without their ends; the last one is empty where the file ends with a line end.

    UTF-16 is told by its byte order mark, or by the zero bytes that its ASCII consists of.

    Raises:
        DataError: the file is missing, unreadable, or in another encoding.
    """
    try:
        content = file.read_bytes()
        text = content.decode(told_encoding(content) or "utf-8")
    except FileNotFoundError:
        raise DataError(f"{file} does not exist") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is not in {error.encoding.upper()}"
        raise DataError(f"{file} is not a text file in UTF-8 or UTF-16 ({reason}): save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def told_encoding(content: bytes) -> str | None:
    """Return the encoding that a text's first bytes tell: their byte order mark, or a zero byte; None for neither."""
    if content.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if content.startswith(_UTF16_MARKS):
        return "utf-16"
    if content[1:2] == b"\0":
        return "utf-16-le"
    return "utf-16-be" if content[:1] == b"\0" else None
