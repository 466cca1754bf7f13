"""Tables of candidates."""

from collections.abc import Iterable, Iterator
from statistics import fmean

from rich.table import Table

from spnas_core.commands.columns import Column, format_columns, numbers
from spnas_core.commands.tables import make_table
from spnas_core.commands.wording import UNDEFINED
from spnas_search.archive import Archive, Candidate
from spnas_search.monitors.wording import amount, duration, merit_of, number, origin
from spnas_search.search.comparison import Comparison


def candidate_lines(archive: Archive, candidates: Iterable[Candidate]) -> Iterator[str]:
    """Yield headings, and a line per candidate: where it comes from, what it inherited, what it scored, what it costs.

    Merits are in the objective's own direction; gains are improvements, so positive is better whatever that is.
    """
    columns = (
        *(*numbers("id"), Column("kind"), *numbers("parent"), Column("architecture"), Column("morphisms")),
        *numbers("inherited", archive.objective.name, "gain", "merit", "mult-adds", "params", "age", "time"),
        Column("status"),
    )
    return format_columns(columns, (_cells(archive, candidate) for candidate in candidates))


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
        number(merit_of(archive, candidate)),
        amount(candidate.cost.get("multiply_adds")),
        amount(candidate.cost.get("parameters")),
        str(candidate.age),
        duration(candidate.seconds),
        f"{candidate.status}: {candidate.reason}" if candidate.reason else candidate.status,
    )


def candidate_json(archive: Archive, candidate: Candidate) -> dict[str, object]:
    """Return everything that the archive knows of a candidate, for ``to_json``.

    The merit is in the objective's own direction; the gain is an improvement, so positive is better whatever that is.
    """
    return {
        "id": candidate.id,
        "kind": candidate.kind,
        "parent": candidate.parent,
        "architecture": str(candidate.architecture),
        "morphisms": [{"name": step.morphism, "detail": step.detail} for step in candidate.rewrite.steps],
        "block_map": candidate.rewrite.block_map,
        "receipt": candidate.receipt,
        "metrics": candidate.metrics,
        "gain": archive.gain(candidate),
        "merit": merit_of(archive, candidate),
        "cost": candidate.cost,
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
    columns = *numbers("id"), Column("architecture"), *numbers("merit", "mult-adds", "params")
    table = make_table(columns, title="Pareto front: merit against multiply-adds")
    for candidate in archive.pareto():
        table.add_row(
            str(candidate.id),
            str(candidate.architecture),
            number(merit_of(archive, candidate)),
            amount(candidate.cost.get("multiply_adds")),
            amount(candidate.cost.get("parameters")),
        )
    return table


def comparison_table(comparison: Comparison, objective: str) -> Table:
    """Winner beside start at equal age, on test images; the gain is positive where the winner is better."""
    counts = sorted({len(comparison.start_scores), len(comparison.winner_scores)})
    seeds = f"{counts[0]} seeds each" if len(counts) == 1 else f"{counts[0]} and {counts[1]} seeds"
    table = make_table(
        (Column(""), Column("architecture"), *numbers(objective, "per seed", "mult-adds", "params")),
        title=f"Winner and start, both trained for {comparison.age} epochs, on test images ({seeds})",
    )
    for name, candidate, scores in (
        ("start", comparison.start, comparison.start_scores),
        ("winner", comparison.winner, comparison.winner_scores),
    ):
        table.add_row(
            name,
            str(candidate.architecture),
            number(fmean(scores)),
            " ".join(map(number, scores)),
            amount(candidate.cost.get("multiply_adds")),
            amount(candidate.cost.get("parameters")),
        )
    table.add_row("gain", "", number(comparison.gain, signed=True), "", cost_ratio(comparison), "")
    return table


def cost_ratio(comparison: Comparison) -> str:
    """Say how many times the start's multiply-adds the winner takes."""
    winner, start = (side.cost.get("multiply_adds", 0) for side in (comparison.winner, comparison.start))
    ratio = number(winner / start) if start else UNDEFINED
    return ratio if ratio == UNDEFINED else f"{winner / start:.2f}x"
