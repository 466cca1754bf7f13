"""Image files that Pillow does not write, for tests of reading them."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}


def write_deep_png(path: Path, values: NDArray[Any], *, key: tuple[int, ...] | None = None) -> None:
    """Write uint16[H, W, C] as a PNG of 16 bit: grey, grey and alpha, RGB or RGBA; its rows are filtered.

    Args:
        path: of the file.
        values: the pixels.
        key: the colour that is transparent.
    """
    height, width, channels = values.shape
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    step = 2 * channels
    differences = rows.copy()
    differences[:, step:] -= rows[:, :-step]  # filter 1: from the pixel on the left
    filtered = np.concatenate([np.ones((height, 1), np.uint8), differences], 1)
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOURS[channels], 0, 0, 0)
    chunks = [_chunk(b"IHDR", header)]
    if key is not None:
        chunks.append(_chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)))
    chunks += [_chunk(b"IDAT", zlib.compress(filtered.tobytes())), _chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def append_png_exif(path: Path, exif: bytes) -> None:
    """Write EXIF data behind the pixels of a PNG, as some tools do."""
    content = path.read_bytes()
    end = content.rindex(b"IEND") - 4
    path.write_bytes(content[:end] + _chunk(b"eXIf", exif) + content[end:])


def write_deep_tiff(path: Path, values: NDArray[Any], *, order: str = "<", is_compressed: bool = False) -> None:
    """Write uint16[H, W, 3] as a TIFF of 16-bit RGB in one strip.

    Args:
        path: of the file.
        values: the pixels.
        order: ``<`` for little-endian, ``>`` for big-endian.
        is_compressed: by deflate.
    """
    height, width, channels = values.shape
    pixels = values.astype(f"{order}u2").tobytes()
    if is_compressed:
        pixels = zlib.compress(pixels)
    short, long = 3, 4
    bits_at, pixels_at = 8, 8 + 2 * channels
    entries = [
        (256, long, 1, width),
        (257, long, 1, height),
        (258, short, channels, bits_at),
        (259, short, 1, 8 if is_compressed else 1),
        (262, short, 1, 2),
        (273, long, 1, pixels_at),
        (277, short, 1, channels),
        (278, long, 1, height),
        (279, long, 1, len(pixels)),
    ]
    directory = struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        directory += struct.pack(f"{order}HHI", tag, kind, count)
        inline = kind == short and count == 1
        directory += struct.pack(f"{order}HH", value, 0) if inline else struct.pack(f"{order}I", value)
    start = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, pixels_at + len(pixels))
    bits = struct.pack(f"{order}{channels}H", *[16] * channels)
    path.write_bytes(start + bits + pixels + directory + b"\0" * 4)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
