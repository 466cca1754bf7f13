"""How durations, counts and scores read, in every view alike."""

import math


def duration(seconds: float | None) -> str:
    """Write seconds as ``4:05`` or ``2:04:05``; an unknown duration as a dash."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def amount(number: float) -> str:
    """Write a count with three digits and a unit: ``44.2 M``."""
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(number) >= factor:
            return f"{number / factor:.3g}{unit}"
    return f"{number:.3g}"


def number(value: float | None, *, signed: bool = False) -> str:
    """Write a score; an unknown or undefined one as a dash."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:+.3f}" if signed else f"{value:.3f}"


def printable(text: str) -> str:
    r"""Escape what a terminal would obey and what no encoding holds: control characters and lone surrogates.

    Example: ``"a\x1b[2Jb"`` reads ``"a\\x1b[2Jb"``.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
