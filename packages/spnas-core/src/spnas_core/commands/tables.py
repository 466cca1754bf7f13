"""Framed tables of a few rows, all made alike."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table

from spnas_core.commands.columns import Column

MOST_TURNED = 4
"""Rows that can stand beside one another on a narrow terminal."""


class TurningTable(Table):
    """A table of few rows that become columns where the terminal is too narrow for it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield what is drawn."""
        drawn: Table = self
        if 0 < self.row_count <= MOST_TURNED:
            turned = self._turned()
            unbound = options.update(max_width=2**16)
            width, other = (Measurement.get(console, unbound, table).maximum for table in (self, turned))
            if other < width > options.max_width:
                drawn = turned
        return Table.__rich_console__(drawn, console, options)

    def _turned(self) -> Table:
        """Return the same with a column per row: the first cells are the headings."""
        first, *others = ([column.header, *column.cells] for column in self.columns)
        turned = Table(title=self.title, title_justify="left", header_style="bold", box=self.box)
        for place, heading in enumerate(first):
            turned.add_column(heading, style="" if place else "bold", overflow="fold")
        for row in others:
            turned.add_row(*row)
        return turned


def make_table(
    columns: Iterable[Column], *, title: str | None = None, framed: bool = True, turns: bool = False
) -> Table:
    """Return a table without rows; a cell that is too wide for the terminal is folded, never cut off.

    Args:
        columns: of the table.
        title: above it.
        framed: whether lines are drawn around it.
        turns: whether its rows become columns where it is too wide for the terminal and they are few; each begins with
            what it is of.
    """
    table = (TurningTable if turns else Table)(title=title, title_justify="left", header_style="bold")
    if not framed:
        table.box = None
    for column in columns:
        table.add_column(column.heading, justify=column.side, overflow="fold")
    return table
