"""Which classes of a parent a child's classes are, and which rows of the heads belong to them."""

from collections.abc import Sequence
from dataclasses import dataclass

ALIASES = {"aeroplane": "airplane", "motorbike": "motorcycle", "sofa": "couch", "tvmonitor": "tv"}
"""What VOC calls some of COCO's categories."""


@dataclass(frozen=True)
class ClassRows:
    """How a head's tensor is laid out: for C classes it has ``blocks`` · (``leading`` + C) · ``width`` rows.

    Attributes:
        blocks: repetitions, such as the anchors of a position.
        leading: 1 where the background stands before the classes, 0 where it has no rows.
        width: rows of each class.

    Example: a box head's refinements have 4 rows for the background, 4 for class 1, …: ``ClassRows(1, 1, 4)``.
    """

    blocks: int
    leading: int
    width: int

    def size(self, classes: int) -> int:
        """Rows of a tensor for so many classes."""
        return self.blocks * (self.leading + classes) * self.width


@dataclass(frozen=True)
class ClassMap:
    """For each class of a child, from 0, the parent's class that it is; None for one that the parent does not know.

    Attributes:
        parent: how many classes the parent has.
        sources: one per class of the child.
    """

    parent: int
    sources: tuple[int | None, ...]

    def row_pairs(self, layout: ClassRows, parent_rows: int) -> tuple[tuple[int, int], ...] | None:
        """Pairs of a row of the child's tensor and the row of the parent's that it is; None where those fit no layout.

        Args:
            layout: of the child's tensor.
            parent_rows: of the parent's, whose layout must be the same.
        """
        if parent_rows != layout.size(self.parent):
            return None
        places = [(place, place) for place in range(layout.leading)]
        places += [
            (layout.leading + child, layout.leading + source)
            for child, source in enumerate(self.sources)
            if source is not None
        ]
        mine, theirs = (layout.leading + count for count in (len(self.sources), self.parent))
        return tuple(
            ((block * mine + to) * layout.width + row, (block * theirs + origin) * layout.width + row)
            for block in range(layout.blocks)
            for to, origin in places
            for row in range(layout.width)
        )


def match_classes(parent: Sequence[str], child: Sequence[str]) -> ClassMap | None:
    """Find the classes that two detectors share by their names; None where they are the same in the same order.

    Case, blanks and punctuation do not count, and VOC's names are known for COCO's (``ALIASES``).

    Args:
        parent: names; an empty one is of no class. Where all are empty they are the child's, if there are as many.
        child: names.

    Example: match_classes(("cat", "tv"), ("TVmonitor", "cup")).sources is (1, None).
    """
    known = {_plain(name): place for place, name in reversed(list(enumerate(parent))) if name}
    if not known and len(parent) == len(child):
        return None
    sources = tuple(known.get(_plain(name)) for name in child)
    return None if sources == tuple(range(len(parent))) else ClassMap(len(parent), sources)


def _plain(name: str) -> str:
    plain = "".join(letter for letter in name.casefold() if letter.isalnum())
    return ALIASES.get(plain, plain or name)
