"""What the pages and plots of studies share: tables in Markdown, figures that are written durably."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType

from spnas_core.commands.columns import Column
from spnas_core.commands.tables import make_table
from spnas_core.durable import whole_file
from spnas_search.studies.trainings import Training

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Table = tuple[str, Sequence[Column], Sequence[Sequence[str]]]
"""Title, columns and rows."""


def printed(tables: Iterable[Table], sentences: Iterable[str]) -> Iterator[RenderableType]:
    """Yield what a console shows of a study."""
    for title, columns, rows in tables:
        table = make_table(columns, title=title, turns=True)
        for row in rows:
            table.add_row(*row)
        yield table
    yield from sentences


def markdown_page(title: str, sentences: Iterable[str], plot: str, caption: str, tables: Iterable[Table]) -> str:
    """Return the same as a page of Markdown.

    Args:
        title: of the page.
        sentences: that stand in front.
        plot: name of the image that belongs to the page.
        caption: what it shows.
        tables: behind it.
    """
    lines = [f"# {escaped(title)}", ""]
    for sentence in sentences:
        lines += [escaped(sentence), ""]
    lines += [f"![{caption}]({plot})", ""]
    for table in tables:
        lines += markdown_table(table)
    return "\n".join(lines)


def markdown_table(table: Table) -> Iterator[str]:
    """Yield the lines of a table, its title in front."""
    title, columns, rows = table
    yield from (f"**{title}**", "")
    yield _row([column.heading for column in columns])
    yield _row(["--:" if column.side == "right" else ":--" for column in columns])
    yield from map(_row, rows)
    yield ""


_MARKUP = re.compile(r"[\\`*\[\]<>|~&#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def escaped(text: str) -> str:
    """Escape what Markdown, and a table of it, would obey; an underscore inside of a word is none of that."""
    return _MARKUP.sub(r"\\\g<0>", text)


def failures(failed: Sequence[Training]) -> str:
    """Say how many trainings failed, one or more, and why the first did."""
    first = failed[0]
    return f"Trainings that failed and count nowhere: {len(failed)}; the first is {first.key}: {first.reason}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"


def make_figure(width: float, height: float) -> "Figure":
    """Make a figure that no window shows.

    Args:
        width: in inches.
        height: in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG, durably: the file is complete or as it was."""
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
