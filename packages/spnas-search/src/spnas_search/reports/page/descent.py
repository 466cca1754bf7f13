"""Where the candidates of a run come from, and what the best of them look like."""

import math
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.wording import UNDEFINED, number
from spnas_core.drawing import draw_network
from spnas_core.pages import Dots, Line, Row, Segments, draw_chart, drawing, paragraph, side_by_side, table
from spnas_search.archive import Candidate
from spnas_search.reports.page.view import RunView
from spnas_search.wording import LEAD, merit_of, origin, with_error

MOST_DRAWN = 4
"""Networks that are drawn: the start, and the best."""


def networks(view: RunView) -> Iterator[Markup]:
    """The start and the best, drawn."""
    chosen: dict[str, Candidate] = {}
    first = [one for one in (view.chosen, view.archive.winner) if one is not None]
    for one in (*first, *view.ranked):
        if len(chosen) < MOST_DRAWN - 1 and one.kind != "start":
            chosen.setdefault(str(one.architecture), one)
    figures = []
    for one in (*chosen.values(), view.archive.start):
        merit = number(merit_of(view.archive, one))
        name = "winner" if one is view.archive.winner else one.kind
        text = f"{name} {one.id}: merit {merit}" if one.kind != "start" else f"start: merit {merit}"
        figures.append(drawing(draw_network(one.architecture, view.image_size), text))
    yield side_by_side(*figures)


def descent(view: RunView) -> Iterator[Markup]:
    """The tree of descent by merit, and the line that leads to the winner."""
    archive, told = view.archive, view.told
    merits = {one.id: merit for one in view.nodes if (merit := merit_of(archive, one)) is not None}
    line = [one for one in archive.lineage(told) if one.is_node] if told is not None else []
    if len(merits) > 1:
        pairs = [
            ((one.parent, merits[one.parent]), (one.id, merits[one.id]))
            for one in view.nodes
            if one.id in merits and one.parent is not None and one.parent in merits
        ]
        own = [(one.id, merits.get(one.id, math.nan)) for one in line]
        numbers_of_line = {one.id for one in line}
        better = "" if archive.objective.higher_is_better else ", lower is better"
        yield draw_chart(
            f"descent of {len(merits)} candidates by merit",
            [
                Segments([((float(a), b), (float(c), d)) for (a, b), (c, d) in pairs], "faint"),
                Dots([(float(id_), merit, str(id_)) for id_, merit in merits.items() if id_ not in numbers_of_line]),
                Line([(float(id_), merit) for id_, merit in own], "strong"),
                Dots([(float(id_), merit, str(id_)) for id_, merit in own], "strong"),
            ],
            x="candidate, in order of proposal",
            y=f"merit ({archive.objective.name}{better})",
            caption=f"A line leads from each parent to its child; blue leads to {told.kind} {told.id}." if told else "",
        )
    if told is not None:
        yield table(_columns(view), [Row(_cells(view, line, place), str(one.id)) for place, one in enumerate(line)])
    else:
        yield paragraph("No candidate has a merit yet.", kind="note")


def _columns(view: RunView) -> tuple[Column, ...]:
    name = view.archive.objective.name
    return (
        *(*numbers("id"), Column("how it came about"), Column("architecture")),
        *numbers("inherited", "outputs changed by", "age", name, "merit", LEAD),
    )


def _cells(view: RunView, line: Sequence[Candidate], place: int) -> tuple[str, ...]:
    one, archive = line[place], view.archive
    known = archive.place(one)
    percent = one.receipt.get("inherited_percent")
    return (
        str(one.id),
        origin(one) if one.rewrite.steps else one.kind,
        str(one.architecture),
        f"{percent:.1f} %" if isinstance(percent, (int, float)) else "",
        change_of(one),
        str(one.age),
        number(one.metrics.get(archive.objective.name)),
        number(merit_of(archive, one)),
        UNDEFINED if known is None else with_error(known.lead, known.error),
    )


def change_of(one: Candidate) -> str:
    """Say by how much a child's outputs differed from its parent's before training, on the level that differs most."""
    found = one.receipt.get("output_change")
    changes = [value for value in found.values() if isinstance(value, (int, float))] if isinstance(found, dict) else []
    return f"{100 * max(changes):.2g} %" if changes else ""
