"""Scores of a run: as training went, as the ranking rule reads them, and by what was inherited."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import fmean

from markupsafe import Markup

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.wording import UNDEFINED, number
from spnas_core.pages import Dots, Line, Row, Segments, draw_chart, interval, paragraph, table
from spnas_search.archive import Candidate
from spnas_search.reports.closing import finalist_sentences, screen_sentences, sharing_sentences, unranked
from spnas_search.reports.page.view import RunView
from spnas_search.wording import merit_of, with_error

MOST_RANKED = 15
"""Candidates whose lead is shown with its error."""

MOST_DOTS = 2000
"""Curves that end in a point of their own: at one age more of them lie on one another."""

XY = tuple[float, float]


def curves(view: RunView) -> Iterator[Markup]:
    """Validation scores by age, along the line of inherited weights."""
    archive = view.archive
    trained = {one.id: _curve(view, one) for one in archive if one.status == "done" and one.split == "validation"}
    if not any(trained.values()):
        yield paragraph("Nothing is scored yet.", kind="note")
        return
    line = _weights_of(view, view.told)
    own = [point for one in line for point in trained.get(one.id, ())]
    reference = [
        point for one in _trained_on(view) for each in _weights_of(view, one) for point in trained.get(each.id, ())
    ]
    pairs: list[tuple[XY, XY]] = []
    for id_, points in trained.items():
        source = archive[id_].source
        before = trained.get(source, []) if source is not None else []
        whole = [*before[-1:], *points]
        pairs += pairwise(whole)
    told = f"blue: to {view.told.kind} {view.told.id}; " if view.told is not None else ""
    yield draw_chart(
        f"{archive.objective.name} by epochs of training",
        [
            Segments(pairs, "faint"),
            Dots(_ends(view, trained)),
            Line(reference, "reference"),
            Line(own, "strong"),
            Dots(
                [(*trained[one.id][-1], str(one.id) if one.is_node else "") for one in line if trained.get(one.id)],
                "strong",
            ),
        ],
        x="age, epochs in the line of the weights",
        y=f"{archive.objective.name} on validation images",
        caption="A line leads from the weights that were inherited to what was trained; "
        f"{told}{'dashed: the start, trained on.' if len(reference) > 1 else ''}".rstrip("; "),
    )
    if (spread := archive.spread()) is not None:
        yield paragraph(
            f"Scores that differ by their seed alone spread by {number(spread.deviation)} (standard deviation, "
            f"{spread.freedom} degrees of freedom)."
        )


def _trained_on(view: RunView) -> tuple[Candidate, ...]:
    """The last control of the start; none where there is none."""
    start = view.archive.start.id
    return tuple(one for one in view.archive.of_kind("control") if one.subject == start)[-1:]


def _ends(view: RunView, trained: Mapping[int, Sequence[XY]]) -> list[tuple[float, float, str]]:
    """Where each candidate's curve ends; none where there are too many to tell them apart."""
    ends = [(*points[-1], str(id_)) for id_, points in trained.items() if points and view.archive[id_].is_node]
    return ends if len(ends) <= MOST_DOTS else []


def merits(view: RunView) -> Iterator[Markup]:
    """The leads of the best with their errors, as the ranking rule has them."""
    archive = view.archive
    shown = [(one, place) for one in view.ranked[:MOST_RANKED] if (place := archive.place(one)) is not None]
    if not shown:
        yield paragraph("No candidate has a merit yet.", kind="note")
        return
    ends = [place.lead + sign * (place.error or 0.0) for _, place in shown for sign in (-1, 1)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    columns = (
        *numbers("id"),
        Column("architecture"),
        *numbers("lead"),
        Column("with its standard error"),
        *numbers("merit"),
    )
    rows = []
    for one, place in shown:
        lead = with_error(place.lead, place.error) + (" =" if place.is_tied else "")
        picture = interval(place.lead, place.error, low, high)
        cells = (str(one.id), str(one.architecture), lead, picture, number(merit_of(archive, one)))
        rows.append(Row(cells, str(one.id), one is archive.winner))
    rule = view.settings.get("ranking", "gains")
    yield paragraph(
        f"A lead is the quality above the start's that the rule {rule!r} reads from all scores; positive is better, "
        "and = marks what is as good as the best, as far as can be told."
    )
    yield table(columns, rows)
    said = (*finalist_sentences(archive), *screen_sentences(archive), *sharing_sentences(archive), unranked(archive))
    for text in said:
        if text:
            yield paragraph(text)


def inheritance(view: RunView) -> Iterator[Markup]:
    """What children have taken over, by the kind of rewrite."""
    kinds: dict[str, list[Candidate]] = defaultdict(list)
    for one in view.nodes:
        if one.rewrite.steps:
            kinds[" + ".join(dict.fromkeys(step.morphism for step in one.rewrite.steps))].append(one)
    if not kinds:
        yield paragraph("No child is proposed yet.", kind="note")
        return
    counted = numbers(
        "children", "failed", "inherited, mean", "least", "outputs changed, most", "lead over the parent, mean"
    )
    yield table((Column("rewrite"), *counted), [Row(_of_kind(view, name, kinds[name])) for name in sorted(kinds)])
    broken = [one for one in view.nodes if one.receipt.get("broken_promise")]
    for one in broken:
        yield paragraph(f"{one.kind} {one.id}: {one.receipt['broken_promise']}.")


def _of_kind(view: RunView, name: str, children: list[Candidate]) -> tuple[str, ...]:
    percents = [
        float(value) for one in children if isinstance(value := one.receipt.get("inherited_percent"), (int, float))
    ]
    changes = [value for one in children for value in _changes(one)]
    leads = [
        lead - before
        for one in children
        if (lead := view.archive.lead(one)) is not None and (before := _of_parent(view, one)) is not None
    ]
    return (
        name,
        str(len(children)),
        str(sum(one.status == "failed" for one in children) or ""),
        f"{fmean(percents):.1f} %" if percents else UNDEFINED,
        f"{min(percents):.1f} %" if percents else UNDEFINED,
        f"{100 * max(changes):.2g} %" if changes else UNDEFINED,
        number(fmean(leads), signed=True) if leads else UNDEFINED,
    )


def _of_parent(view: RunView, child: Candidate) -> float | None:
    return None if child.parent is None else view.archive.lead(view.archive[child.parent])


def _changes(one: Candidate) -> list[float]:
    found = one.receipt.get("output_change")
    return (
        [float(value) for value in found.values() if isinstance(value, (int, float))]
        if isinstance(found, Mapping)
        else []
    )


def _weights_of(view: RunView, one: Candidate | None) -> list[Candidate]:
    """A candidate and those whose weights have led to its own, the first one first."""
    line: list[Candidate] = []
    while one is not None:
        line.append(one)
        one = None if one.source is None else view.archive[one.source]
    return line[::-1]


def _curve(view: RunView, one: Candidate) -> list[XY]:
    """Age and score of an evaluation: in its middle where it was scored there, and in its end."""
    name = view.archive.objective.name
    partial = one.receipt.get("partial_scores")
    points: list[XY] = []
    for epoch, metrics in partial.items() if isinstance(partial, Mapping) else ():
        value = metrics.get(name) if isinstance(metrics, Mapping) else None
        if isinstance(value, (int, float)) and str(epoch).isdecimal():
            points.append((one.age - one.epochs + int(epoch), float(value)))
    points.append((one.age, float(one.metrics.get(name, math.nan))))
    return sorted(point for point in points if math.isfinite(point[1]))
