"""Headers of ordinary JPEG and PNG files, read without Pillow: what most files are, ten times as fast.

Whatever is not ordinary is left to Pillow: EXIF, XMP, transparency, several frames, 16 bit, CMYK, other formats.
"""

import os
import struct
from pathlib import Path
from typing import BinaryIO

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_SCAN, _APP1 = 0xDA, 0xE1
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame, whichever way it is coded
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_PLAIN_CHUNKS = frozenset(
    {b"PLTE", b"bKGD", b"cHRM", b"gAMA", b"hIST", b"iCCP", b"pHYs", b"sBIT", b"sRGB", b"tIME", b"cICP", b"sPLT"}
)
_PNG_COLOURS = frozenset({0, 2, 3})  # grey, RGB, palette
_TAIL = 65536


def ordinary_size(path: Path) -> tuple[int, int] | None:
    """Return the (width, height) of an ordinary JPEG or PNG; None for every other file, a damaged one among them."""
    try:
        with path.open("rb") as file:
            start = file.read(2)
            if start == _JPEG:
                return _jpeg_size(file)
            if start == _PNG[:2] and start + file.read(6) == _PNG:
                return _png_size(file)
    except (OSError, struct.error):
        pass
    return None


def trailing_exif(path: Path, content: bytes | None = None) -> bytes | None:
    """Return the EXIF data that a PNG has behind its pixels, where some tools write it, as Pillow keeps it.

    Args:
        path: of the file.
        content: its bytes, where they were read before.
    """
    if content is None:
        with path.open("rb") as file:
            tail = _tail(file)
    else:
        tail = content[-_TAIL:]
    at = tail.rfind(b"eXIf")
    if at < 4:
        return None
    (length,) = struct.unpack(">I", tail[at - 4 : at])
    content = tail[at + 4 : at + 4 + length]
    # pixels may contain the same four bytes: the content must be complete, and begin as TIFF does
    is_whole = len(content) == length and content[:4] in {b"II*\0", b"MM\0*"}
    return b"Exif\0\0" + content if is_whole else None


def _tail(file: BinaryIO) -> bytes:
    file.seek(max(file.seek(0, os.SEEK_END) - _TAIL, 0))
    return file.read()


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    size = None
    while True:
        marker = file.read(1)
        if marker != b"\xff":
            return None
        while marker == b"\xff":
            marker = file.read(1)
        code = marker[0] if marker else _APP1
        if code == _SCAN:
            return size
        if code == _APP1:  # EXIF or XMP
            return None
        if code in _ALONE:
            continue
        (length,) = struct.unpack(">H", file.read(2))
        if code in _FRAMES:
            precision, height, width, channels = struct.unpack(">BHHB", file.read(6))
            if precision != 8 or channels not in {1, 3} or not width or not height:
                return None
            size, length = (width, height), length - 6
        file.seek(length - 2, os.SEEK_CUR)


def _png_size(file: BinaryIO) -> tuple[int, int] | None:
    length, name, width, height, depth, colour = struct.unpack(">I4sIIBB", file.read(18))
    if (length, name) != (13, b"IHDR") or depth > 8 or colour not in _PNG_COLOURS or not width or not height:
        return None
    file.seek(7, os.SEEK_CUR)
    while True:
        length, name = struct.unpack(">I4s", file.read(8))
        if name == b"IDAT":
            break
        if name not in _PLAIN_CHUNKS:
            return None
        file.seek(length + 4, os.SEEK_CUR)
    return None if b"eXIf" in _tail(file) else (width, height)
