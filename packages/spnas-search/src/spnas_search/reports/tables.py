"""Tables of candidates."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from statistics import fmean

from rich.table import Table

from spnas_core.commands.columns import Column, format_columns, numbers
from spnas_core.commands.tables import make_table
from spnas_core.commands.wording import UNDEFINED
from spnas_search.archive import Archive, Candidate, Tradeoff
from spnas_search.monitors.wording import amount, duration, merit_of, number, origin, with_error
from spnas_search.search.verdict import Column as Trained
from spnas_search.search.verdict import Verdict
from spnas_search.statistics import Interval


def candidate_lines(archive: Archive, candidates: Iterable[Candidate]) -> Iterator[str]:
    """Yield headings, and a line per candidate: where it comes from, what it inherited, what it scored, what it costs.

    Leads, with their standard errors, are improvements over the start, so positive is better whatever the objective is;
    merits are in its own direction. ``=`` marks what is as good as the best as far as can be told.
    """
    columns = (
        *(*numbers("id"), Column("kind"), *numbers("parent"), Column("architecture"), Column("morphisms")),
        *numbers("inherited", archive.objective.name, "gain", "lead", "merit", "mult-adds", "params", "age", "time"),
        Column("status"),
    )
    return format_columns(columns, (_cells(archive, candidate) for candidate in candidates))


def split_lines(archive: Archive, candidates: Iterable[Candidate]) -> Iterator[str]:
    """Say of candidates what they were tested on, where that are no images of their own."""
    tested = Counter(candidate.kind for candidate in candidates if candidate.split == "test")
    if tested and archive.test_images != Archive.OWN_TEST_IMAGES:
        yield f"Scores of {' and '.join(tested)} are of the {archive.test_images}."


def _cells(archive: Archive, candidate: Candidate) -> tuple[str, ...]:
    percent = candidate.receipt.get("inherited_percent")
    return (
        str(candidate.id),
        candidate.kind,
        "" if candidate.parent is None else str(candidate.parent),
        str(candidate.architecture),
        origin(candidate) if candidate.rewrite.steps else "",
        f"{percent:.1f} %" if isinstance(percent, float) else "",
        number(candidate.metrics.get(archive.objective.name)),
        number(archive.gain(candidate), signed=True),
        lead_of(archive, candidate),
        number(merit_of(archive, candidate)),
        amount(candidate.cost.get("multiply_adds")),
        amount(candidate.cost.get("parameters")),
        str(candidate.age),
        duration(candidate.seconds),
        f"{candidate.status}: {candidate.reason}" if candidate.reason else candidate.status,
    )


def lead_of(archive: Archive, candidate: Candidate) -> str:
    """Show a lead with its standard error, and ``=`` where the candidate and the best are tied."""
    lead = archive.lead(candidate)
    if lead is None:
        return number(None)
    return with_error(lead, archive.lead_error(candidate)) + (" =" if archive.tied(candidate) else "")


def candidate_json(archive: Archive, candidate: Candidate) -> dict[str, object]:
    """Return everything that the archive knows of a candidate, for ``to_json``.

    The merit is in the objective's own direction; gain and lead are improvements, so positive is better whatever that
    is.
    """
    return {
        "id": candidate.id,
        "round": candidate.round,
        "phase": candidate.phase,
        "kind": candidate.kind,
        "subject": candidate.subject,
        "parent": candidate.parent,
        "source": candidate.source,
        "architecture": str(candidate.architecture),
        "morphisms": [{"name": step.morphism, "detail": step.detail} for step in candidate.rewrite.steps],
        "block_map": candidate.rewrite.block_map,
        "receipt": candidate.receipt,
        "metrics": candidate.metrics,
        "gain": archive.gain(candidate),
        "lead": archive.lead(candidate),
        "lead_error": archive.lead_error(candidate),
        "tied": archive.tied(candidate),
        "merit": merit_of(archive, candidate),
        "cost": candidate.cost,
        "split": candidate.split,
        "scored_on": archive.test_images if candidate.split == "test" else "validation images",
        "epochs": candidate.epochs,
        "image_size": candidate.fidelity.image_size,
        "share": candidate.fidelity.share,
        "rung": candidate.fidelity.rung,
        "preference": candidate.preference,
        "strategy": candidate.strategy,
        "pretraining": None if candidate.pretraining is None else asdict(candidate.pretraining),
        "age": candidate.age,
        "seed": candidate.seed,
        "seconds": candidate.seconds,
        "status": candidate.status,
        "reason": candidate.reason,
    }


def pareto_table(archive: Archive) -> Table:
    """The candidates that no other beats in merit and what is weighed against it, cheapest first."""
    others = [one for one in archive.tradeoffs if one.name not in {"multiply_adds", "parameters"}]
    shown = numbers("merit", "lead", "mult-adds", "params", *(one.name for one in others))
    columns = *numbers("id"), Column("architecture"), *shown
    weighed = ", ".join(one.name.replace("_", "-") for one in archive.tradeoffs)
    table = make_table(columns, title=f"Pareto front: merit against {weighed}")
    for candidate in archive.pareto():
        table.add_row(
            str(candidate.id),
            str(candidate.architecture),
            number(merit_of(archive, candidate)),
            lead_of(archive, candidate),
            amount(candidate.cost.get("multiply_adds")),
            amount(candidate.cost.get("parameters")),
            *(_weighed(archive, candidate, one) for one in others),
        )
    return table


def _weighed(archive: Archive, candidate: Candidate, tradeoff: Tradeoff) -> str:
    """Show what is weighed, in its own direction: of a metric its merit, of a cost the cost."""
    value = archive.weighed(candidate, tradeoff.name)
    if value is None or not tradeoff.is_metric:
        return amount(value)
    return number(-value if tradeoff.higher_is_better else value)


def verdict_tables(verdict: Verdict, objective: str, phases: Sequence[str] = ("winner",)) -> Iterator[Table]:
    """Winner beside start, and what stands between, trained and tested alike: a table per way of training.

    Args:
        verdict: of the search.
        objective: its metric.
        phases: names of the search's strategies.
    """
    for column in verdict.columns:
        yield _column_table(verdict, column, objective, phases)


def _column_table(verdict: Verdict, column: Trained, objective: str, phases: Sequence[str]) -> Table:
    counts = sorted({len(column.start), len(column.winner)})
    often = f"{counts[0]} times" if len(counts) == 1 else f"{counts[0]} and {counts[1]} times"
    how = "trained from scratch" if not column.paired else "trained on from fresh warm starts"
    found = [*((side.candidate, side.scores) for side in column.between), (verdict.winner, column.winner)]
    found.sort(key=lambda row: (row[0].strategy, row[0].kind))
    rows = [("start", verdict.start, column.start)]
    rows += [(_milestone(verdict, candidate, phases), candidate, scores) for candidate, scores in found]
    names = "Winner and start" if not column.between else "What the search has found, step by step"
    table = make_table(
        (
            Column(""),
            Column("architecture"),
            *numbers(objective, "gain", "95 % interval", "per training", "mult-adds", "params"),
        ),
        title=f"{names}, {how} for {column.epochs} epochs, {often}, on {verdict.tested_on}",
    )
    for name, candidate, scores in rows:
        gain = column.gain_of(scores) if candidate is not verdict.start else None
        table.add_row(
            name,
            str(candidate.architecture),
            number(fmean(scores)),
            "" if gain is None else number(gain.mean, signed=True),
            "" if gain is None or not gain.is_known else interval_of(gain),
            " ".join(map(number, scores)),
            amount(candidate.cost.get("multiply_adds")) + _ratio(candidate, verdict.start),
            amount(candidate.cost.get("parameters")),
        )
    return table


def _milestone(verdict: Verdict, candidate: Candidate, phases: Sequence[str]) -> str:
    name = "reignited" if candidate.kind == "reignition" else phases[candidate.strategy]
    if candidate.id != verdict.winner.id:
        return name
    return "winner" if len(phases) == 1 and candidate.kind == "child" else f"{name} (winner)"


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
