"""From the text of a backbone to its value: a code, a network by name, or a composition of a code."""

import re
from functools import lru_cache

from spnas_core.backbones.network import (
    AnyNetwork,
    CompositeNetwork,
    Composition,
    FixedNetwork,
    TridentNetwork,
    last_but_one,
)
from spnas_core.encoding import Architecture
from spnas_core.encoding.grammar import MOST_DIGITS, NECK
from spnas_core.encoding.validation import oversize
from spnas_core.errors import CodeError
from spnas_core.paths import is_there
from spnas_core.plugins import registry

TRIDENT, COPIES = "trident", "cb"
KINDS = (
    "copies that help one another are written cb2(b_11-21-21-21), branches that share their weights "
    "trident(b_11-21-21-21)"
)

_NUMBERED = re.compile(r"(?P<folder>.+):[+-]?\d*")
"""What looks like the candidate of a run."""

_OPENED = re.compile(r"(?P<name>[A-Za-z0-9 ]*)(?P<bracket>[(\[{])(?P<inside>[^)\]}]*)")
_NAME = re.compile(rf"(?:{COPIES}\d*|{TRIDENT}) *", re.IGNORECASE)
_NUMBER = re.compile(rf"0|[1-9]\d{{0,{MOST_DIGITS - 1}}}")


@lru_cache(maxsize=256)
def read_network(text: str) -> AnyNetwork:
    """Read the text of a backbone: ``timm:hrnet_w18``, ``cb2(CODE)``, ``trident(CODE)``, or an architecture's code.

    Behind each of them may stand ``~`` and the name of a neck.

    Raises:
        CodeError: it is none of these, nobody provides it, something else than a code is to be composed, or it is
            larger than could ever be built.
    """
    text = text.strip()
    if (opened := _opened(text)) is not None:
        return _read_composition(text, opened)
    provider, colon, named = text.partition(":")
    if not colon or NECK in provider:
        return _read_code(text)
    name, tilde, neck = named.partition(NECK)
    if tilde and not neck:
        raise _refused(text, len(text) - 1, f"no neck is named behind the {NECK}")
    return FixedNetwork(provider, name, neck)


def read_reference(text: str) -> AnyNetwork:
    """Read what may name a run in the place of a backbone, and names none.

    Raises:
        CodeError: it is no backbone; where it looks like a run or its candidate, the message says that there is none.
    """
    try:
        return read_network(text)
    except CodeError as error:
        numbered = _NUMBERED.fullmatch(text)
        folder = numbered["folder"] if numbered else text.partition(":")[0]
        neither = f"{text!r} is neither the folder of a run, as RUN or RUN:ID, nor the code of an architecture"
        if ":" in text and folder not in registry("backbones").items and (numbered or "/" in folder):
            raise CodeError(f"{neither}: there is no run in {folder}") from None
        if "/" in text or is_there(text):
            raise CodeError(f"{neither}: {error}") from None
        raise


def _read_code(text: str) -> Architecture:
    architecture = Architecture.parse(text)
    if (larger := oversize(architecture)) is not None:
        raise CodeError(f"a backbone of {larger}")
    return architecture


def _opened(text: str) -> re.Match[str] | None:
    """Return how a composition begins; None for a code, whose block may have parentheses, too: ``x(32x4d)_1-2``."""
    opened = _OPENED.match(text)
    if opened is None or _NAME.fullmatch(opened["name"]):
        return opened
    return opened if "_" in opened["inside"] or ":" in opened["inside"] else None


def _read_composition(text: str, opened: re.Match[str]) -> Composition:
    """Read name, parentheses, what is composed, its argument, and the neck behind it."""
    name, start = opened["name"], opened.start("bracket")
    _check_name(text, name)
    if opened["bracket"] != "(":
        raise _refused(text, start, f"{opened['bracket']!r} stands where ( must")
    end = _closing(text, start)
    neck = _read_neck(text, end + 1)
    if NECK in text[start:end]:
        raise _refused(text, text.index(NECK), f"a neck is named inside of {name}(): write it behind the )")
    composed, comma, argument = text[start + 1 : end].partition(",")
    inner = _read_inner(text, name, start + 1, composed)
    place = start + len(composed) + 2  # of what follows the comma
    if name == TRIDENT:
        stage = _read_stage(text, place, argument, inner) if comma else last_but_one(inner)
        return TridentNetwork(inner, stage, neck=neck)
    if comma:
        raise _refused(text, place - 1, f"copies that help one another have no stage to name: write {name}({inner})")
    return CompositeNetwork(inner, int(name.removeprefix(COPIES)), neck=neck)


def _check_name(text: str, name: str) -> None:
    """Refuse a name that no composition has, or a number that none is written with."""
    if not _NAME.fullmatch(name):
        raise _refused(text, 0, f"no composition is called {name!r}; {KINDS}")
    if name != (bare := name.rstrip()):
        raise _refused(text, len(bare), f"a blank stands between {bare} and what it composes")
    if name != name.lower():
        raise _refused(text, 0, f"{name} is written {name.lower()}")
    number = name.removeprefix(COPIES)
    if name != TRIDENT and not _NUMBER.fullmatch(number):
        said = f"{number[:MOST_DIGITS]!r} is no number of them" if number else "it names none"
        raise _refused(text, len(COPIES), f"{COPIES} composes copies, and {said}: write {COPIES}2(b_11-21-21-21)")


def _closing(text: str, start: int) -> int:
    """Return the place of the parenthesis that closes the one at ``start``."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise _refused(text, start, "the ( is not closed: write ) behind what is composed")


def _read_neck(text: str, place: int) -> str:
    """Read what follows the parenthesis: nothing, or a neck."""
    rest = text[place:]
    if rest and not rest.startswith(NECK):
        raise _refused(text, place, f"{rest!r} follows the closing ): only {NECK} and a neck may")
    if rest == NECK:
        raise _refused(text, place, f"no neck is named behind the {NECK}")
    return rest.removeprefix(NECK)


def _read_inner(text: str, name: str, place: int, composed: str) -> Architecture:
    """Read the code that is composed."""
    inner = composed.strip()
    if not inner:
        raise _refused(text, place, f"nothing is composed: write a code there, as in {name}(b_11-21-21-21)")
    if ":" in inner or _opened(inner) is not None:
        raise _refused(text, place, f"it composes {inner}, and only codes can be composed, as in {name}(b_11-21-21-21)")
    try:
        return _read_code(inner)
    except CodeError as error:
        raise _refused(text, place, f"what is composed is no code: {error}") from None


def _read_stage(text: str, place: int, argument: str, inner: Architecture) -> int:
    stage = argument.strip()
    if not _NUMBER.fullmatch(stage):
        place += len(argument) - len(argument.lstrip())
        raise _refused(text, place, f"the stage {stage!r} is no whole number: write 1 to {inner.stage_count}")
    return int(stage)


def _refused(text: str, place: int, reason: str) -> CodeError:
    return CodeError(f"{text!r} is no backbone: at character {place + 1}, {reason}")
