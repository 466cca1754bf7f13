"""The end of a search: the best beside the start, the Pareto front, and what to type next."""

from collections.abc import Iterator

from rich.console import RenderableType

from spnas_search.monitors.wording import duration, number
from spnas_search.reports.tables import comparison_table, pareto_table
from spnas_search.run import Run
from spnas_search.search.comparison import Comparison, compare
from spnas_search.search.rounds import why_ended


def summary(run: Run) -> Iterator[RenderableType]:
    """Yield what is printed when a search has ended, the comparison last but for the hints."""
    archive = run.archive
    failed = sum(candidate.status == "failed" for candidate in archive)
    yield (
        f"Search over after {archive.children} children and {duration(run.spent_seconds)} of evaluation"
        f"{f', {failed} evaluations failed' if failed else ''}: "
        f"{why_ended(archive, run.settings.run, run.strategy, out_of_time=run.out_of_time())}."
    )
    yield pareto_table(archive)
    comparison = compare(archive)
    best = archive.best(1)
    if comparison is not None:
        yield comparison_table(comparison, archive.objective.name)
        yield verdict(comparison, archive.objective.name)
    elif best and best[0].id == archive.start.id:
        yield f"No child beat the start {archive.start.architecture}: there is nothing to compare it with."
    winner = best[0].id if best else 0
    architecture = archive[winner].architecture if best else archive.start.architecture
    yield f"Everything is in {run.folder}: run.toml, archive.db, weights/{winner}.safetensors (the winner's weights)."
    yield f"Next: spnas show {architecture}   or   spnas candidates {run.folder} --pareto"


def verdict(comparison: Comparison, objective: str) -> str:
    """Say whether the gain exceeds the seed noise."""
    gain, noise = comparison.gain, comparison.noise
    if noise is None:
        return f"The gain of {number(gain, signed=True)} {objective} comes from one seed each: its noise is unknown."
    relation = "exceeds" if comparison.exceeds_noise else "does not exceed"
    return (
        f"The gain of {number(gain, signed=True)} {objective} {relation} the seed noise "
        f"(standard deviation {number(noise)} over {len(comparison.winner_scores)} seeds each)."
    )
