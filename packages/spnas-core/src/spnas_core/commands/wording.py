"""How durations, counts and scores read, in every view alike."""

import math
import shlex
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

UNDEFINED = "–"
"""Stands in the place of a number that there is not."""


def quoted(word: object) -> str:
    """Write a path, or another word of a command, so that a shell takes it as one."""
    return shlex.quote(str(word))


def counted(count: int, noun: str) -> str:
    """Write ``1 epoch``, ``2 epochs``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def duration(seconds: float | None) -> str:
    """Write seconds as ``4:05`` or ``2:04:05``; an unknown duration as a dash."""
    if seconds is None or not math.isfinite(seconds):
        return UNDEFINED
    return _clock(round(seconds))


@lru_cache(maxsize=1 << 12)
def _clock(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def amount(number: float | None) -> str:
    """Write a count with three digits and a unit: ``44.2 M``; an unknown or undefined one as a dash."""
    if number is None or not math.isfinite(number):
        return UNDEFINED
    size = abs(number)
    if size < 1e3:
        return f"{number:.3g}"
    if size < 1e6:
        return f"{number / 1e3:.3g} k"
    return f"{number / 1e6:.3g} M" if size < 1e9 else f"{number / 1e9:.3g} G"


def amounts(counts: Iterable[float | None]) -> list[str]:
    """Write counts as ``amount`` does, in less time where there are many, most of them millions."""
    return [f"{count / 1e6:.3g} M" if count is not None and 1e6 <= count < 1e9 else amount(count) for count in counts]


def number(value: float | None, *, signed: bool = False) -> str:
    """Write a score; an unknown or undefined one as a dash."""
    return numbers([value], signed=signed)[0]


def numbers(values: Iterable[float | None], *, signed: bool = False) -> list[str]:
    """Write scores as ``number`` does, in less time where there are many."""
    write = ("{:+.3f}" if signed else "{:.3f}").format
    return [UNDEFINED if value is None or not math.isfinite(value) else write(value) for value in values]


def printable(text: str) -> str:
    r"""Escape what a terminal would obey, nobody sees, or no encoding holds; everything else stays as it is.

    That is: control characters and line ends, invisible ones such as marks of direction (joiners stay, since Persian
    and Hindi words and some emoji need them), and lone surrogates, which stand for bytes that are no text.

    Example: ``"a\x1b[2Jb"`` reads ``"a\\x1b[2Jb"``.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(one) if _is_harmful(one) else one for one in text)


MOST_LETTERS = 4000
"""Of a message: a path may have as many, and no more can be read."""


def shortened(text: str, most: int = MOST_LETTERS) -> str:
    """Leave out the middle of a text that is longer than ``most`` letters."""
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-(most // 2) :]}"


_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"


def _is_harmful(letter: str) -> bool:
    return unicodedata.category(letter) in _HARMFUL and letter not in _JOINERS


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
