"""Rows in columns, as plain lines: what a rich table is to ten rows, for a hundred thousand."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeVar

from rich.cells import cell_len

from spnas_core.commands.wording import printable

GAP = "  "
ROWS_AT_A_TIME = 64
Row = TypeVar("Row")


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


def few_at_a_time(rows: Iterable[Row]) -> Iterator[tuple[Row, ...]]:
    """Yield rows, or what they are made of, in the numbers that make good blocks for ``format_blocks``."""
    remaining = iter(rows)
    return iter(lambda: tuple(islice(remaining, ROWS_AT_A_TIME)), ())


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
    return format_blocks(columns, (tuple(zip(*few, strict=True)) for few in few_at_a_time(rows)))


def format_blocks(columns: Sequence[Column], blocks: Iterable[Sequence[Sequence[str]]]) -> Iterator[str]:
    """Do what ``format_columns`` does with rows that come a block at a time.

    To hold and to walk through all rows at once would cost more than to make them.

    Args:
        columns: of the table.
        blocks: each with the cells of some rows for every column.

    Raises:
        ValueError: a block of more or fewer columns, or a column of another length than the first.
    """
    by_column = [[column.heading] for column in columns]
    for block in blocks:
        for column, cells in zip(by_column, block, strict=True):
            column.extend(cells)
    prepared = [_prepared(cells, column.side) for cells, column in zip(by_column, columns, strict=True)]
    line = GAP.join(pattern for _, pattern in prepared)
    return ((line % cells).rstrip() for cells in zip(*(cells for cells, _ in prepared), strict=True))


def _prepared(cells: Sequence[str], side: Literal["left", "right"]) -> tuple[Sequence[str], str]:
    """Return the cells of a column, and the pattern that brings them to one width.

    Cells are mostly alike, and so are their letters: looking once at each that is different makes this fast.
    """
    distinct = set(cells)
    text = "".join(distinct)
    letters = set() if text.isascii() and text.isprintable() else set(text)
    if any(printable(letter) != letter for letter in letters):
        return _prepared([printable(cell) for cell in cells], side)
    if all(cell_len(letter) == 1 for letter in letters):
        return cells, f"%{'' if side == 'right' else '-'}{max(map(len, distinct))}s"
    widths = [cell_len(cell) for cell in cells]
    blanks = [" " * (max(widths) - width) for width in widths]
    joined = zip(cells, blanks, strict=True)
    return [blank + cell if side == "right" else cell + blank for cell, blank in joined], "%s"
