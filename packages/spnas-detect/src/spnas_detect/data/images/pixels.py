"""From whatever an image file stores to RGB of eight bit.

========================= ==============================================================================
stored                    becomes
========================= ==============================================================================
RGB, grey, 1 bit, palette RGB without loss
transparency of any sort  laid on white
CMYK                      RGB, by Pillow's plain formula, without colour profiles
16 bit                    value / 257, rounded; 12 bit in such a file look like a dark image, and stay dark
float                     255 · value where all lie in 0…1, else stretched from the least to the greatest
32-bit whole numbers      stretched likewise
several frames or pages   the first
========================= ==============================================================================

Values that are no numbers are black; infinite ones count as the greatest or least finite value.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

KINDS = {
    "16 bit": "of 16 bit scaled to 8 bit: value / 257",
    "float": "of floats or 32-bit numbers scaled to 8 bit: 0…1 as such, else each from its least to its greatest value",
    "CMYK": "in CMYK converted to RGB without colour profiles",
    "transparency": "with transparency laid on white",
    "frames": "of several frames or pages: the first is read",
}
"""What of an image's pixels needs a choice, and how notes say what was chosen."""

_WITH_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}

Reopen = Callable[[], AbstractContextManager[Image.Image]]


def special_kinds(image: Image.Image) -> tuple[str, ...]:
    """Return the keys of ``KINDS`` that an opened image is, from its header."""
    found = {
        "16 bit": _is_deep_grey(image) or _is_deep_colour(image),
        "float": image.mode == "F" or (image.mode == "I" and not _is_deep_grey(image)),
        "CMYK": image.mode == "CMYK",
        "transparency": image.mode in _WITH_ALPHA or "transparency" in image.info,
        # photographs of phones hold a preview as a second picture
        "frames": image.format != "MPO" and bool(getattr(image, "is_animated", False)),
    }
    return tuple(kind for kind in KINDS if found[kind])


def rgb(image: Image.Image, reopen: Reopen) -> NDArray[np.uint8]:
    """Decode an opened image to uint8[H, W, 3].

    Args:
        image: as opened, at its first frame.
        reopen: opens the same file once more; colours of 16 bit are decoded twice, since Pillow keeps one byte of two.

    Raises:
        ValueError: colours that Pillow cannot convert, or 16-bit colours in separate planes.
    """
    if _has_deep_planes(image):
        raise ValueError("its 16-bit colours lie in separate planes, which cannot be read: convert it to 8 bit")
    if _is_deep_colour(image):
        image = _eight_bit_colours(image, reopen)
    elif image.mode.startswith("I;16") or image.mode in {"I", "F"}:
        return np.repeat(_grey(image)[..., None], 3, axis=2)
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        image = _on_white(image)
    return np.asarray(image.convert("RGB"))


def _is_deep_grey(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in {"PNG", "PPM"})


def _is_deep_colour(image: Image.Image) -> bool:
    return image.mode not in {"I", "F"} and not image.mode.startswith("I;") and ";16" in _raw_mode(image)


def _has_deep_planes(image: Image.Image) -> bool:
    """Say whether Pillow would take each byte of a TIFF's 16-bit colours for a value."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or len(_raw_mode(image)) != 1:
        return False
    bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (8,))
    return len(image.getbands()) > 1 and max(bits if isinstance(bits, tuple) else (bits,)) > 8


def _raw_mode(image: Image.Image) -> str:
    """Return how the file's bytes are unpacked, such as ``RGB;16B``."""
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    arguments = tiles[0].args if tiles else None
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _grey(image: Image.Image) -> NDArray[np.uint8]:
    values = np.asarray(image)
    if not _is_deep_grey(image):
        return _stretched(values)
    grey = _scaled(values)
    key = image.info.get("transparency")
    return np.where(values == key, np.uint8(255), grey) if isinstance(key, int) else grey


def _scaled(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale 0…65535 to 0…255: value / 257, rounded."""
    whole = values.astype(np.uint32)
    whole += 128
    whole //= 257
    return whole.astype(np.uint8)


def _stretched(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale numbers to 0…255: floats in 0…1 as such, all others from the least to the greatest."""
    numbers = values.astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    least, most = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    low, high = (0.0, 1.0) if values.dtype.kind == "f" and least >= 0 and most <= 1 else (least, most)
    clipped = np.nan_to_num(numbers, nan=low, posinf=most, neginf=least)
    return np.rint((clipped - low) * (255 / (high - low if high > low else 1.0))).astype(np.uint8)


def _eight_bit_colours(image: Image.Image, reopen: Reopen) -> Image.Image:
    """Decode colours of 16 bit, and scale them; the mode stays."""
    mode, key = image.mode, image.info.get("transparency")
    values = _deep_values(image, reopen)
    if values.shape[2] == 2:
        mode = "LA"
    pixels = _scaled(values)
    if isinstance(key, tuple) and len(key) == values.shape[2]:
        pixels[(values == np.asarray(key)).all(2)] = 255
    return Image.frombytes(mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes())


def _deep_values(image: Image.Image, reopen: Reopen) -> NDArray[np.uint32]:
    """Return uint32[H, W, C]: the higher byte as Pillow decodes it, the lower with the order of bytes swapped."""
    raw = _raw_mode(image)
    if raw == "LA;16B":  # four bytes a pixel, which are those of an RGBA image
        _unpack_as(image, "RGBA")
        parts = np.asarray(image).astype(np.uint32)
        both: NDArray[np.uint32] = parts[..., ::2] * 256 + parts[..., 1::2]
        return both
    if raw[-1] not in _SWAPPED:
        raise ValueError(f"its 16-bit colours are stored as {raw}, which cannot be read: convert it to 8 bit")
    high = np.asarray(image).astype(np.uint32)
    with reopen() as again:
        _unpack_as(again, raw[:-1] + _SWAPPED[raw[-1]])
        return high * 256 + np.asarray(again, np.uint32)


def _unpack_as(image: Image.Image, raw: str) -> None:
    """Have the file's bytes unpacked another way."""
    if not isinstance(image, ImageFile.ImageFile):
        raise TypeError("its 16-bit colours cannot be read: convert it to 8 bit")
    image.tile = [
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw) for tile in image.tile
    ]


def _on_white(image: Image.Image) -> Image.Image:
    """Lay an image with transparency on white; where it is opaque nothing changes."""
    if image.mode == "La":  # Pillow knows no shorter way
        image = image.convert("LA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
