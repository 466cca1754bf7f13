"""Framed tables of a few rows, all made alike."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table

from spnas_core.commands.columns import Column

MOST_TURNED = 4
"""Rows that can stand beside one another on a narrow terminal."""

TOO_NARROW = 0.5
"""Share of a table's width below which no folding helps: its rows are listed, a line per cell."""


class TurningTable(Table):
    """A table whose rows become columns, or a list, where the terminal is too narrow for it.

    They become columns where they are few. On less than half of the width that is needed, they are listed.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield what is drawn."""
        return Table.__rich_console__(self._fitting(console, options), console, options)

    def _fitting(self, console: Console, options: ConsoleOptions) -> Table:
        """Return the form in which the most can be read."""
        unbound, room = options.update(max_width=2**16), options.max_width
        turned = self._turned() if 0 < self.row_count <= MOST_TURNED else self
        width, other = (Measurement.get(console, unbound, table).maximum for table in (self, turned))
        if width <= room or not self.row_count:
            return self
        if room < min(other, TOO_NARROW * width):
            return self._listed()
        return turned if other < width else self

    def _listed(self) -> Table:
        """Return the same with a line per cell that is not empty, and a line between one row and the next."""
        listed = Table(title=self.title, title_justify="left", show_header=False, box=None)
        listed.add_column()
        listed.add_column(overflow="fold")
        headings = [column.header for column in self.columns]
        for place, row in enumerate(zip(*(column.cells for column in self.columns), strict=True)):
            if place:
                listed.add_row("", "")
            first, *others = zip(headings, row, strict=True)
            listed.add_row(*first, style="bold")
            for heading, cell in others:
                if cell:
                    listed.add_row(heading, cell)
        return listed

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
        turns: whether its rows become columns, or a list, where it is too wide for the terminal; each begins with what
            it is of.
    """
    table = (TurningTable if turns else Table)(title=title, title_justify="left", header_style="bold")
    if not framed:
        table.box = None
    for column in columns:
        table.add_column(column.heading, justify=column.side, overflow="fold")
    return table
