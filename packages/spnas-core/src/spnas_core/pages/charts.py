"""Charts as SVG in the page: readable without a script, which adds what is shown of a point, and the filter."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from markupsafe import Markup

from spnas_core.drawing.svg import Drawing, plain
from spnas_core.pages.parts import Text, shown
from spnas_core.pages.scales import Scale, marks, scale_of

WIDTH, HEIGHT = 820.0, 440.0
LEFT, RIGHT, TOP, BOTTOM = 82.0, 16.0, 34.0, 58.0
"""Room around the plot, in pixels: as much as the larger letters take that a narrow page gives it."""

NOTES, APART = 170.0, 28.0
"""Room for notes to the right, in place of ``RIGHT``, and from one to the next: a line of a narrow page's letters."""

Style = Literal["plain", "strong", "start", "winner", "faint", "reference"]
"""How a mark looks: ``plain`` for the many, ``strong`` for the few that matter, ``start`` and ``winner`` for the two
ends of a search, ``faint`` for what is in the background, ``reference`` for what others are measured by."""

XY = tuple[float, float]


@dataclass(frozen=True)
class Dots:
    """Points, each with the key of the report's points that it stands for; empty for none."""

    points: Sequence[tuple[float, float, str]]
    style: Style = "plain"


@dataclass(frozen=True)
class Line:
    """A line through points; a dot where there is one."""

    points: Sequence[XY]
    style: Style = "strong"


@dataclass(frozen=True)
class Segments:
    """Many separate lines from a point to another, as one element."""

    pairs: Sequence[tuple[XY, XY]]
    style: Style = "faint"


@dataclass(frozen=True)
class Note:
    """A word beside the plot, for the line that ends at a point; words that would touch are moved apart."""

    at: XY
    text: str


Mark = Dots | Line | Segments | Note


def draw_chart(
    label: str,
    marks_: Iterable[Mark],
    *,
    x: str,
    y: str,
    x_text: Callable[[float], str] = "{:g}".format,
    y_text: Callable[[float], str] = "{:g}".format,
    caption: Text = "",
) -> Markup:
    """Draw marks over two axes, the later ones on top; what is not finite is left out.

    A horizontal axis of whole numbers, such as steps, has its marks at whole numbers.

    Args:
        label: what the chart shows, for those who do not see it.
        marks_: to draw.
        x: title of the horizontal axis.
        y: title of the vertical axis.
        x_text: how a number of the horizontal axis is written.
        y_text: how a number of the vertical axis is written.
        caption: below the chart.
    """
    drawn = [_finite(mark) for mark in marks_]
    corners = list(chain.from_iterable(map(_corners, drawn)))
    notes = [mark for mark in drawn if isinstance(mark, Note)]
    right = WIDTH - (NOTES if notes else RIGHT)
    across = scale_of([one for one, _ in corners], LEFT, right)
    up = scale_of([other for _, other in corners], HEIGHT - BOTTOM, TOP)
    figure = Drawing(WIDTH, HEIGHT, label, class_="chart")
    is_whole = all(float(one).is_integer() for one, _ in corners)
    _axes(figure, across, up, x_text, y_text, marks(across.low, across.high, 8, whole=is_whole))
    figure.write(right, HEIGHT - 6, x, class_="title", text_anchor="end")
    figure.write(0, TOP - 12, y, class_="title")
    for mark in drawn:
        _draw(figure, mark, across, up)
    for place, note in _apart([(up(note.at[1]), note) for note in notes]):
        figure.write(right + 8, place + 4, note.text, class_="note")
    below = Markup("<figcaption>{}</figcaption>").format(shown(caption)) if caption else Markup("")
    return Markup("<figure>{}{}</figure>").format(Markup(figure.text()), below)  # noqa: S704 - made by the XML writer


def _axes(
    figure: Drawing,
    across: Scale,
    up: Scale,
    x_text: Callable[[float], str],
    y_text: Callable[[float], str],
    along: Sequence[float],
) -> None:
    for place, number in enumerate(marks(up.low, up.high)):
        figure.line([(LEFT, up(number)), (across.end, up(number))], class_="grid")
        figure.write(LEFT - 8, up(number) + 4, y_text(number), class_=_tick(place), text_anchor="end")
    for place, number in enumerate(along):
        figure.write(across(number), HEIGHT - BOTTOM + 24, x_text(number), class_=_tick(place), text_anchor="middle")
    figure.line([(LEFT, HEIGHT - BOTTOM), (across.end, HEIGHT - BOTTOM)], class_="axis")


def _tick(place: int) -> str:
    """On a narrow page every second one is shown."""
    return "tick odd" if place % 2 else "tick"


def _draw(figure: Drawing, mark: Mark, across: Scale, up: Scale) -> None:
    if isinstance(mark, Dots):
        figure.begin(class_=mark.style)
        for x, y, key in mark.points:
            keyed = {"data_key": key} if key else {}
            figure.add("circle", cx=across(x), cy=up(y), r=3, **keyed)
        figure.end()
    elif isinstance(mark, Line) and len(mark.points) == 1:
        _draw(figure, Dots([(*mark.points[0], "")], mark.style), across, up)
    elif isinstance(mark, Line) and mark.points:
        figure.line([(across(x), up(y)) for x, y in mark.points], class_=mark.style)
    elif isinstance(mark, Segments):
        parts = [
            f"M{plain(across(a))} {plain(up(b))}L{plain(across(c))} {plain(up(d))}" for (a, b), (c, d) in mark.pairs
        ]
        figure.add("path", d="".join(parts), fill="none", class_=mark.style)


def _apart(notes: Sequence[tuple[float, Note]]) -> list[tuple[float, Note]]:
    """Move notes down where they would touch the one above, and up again from below the axis."""
    moved: list[tuple[float, Note]] = []
    for place, note in sorted(notes, key=lambda one: one[0]):
        moved.append((max(place, moved[-1][0] + APART) if moved else place, note))
    lowest = HEIGHT - BOTTOM
    for at in range(len(moved) - 1, -1, -1):
        moved[at] = (min(moved[at][0], lowest), moved[at][1])
        lowest = moved[at][0] - APART
    return moved


def _finite(mark: Mark) -> Mark:
    if isinstance(mark, Dots):
        return Dots([one for one in mark.points if _is_finite(one[:2])], mark.style)
    if isinstance(mark, Line):
        return Line([one for one in mark.points if _is_finite(one)], mark.style)
    if isinstance(mark, Segments):
        return Segments([pair for pair in mark.pairs if _is_finite(pair[0] + pair[1])], mark.style)
    return mark


def _is_finite(numbers: Sequence[float]) -> bool:
    return all(map(math.isfinite, numbers))


def _corners(mark: Mark) -> Iterable[XY]:
    if isinstance(mark, Dots):
        return ((x, y) for x, y, _ in mark.points)
    if isinstance(mark, Line):
        return mark.points
    return chain.from_iterable(mark.pairs) if isinstance(mark, Segments) else ()
