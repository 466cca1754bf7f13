"""The text form ``<block>[@<base>][+<stem>]_<serial>[_<parallel>[s]][~<neck>]``: read and printed."""

import re

from spnas_core.encoding.architecture import DEFAULT_BASE, DEFAULT_STEM, Architecture
from spnas_core.errors import CodeError

SYNTAX = "<block>[@<base>][+<stem>]_<serial>[_<parallel>[s]][~<neck>]"
NECK = "~"
"""Stands between the backbone and the neck."""
_HEAD = re.compile(r"(?P<block>[^@+_]+)(?:@(?P<base>[^@+_]*))?(?:\+(?P<stem>[^@+_]*))?")
_UNCLOSED = re.compile(r"[(\[{][^)\]}]*$")
"""Before the first _ stands the block alone, whose parentheses are closed, and not a composition's beginning."""

MOST_DIGITS = 18
"""Of a number in a code."""


def parse_architecture(text: str) -> Architecture:
    """Read one code.

    Raises:
        CodeError: with what must hold, the value, and where.
    """
    from spnas_core.blocks import canonical_block_name

    backbone, tilde, neck = text.strip().partition(NECK)
    head, *codes = backbone.split("_")
    match = _HEAD.fullmatch(head)
    if ":" in backbone or _UNCLOSED.search(head):
        raise CodeError(
            f"{text!r} is no architecture code: networks by name and compositions can be trained and compared (spnas "
            "train, spnas compare), and a search rewrites codes alone: begin it with one, such as b_11-21-21-21"
        )
    if match is None or not 1 <= len(codes) <= 2:
        raise CodeError(f"{text!r} is no architecture code: write {SYNTAX}, for example b_11-21-21-21")
    if tilde and not neck:
        raise CodeError(f"{text!r} names no neck behind the {NECK}: write its name there, or leave both out")
    base = DEFAULT_BASE
    if match["base"] is not None:
        base = _number(match["base"], f"base {match['base']!r} of {text!r} must be a whole number of channels")
    rows: tuple[int, ...] = ()
    shares_rows = False
    if len(codes) == 2:
        shares_rows = codes[1].endswith("s")
        entries = codes[1].removesuffix("s").split("-")
        rows = tuple(
            _number(
                entry,
                f"entry {i} of the parallel code {codes[1]!r} is {entry!r}: it must be a number of rows, 0 or more",
            )
            for i, entry in enumerate(entries, 1)
        )
    return Architecture(
        block=canonical_block_name(match["block"]),
        stages=tuple(codes[0].split("-")),
        base=base,
        stem=match["stem"] if match["stem"] is not None else DEFAULT_STEM,
        rows=rows,
        shares_rows=shares_rows,
        neck=neck,
    )


def print_architecture(architecture: Architecture) -> str:
    """Write the code of an architecture; defaults are left out, so equal architectures print equally."""
    head = architecture.block
    if architecture.base != DEFAULT_BASE:
        head += f"@{architecture.base}"
    if architecture.stem != DEFAULT_STEM:
        head += f"+{architecture.stem}"
    text = f"{head}_{architecture.serial_code}"
    if architecture.rows:
        text += "_" + "-".join(map(str, architecture.rows)) + ("s" if architecture.shares_rows else "")
    return f"{text}{NECK}{architecture.neck}" if architecture.neck else text


def _number(text: str, message: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise CodeError(message)
    return int(text)
