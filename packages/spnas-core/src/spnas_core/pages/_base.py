"""A report before it is a page: what it says, in sections."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup

_ANCHOR = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True)
class Section:
    """A part of a report under a heading.

    Attributes:
        anchor: names it in addresses; small letters, digits and dashes.
        title: of the heading.
        body: made by the functions of this package; a plain text would be escaped.

    Raises:
        ValueError: an anchor of other letters.
    """

    anchor: str
    title: str
    body: Markup

    def __post_init__(self) -> None:
        if not _ANCHOR.fullmatch(self.anchor):
            raise ValueError(f"anchor {self.anchor!r}: it must be small letters, digits and dashes, a letter first")


@dataclass(frozen=True)
class Report:
    """What is known of a folder.

    Attributes:
        folder: reported on; the page is written into it where nobody says otherwise.
        kind: of the folder, in a word or two.
        title: of the page.
        status: where things stand, in a sentence or two.
        sections: in order.
        facts: the few numbers that matter most, each with its name.
        points: what is shown of a point of a chart, and searched by the filter: lines by key.
        filters: texts that the filter offers, by what its button says.
        is_going: whether a process is at work in the folder, so that a later report would say more.
    """

    folder: Path
    kind: str
    title: str
    status: str
    sections: tuple[Section, ...]
    facts: tuple[tuple[str, str], ...] = ()
    points: Mapping[str, Sequence[str]] = field(default_factory=dict, hash=False)
    filters: Mapping[str, str] = field(default_factory=dict, hash=False)
    is_going: bool = False
