"""Rows in columns, as plain lines: what a rich table is to ten rows, for a hundred thousand."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len

from spnas_core.commands.wording import printable

GAP = "  "


@dataclass(frozen=True)
class Column:
    """What a table says of one column.

    Attributes:
        heading: above it.
        side: on which its cells stand; numbers stand right.
    """

    heading: str
    side: Literal["left", "right"] = "left"


def numbers(*headings: str) -> tuple[Column, ...]:
    """Return columns whose cells stand right."""
    return tuple(Column(heading, "right") for heading in headings)


def format_columns(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a line of headings, then one per row; nothing is wrapped or cut off.

    A column is as wide as its widest cell on the terminal, where Chinese letters take two cells and accents none. What
    a terminal would obey is escaped.

    Args:
        columns: of the table.
        rows: each with a cell per column.

    Raises:
        ValueError: a row with more or fewer cells than there are columns.
    """
    headings = [column.heading for column in columns]
    by_column = zip(headings, *rows, strict=True)
    padded = [_padded(cells, column.side) for cells, column in zip(by_column, columns, strict=True)]
    return (GAP.join(cells).rstrip() for cells in zip(*padded, strict=True))


def _padded(cells: Sequence[str], side: Literal["left", "right"]) -> list[str]:
    """Bring the cells of a column to one width.

    Looking at each different letter once, instead of at each cell, makes this fast.
    """
    letters = set("".join(cells))
    if any(printable(letter) != letter for letter in letters):
        return _padded([printable(cell) for cell in cells], side)
    if all(cell_len(letter) == 1 for letter in letters):
        width = max(map(len, cells))
        return [cell.rjust(width) if side == "right" else cell.ljust(width) for cell in cells]
    widths = [cell_len(cell) for cell in cells]
    blanks = [" " * (max(widths) - width) for width in widths]
    return [blank + cell if side == "right" else cell + blank for cell, blank in zip(cells, blanks, strict=True)]
