"""The parts of a page. Texts are escaped here, and nowhere else has anybody to think of it.

What is ``Markup`` is safe, and only these functions, the charts and the drawings make some.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from spnas_core.commands.columns import Column
from spnas_core.commands.wording import printable
from spnas_core.drawing.svg import Drawing

Text = str | Markup
"""A text, which is escaped, or a part that is safe already."""


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        cells: one per column.
        key: of the point of a report that it is about; empty for none.
        is_marked: whether it stands out.
    """

    cells: Sequence[Text]
    key: str = ""
    is_marked: bool = False


def shown(text: Text) -> Markup:
    """Escape a text; invisible letters and control characters, such as marks of direction, become visible."""
    return text if isinstance(text, Markup) else escape(printable(text))


def paragraph(*texts: Text, kind: str = "") -> Markup:
    """Return a paragraph of several texts.

    Args:
        texts: one after the other.
        kind: ``note`` for what is less important; empty otherwise.
    """
    return Markup('<p class="{}">{}</p>').format(kind, Markup(" ").join(map(shown, texts)))


def command(*lines: str) -> Markup:
    """Return what is to be typed, as it is, a line each."""
    return Markup("<pre><code>{}</code></pre>").format(Markup("\n").join(map(shown, lines)))


def details(summary: Text, *body: Markup) -> Markup:
    """Return parts that are folded away below a line."""
    return Markup("<details><summary>{}</summary>{}</details>").format(shown(summary), Markup("").join(body))


def facts(pairs: Iterable[tuple[Text, Text]]) -> Markup:
    """Return names with values, side by side."""
    shown_pairs = (
        Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(shown(name), shown(value)) for name, value in pairs
    )
    return Markup('<dl class="facts">{}</dl>').format(Markup("").join(shown_pairs))


def table(columns: Sequence[Column], rows: Iterable[Row], *, named_by: int = 0) -> Markup:
    """Return a table, which scrolls by itself where it is wider than the page.

    Args:
        columns: of the table.
        rows: of the table.
        named_by: the column whose cells say what their row is of, for those who hear it.

    Raises:
        ValueError: a row with more or fewer cells than there are columns.
    """
    sides = ["n" if column.side == "right" else "" for column in columns]
    heads = [
        Markup('<th scope="col" class="{}">{}</th>').format(side, shown(column.heading))
        for side, column in zip(sides, columns, strict=True)
    ]
    body = [_row(row, sides, named_by) for row in rows]
    frame = Markup('<div class="wide"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>')
    return frame.format(Markup("").join(heads), Markup("\n").join(body))


def _row(row: Row, sides: Sequence[str], named_by: int) -> Markup:
    cells = [
        _cell(shown(cell), side, names=place == named_by)
        for place, (side, cell) in enumerate(zip(sides, row.cells, strict=True))
    ]
    key = Markup(' data-key="{}"').format(row.key) if row.key else Markup("")
    marked = Markup(' class="marked"') if row.is_marked else Markup("")
    return Markup("<tr{}{}>{}</tr>").format(key, marked, Markup("").join(cells))


def _cell(content: Markup, side: str, *, names: bool) -> Markup:
    kind = Markup(' class="{}"').format(side) if side else Markup("")
    if names:
        return Markup('<th scope="row"{}>{}</th>').format(kind, content)
    return Markup("<td{}>{}</td>").format(kind, content)


def drawing(svg: str, caption: Text = "") -> Markup:
    """Return a drawing of ``spnas_core.drawing`` with what it shows.

    Args:
        svg: made by ``draw_network`` or a ``Drawing``, which have escaped what must be: it is taken as it is.
        caption: below it; empty for none.
    """
    below = Markup("<figcaption>{}</figcaption>").format(shown(caption)) if caption else Markup("")
    return Markup('<figure><div class="wide">{}</div>{}</figure>').format(Markup(svg), below)  # noqa: S704


def side_by_side(*parts: Markup) -> Markup:
    """Return parts beside one another, as far as the page is wide."""
    return Markup('<div class="tiles">{}</div>').format(Markup("").join(parts))


def bar(share: float) -> Markup:
    """Return a bar as long as a share in 0…1, for the cell of a table."""
    picture = Drawing(120, 12, f"{share:.0%}", class_="bar")
    picture.rectangle(0, 2, 120.0 * min(max(share, 0.0), 1.0), 8)
    return Markup(picture.text())  # noqa: S704 - made by the XML writer


def interval(value: float, half: float | None, low: float, high: float) -> Markup:
    """Return a dot with its error to both sides and a line at zero, for the cell of a table.

    Args:
        value: where the dot is.
        half: the error; None for none.
        low: at the left end of the cell.
        high: at the right end.
    """
    width, around = 220.0, 6.0
    scale = (width - 2 * around) / (high - low) if high > low else 0.0

    def place(number: float) -> float:
        return around + scale * (min(max(number, low), high) - low)

    picture = Drawing(width, 16, f"{value:+.3f}" + ("" if half is None else f" ± {half:.3f}"), class_="interval")
    if low <= 0 <= high:
        picture.line([(place(0), 0.0), (place(0), 16.0)], class_="zero")
    if half is not None:
        picture.line([(place(value - half), 8.0), (place(value + half), 8.0)], class_="error")
    picture.add("circle", cx=place(value), cy=8, r=3.5)
    return Markup(picture.text())  # noqa: S704 - made by the XML writer
