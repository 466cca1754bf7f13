"""Tables of a verdict: what was trained alike, side by side."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from rich.table import Table

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.tables import make_table
from spnas_core.commands.wording import UNDEFINED, amount, counted, number
from spnas_search.archive import Candidate
from spnas_search.driver.verdict import Column as Trained
from spnas_search.driver.verdict import Verdict
from spnas_search.statistics import Interval


@dataclass(frozen=True)
class Trainings:
    """What was trained alike, as a table.

    Attributes:
        title: how, and what it was tested on.
        columns: of the table.
        rows: a cell per column each.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


def verdict_tables(verdict: Verdict, objective: str, phases: Sequence[str] = ("winner",)) -> Iterator[Table]:
    """Winner beside start, and what stands between, trained and tested alike: a table per way of training.

    Args:
        verdict: of the search.
        objective: its metric.
        phases: names of the search's strategies.
    """
    for trained in verdict_rows(verdict, objective, phases):
        table = make_table(trained.columns, title=trained.title, turns=True)
        for row in trained.rows:
            table.add_row(*row)
        yield table


def verdict_rows(verdict: Verdict, objective: str, phases: Sequence[str] = ("winner",)) -> Iterator[Trainings]:
    """The same, wherever it is shown; see ``verdict_tables``."""
    for column in verdict.columns:
        yield _trainings(verdict, column, objective, phases)


def _trainings(verdict: Verdict, column: Trained, objective: str, phases: Sequence[str]) -> Trainings:
    counts = sorted({len(column.start), len(column.winner)})
    often = f"{counts[0]} times" if len(counts) == 1 else f"{counts[0]} and {counts[1]} times"
    how = "trained from scratch" if not column.paired else "trained on from fresh warm starts"
    found = [*((side.candidate, side.scores) for side in column.between), (verdict.winner, column.winner)]
    found.sort(key=lambda row: (row[0].strategy, row[0].kind))
    rows = [("start", verdict.start, column.start)]
    rows += [(_milestone(verdict, candidate, phases), candidate, scores) for candidate, scores in found]
    names = "Winner and start" if not column.between else "What the search has found, step by step"
    shown = numbers(objective, "gain", "95 % interval", "per training", "mult-adds", "params")
    cells = []
    for name, candidate, scores in rows:
        gain = column.gain_of(scores) if candidate is not verdict.start else None
        row = (
            name,
            str(candidate.architecture),
            number(fmean(filter(math.isfinite, scores))),
            "" if gain is None else number(gain.mean, signed=True),
            "" if gain is None or not gain.is_known else interval_of(gain),
            " ".join(map(number, scores)),
            amount(candidate.cost.get("multiply_adds")) + _ratio(candidate, verdict.start),
            amount(candidate.cost.get("parameters")),
        )
        cells.append(row)
    title = f"{names}, {how} for {counted(column.epochs, 'epoch')}, {often}, on {verdict.tested_on}"
    return Trainings(title, (Column(""), Column("architecture"), *shown), tuple(cells))


def _milestone(verdict: Verdict, candidate: Candidate, phases: Sequence[str]) -> str:
    name = "reignited" if candidate.kind == "reignition" else _phase(candidate.strategy, phases)
    if candidate.id != verdict.winner.id:
        return name
    return "winner" if len(phases) == 1 and candidate.kind == "child" else f"{name} (winner)"


def _phase(strategy: int, phases: Sequence[str]) -> str:
    """Name a strategy, by its number where a plugin's own consists of several that the settings do not name."""
    return phases[strategy] if 0 <= strategy < len(phases) else f"strategy {strategy}"


def _ratio(candidate: Candidate, start: Candidate) -> str:
    if candidate is start or not start.cost.get("multiply_adds"):
        return ""
    return f" ({candidate.cost.get('multiply_adds', 0) / start.cost['multiply_adds']:.2f}x)"


def interval_of(gain: Interval) -> str:
    """Show an interval."""
    return f"{number(gain.low, signed=True)} … {number(gain.high, signed=True)}"


def cost_ratio(verdict: Verdict) -> str:
    """Say how many times the start's multiply-adds the winner takes."""
    winner, start = (side.cost.get("multiply_adds", 0) for side in (verdict.winner, verdict.start))
    ratio = number(winner / start) if start else UNDEFINED
    return ratio if ratio == UNDEFINED else f"{winner / start:.2f}x"
