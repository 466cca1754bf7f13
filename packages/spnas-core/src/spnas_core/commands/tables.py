"""Framed tables of a few rows, all made alike."""

from collections.abc import Iterable

from rich.table import Table

from spnas_core.commands.columns import Column


def make_table(columns: Iterable[Column], *, title: str | None = None, framed: bool = True) -> Table:
    """Return a table without rows; a cell that is too wide for the terminal is folded, never cut off.

    Args:
        columns: of the table.
        title: above it.
        framed: whether lines are drawn around it.
    """
    table = Table(title=title, title_justify="left", header_style="bold")
    if not framed:
        table.box = None
    for column in columns:
        table.add_column(column.heading, justify=column.side, overflow="fold")
    return table
