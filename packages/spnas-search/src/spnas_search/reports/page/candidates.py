"""Candidates of a run: the Pareto front, and the list."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from markupsafe import Markup

from spnas_core.commands.wording import amount, number, quoted
from spnas_core.pages import Dots, Line, Row, draw_chart, paragraph, table
from spnas_core.pages.charts import Mark
from spnas_search.archive import Candidate
from spnas_search.reports.page.view import RunView
from spnas_search.reports.tables import candidate_cells, candidate_columns, pareto_cells, pareto_columns
from spnas_search.wording import merit_of

MOST_LISTED = 400
"""Candidates in the list; of more the best, since a browser takes long over a table of ten thousand rows."""


def front(view: RunView) -> Iterator[Markup]:
    """Merit against what is weighed, each candidate a point, and what no other beats."""
    archive = view.archive
    if not view.ranked:
        yield paragraph("No candidate has a merit yet.", kind="note")
        return
    weighed = archive.tradeoffs[0]
    points = {one.id: (_weighed(view, one), _merit(view, one), str(one.id)) for one in view.ranked}
    on_front = [points[one.id] for one in archive.pareto()]
    ends = [one for one in (archive.start, archive.winner) if one is not None and one.id in points]
    marks: list[Mark] = [
        Dots([point for number_, point in points.items() if number_ not in view.front], "plain"),
        Line(_steps([(x, y) for x, y, _ in on_front]) if len(archive.tradeoffs) == 1 else (), "strong"),
        Dots(on_front, "strong"),
        *(Dots([points[one.id]], "start" if one.kind == "start" else "winner") for one in ends),
    ]
    better = "" if archive.objective.higher_is_better else ", lower is better"
    name = weighed.name.replace("_", "-")
    yield draw_chart(
        f"merit against {name} of {len(points)} candidates",
        marks,
        x=name,
        y=f"merit ({archive.objective.name}{better})",
        x_text=_text_of(view),
        y_text=_short,
        caption="Blue: no other is better in one and no worse in the other. Ringed: the winner"
        + ("; hollow: the start." if any(one is archive.start for one in ends) else "."),
    )
    rows = [Row(pareto_cells(archive, one), str(one.id), one is archive.winner) for one in archive.pareto()]
    yield table(pareto_columns(archive), rows)
    yield paragraph("= marks what is as good as the best, as far as can be told.", kind="note")


def listing(view: RunView) -> Iterator[Markup]:
    """Every start, child and reignition, the best first; after them what may not win, or has no merit."""
    archive = view.archive
    ranked = {one.id for one in view.ranked}
    ordered = [*view.ranked, *(one for one in view.nodes if one.id not in ranked)]
    shown = ordered[:MOST_LISTED]
    more = len(ordered) - len(shown)
    if more:
        yield paragraph(
            f"The best {len(shown)} of {len(ordered)}; spnas candidates {quoted(view.folder)} lists all.",
            kind="note",
        )
    rows = [Row(candidate_cells(archive, one), str(one.id), one is archive.winner) for one in shown]
    yield table(candidate_columns(archive), rows)
    others = len(archive) - len(view.nodes)
    if others:
        yield paragraph(f"{others} further evaluations are controls, replicates and those of the verdict.", kind="note")


def _steps(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """What the front has to offer at each cost: as much as its last point before."""
    corners = [(after[0], before[1]) for before, after in pairwise(points)]
    return [point for pair in zip(points, [*corners, None], strict=True) for point in pair if point is not None]


def _merit(view: RunView, one: Candidate) -> float:
    merit = merit_of(view.archive, one)
    return math.nan if merit is None else merit


def _weighed(view: RunView, one: Candidate) -> float:
    tradeoff = view.archive.tradeoffs[0]
    value = view.archive.weighed(one, tradeoff.name)
    if value is None:
        return math.nan
    return -value if tradeoff.is_metric and tradeoff.higher_is_better else value


def _text_of(view: RunView) -> Callable[[float], str]:
    return number if view.archive.tradeoffs[0].is_metric else amount


def _short(value: float) -> str:
    """A score on an axis: without zeros that say nothing."""
    return f"{value:.3f}".rstrip("0").rstrip(".")
