"""Fonts that can write a data set's class names."""

import unicodedata
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from functools import cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont

FONT_FILES = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "arial.ttf",
    "Arial Unicode.ttf",
    "msyh.ttc",
)
"""Looked for among the system's fonts where the one that Pillow brings along lacks a letter: it has ASCII only."""

_PROBE_SIZE = 16
_NO_LETTER = "\U0010fffe"  # no font has it, so it is drawn as whatever stands for missing letters


class Lettering:
    """Writes texts in a font that has their letters, or the most of them.

    Args:
        texts: everything that will be written.
        files: fonts to try after Pillow's own.
    """

    def __init__(self, texts: Iterable[str], files: Iterable[str] = FONT_FILES) -> None:
        letters = set("".join(texts))
        self._open = _fittest(_openers(files), letters)
        self._probe = self._open(_PROBE_SIZE)

    @property
    def file(self) -> str | None:
        """Where the font was found; None for Pillow's own."""
        return self._probe.path if isinstance(self._probe.path, str) else None

    def font(self, size: int) -> Font:
        """Return the font with letters about ``size`` pixels high."""
        return self._open(size)

    def writable(self, text: str, otherwise: str) -> str:
        """Return the text, without accents where only those are missing in the font, or ``otherwise``."""
        if _has(self._probe, text):
            return text
        plain = "".join(part for part in unicodedata.normalize("NFKD", text) if not unicodedata.combining(part))
        return plain if _has(self._probe, plain) else otherwise


@cache
def _built_in(size: int) -> Font:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("this Pillow is built without FreeType: install it from a wheel")
    return font


def _openers(files: Iterable[str]) -> Iterable[Callable[[int], Font]]:
    yield _built_in
    for file in files:
        try:
            ImageFont.truetype(file, _PROBE_SIZE)
        except OSError:
            continue
        yield lambda size, file=file: ImageFont.truetype(file, size)  # type: ignore[misc]


def _fittest(openers: Iterable[Callable[[int], Font]], letters: AbstractSet[str]) -> Callable[[int], Font]:
    """Return the first font that has all letters, or else the first of those that lack the fewest."""
    best: Callable[[int], Font] = _built_in
    fewest = len(letters) + 1
    for opener in openers:
        font = opener(_PROBE_SIZE)
        lacking = sum(not _has(font, letter) for letter in letters)
        if lacking < fewest:
            best, fewest = opener, lacking
        if not lacking:
            break
    return best


def _has(font: Font, letters: Iterable[str]) -> bool:
    missing = bytes(font.getmask(_NO_LETTER))
    return all(letter.isspace() or bytes(font.getmask(letter)) != missing for letter in letters)
