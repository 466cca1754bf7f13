"""Tables of candidates."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

from rich.table import Table

from spnas_core.commands.columns import Column, few_at_a_time, format_blocks, numbers
from spnas_core.commands.tables import make_table
from spnas_core.commands.wording import amount, amounts, duration, number, shortened
from spnas_core.commands.wording import numbers as written
from spnas_search.archive import Archive, Candidate, Place, Tradeoff
from spnas_search.wording import LEAD, in_own_direction, merit_of, origin, with_error


def candidate_lines(
    archive: Archive, candidates: Iterable[Candidate], most_letters: int | None = None
) -> Iterator[str]:
    """Yield headings, and a line per candidate: where it comes from, what it inherited, what it scored, what it costs.

    Leads, with their standard errors, are improvements over the start, so positive is better whatever the objective is;
    merits are in its own direction. ``=`` marks what is as good as the best as far as can be told.

    Args:
        archive: of the run.
        candidates: of it.
        most_letters: of what is told of morphisms, the widest column; None cuts nothing.
    """
    blocks = (_cells_by_column(archive, few, most_letters) for few in few_at_a_time(candidates))
    return format_blocks(candidate_columns(archive), blocks)


def candidate_columns(archive: Archive) -> tuple[Column, ...]:
    """What is listed of candidates; see ``candidate_lines``."""
    return (
        *(*numbers("id"), Column("kind"), *numbers("parent"), Column("architecture"), Column("morphisms")),
        *numbers("inherited", archive.objective.name, "gain", LEAD, "merit", "mult-adds", "params", "age", "time"),
        Column("status"),
    )


def split_lines(archive: Archive, candidates: Iterable[Candidate]) -> Iterator[str]:
    """Say of candidates what they were tested on, where that are no images of their own."""
    tested = Counter(candidate.kind for candidate in candidates if candidate.split == "test")
    if tested and archive.test_images != Archive.OWN_TEST_IMAGES:
        yield f"Scores of {' and '.join(tested)} are of the {archive.test_images}."


def candidate_cells(archive: Archive, candidate: Candidate) -> tuple[str, ...]:
    """Return a cell for each of ``candidate_columns``."""
    return tuple(cell for (cell,) in _cells_by_column(archive, [candidate]))


def _cells_by_column(
    archive: Archive, ones: Sequence[Candidate], most_letters: int | None = None
) -> tuple[list[str], ...]:
    """Return the cells of each of ``candidate_columns``: column by column, which is faster than row by row."""
    objective = archive.objective.name
    places = archive.places(ones)
    origins = [origin(one) if one.rewrite.steps else "" for one in ones]
    percents = [one.receipt.get("inherited_percent") for one in ones]
    return (
        list(map(str, [one.id for one in ones])),
        [one.kind for one in ones],
        ["" if one.parent is None else str(one.parent) for one in ones],
        list(map(str, [one.architecture for one in ones])),
        origins if most_letters is None else [shortened(text, most_letters) for text in origins],
        [f"{percent:.1f} %" if isinstance(percent, float) else "" for percent in percents],
        written([one.metrics.get(objective) for one in ones]),
        written([archive.gain(one) for one in ones], signed=True),
        list(map(_lead, places.leads, places.errors, places.ties)),
        written([in_own_direction(archive, merit) for merit in places.merits]),
        amounts([one.cost.get("multiply_adds") for one in ones]),
        amounts([one.cost.get("parameters") for one in ones]),
        [str(one.age) for one in ones],
        [duration(one.seconds) for one in ones],
        [f"{one.status}: {one.reason}" if one.reason else one.status for one in ones],
    )


def lead_of(place: Place | None) -> str:
    """Show a lead with its standard error, and ``=`` where the candidate and the best are tied."""
    return number(None) if place is None else _lead(place.lead, place.error, place.is_tied)


def _lead(lead: float | None, error: float | None, is_tied: bool) -> str:
    return with_error(lead, error) + (" =" if is_tied else "")


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
    weighed = ", ".join(one.name.replace("_", "-") for one in archive.tradeoffs)
    table = make_table(pareto_columns(archive), title=f"Pareto front: merit against {weighed}")
    for candidate in archive.pareto():
        table.add_row(*pareto_cells(archive, candidate))
    return table


def pareto_columns(archive: Archive) -> tuple[Column, ...]:
    """What is listed of the Pareto front."""
    shown = numbers("merit", LEAD, "mult-adds", "params", *(one.name for one in _others(archive)))
    return *numbers("id"), Column("architecture"), *shown


def pareto_cells(archive: Archive, candidate: Candidate) -> tuple[str, ...]:
    """Return a cell for each of ``pareto_columns``."""
    return (
        str(candidate.id),
        str(candidate.architecture),
        number(merit_of(archive, candidate)),
        lead_of(archive.place(candidate)),
        amount(candidate.cost.get("multiply_adds")),
        amount(candidate.cost.get("parameters")),
        *(_weighed(archive, candidate, one) for one in _others(archive)),
    )


def _others(archive: Archive) -> list[Tradeoff]:
    """What is weighed beside the costs that are listed anyway."""
    return [one for one in archive.tradeoffs if one.name not in {"multiply_adds", "parameters"}]


def _weighed(archive: Archive, candidate: Candidate, tradeoff: Tradeoff) -> str:
    """Show what is weighed, in its own direction: of a metric its merit, of a cost the cost."""
    value = archive.weighed(candidate, tradeoff.name)
    if value is None or not tradeoff.is_metric:
        return amount(value)
    return number(-value if tradeoff.higher_is_better else value)
