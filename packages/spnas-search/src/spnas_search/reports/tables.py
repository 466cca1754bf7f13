"""Tables of candidates."""

import math
from collections.abc import Iterable
from statistics import fmean

from rich.table import Table

from spnas_search.archive import Archive, Candidate
from spnas_search.monitors.wording import amount, duration, number, origin
from spnas_search.search.comparison import Comparison


def candidate_table(archive: Archive, candidates: Iterable[Candidate]) -> Table:
    """One row per candidate: where it comes from, what it inherited, what it scored, what it costs."""
    objective = archive.objective.name
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for heading, justify in (
        ("id", "right"),
        ("kind", "left"),
        ("parent", "right"),
        ("architecture", "left"),
        ("morphisms", "left"),
        ("inherited", "right"),
        (objective, "right"),
        ("gain", "right"),
        ("merit", "right"),
        ("mult-adds", "right"),
        ("params", "right"),
        ("age", "right"),
        ("time", "right"),
        ("status", "left"),
    ):
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for candidate in candidates:
        percent = candidate.receipt.get("inherited_percent")
        cost = candidate.cost
        table.add_row(
            str(candidate.id),
            candidate.kind,
            "" if candidate.parent is None else str(candidate.parent),
            str(candidate.architecture),
            origin(candidate) if candidate.rewrite.steps else "",
            f"{percent:.1f} %" if isinstance(percent, float) else "",
            number(candidate.metrics.get(objective)),
            number(archive.gain(candidate), signed=True),
            number(archive.merit(candidate)),
            amount(cost["multiply_adds"]) if cost else "–",
            amount(cost["parameters"]) if cost else "–",
            str(candidate.age),
            duration(candidate.seconds),
            f"{candidate.status}: {candidate.reason}" if candidate.reason else candidate.status,
        )
    return table


def candidate_json(archive: Archive, candidate: Candidate) -> dict[str, object]:
    """Return everything that the archive knows of a candidate as plain JSON values; NaN becomes null."""
    return {
        "id": candidate.id,
        "kind": candidate.kind,
        "parent": candidate.parent,
        "architecture": str(candidate.architecture),
        "morphisms": [{"name": step.morphism, "detail": step.detail} for step in candidate.rewrite.steps],
        "block_map": list(candidate.rewrite.block_map),
        "receipt": dict(candidate.receipt),
        "metrics": {name: _finite(value) for name, value in candidate.metrics.items()},
        "gain": _finite(archive.gain(candidate)),
        "merit": _finite(archive.merit(candidate)),
        "cost": dict(candidate.cost),
        "split": candidate.split,
        "epochs": candidate.epochs,
        "age": candidate.age,
        "seed": candidate.seed,
        "seconds": candidate.seconds,
        "status": candidate.status,
        "reason": candidate.reason,
    }


def pareto_table(archive: Archive) -> Table:
    """The candidates that no other beats in merit and multiply-adds, cheapest first."""
    table = Table(title="Pareto front: merit against multiply-adds", title_justify="left", header_style="bold")
    for heading, justify in (
        ("id", "right"),
        ("architecture", "left"),
        ("merit", "right"),
        ("mult-adds", "right"),
        ("params", "right"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for candidate in archive.pareto():
        table.add_row(
            str(candidate.id),
            str(candidate.architecture),
            number(archive.merit(candidate)),
            amount(candidate.cost["multiply_adds"]),
            amount(candidate.cost["parameters"]),
        )
    return table


def comparison_table(comparison: Comparison, objective: str) -> Table:
    """Winner beside start at equal age, on test images."""
    seeds = len(comparison.winner_scores)
    table = Table(
        title=f"Winner and start, both trained for {comparison.age} epochs, on test images ({seeds} seeds each)",
        title_justify="left",
        header_style="bold",
    )
    for heading, justify in (
        ("", "left"),
        ("architecture", "left"),
        (objective, "right"),
        ("per seed", "right"),
        ("mult-adds", "right"),
        ("params", "right"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for name, candidate, scores in (
        ("start", comparison.start, comparison.start_scores),
        ("winner", comparison.winner, comparison.winner_scores),
    ):
        table.add_row(
            name,
            str(candidate.architecture),
            number(fmean(scores)),
            " ".join(map(number, scores)),
            amount(candidate.cost["multiply_adds"]),
            amount(candidate.cost["parameters"]),
        )
    ratio = comparison.winner.cost["multiply_adds"] / comparison.start.cost["multiply_adds"]
    table.add_row("gain", "", number(comparison.gain, signed=True), "", f"{ratio:.2f}x", "")
    return table


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
