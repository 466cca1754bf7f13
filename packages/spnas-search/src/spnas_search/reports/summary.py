"""The end of a search: the best beside the start, the Pareto front, what is missing, and what to type next."""

import math
from collections import Counter
from collections.abc import Iterator

from rich.console import RenderableType

from spnas_search.archive import Archive, Candidate
from spnas_search.monitors.wording import duration, number
from spnas_search.reports.tables import comparison_table, pareto_table
from spnas_search.run import ENDED, Run
from spnas_search.search.comparison import Comparison, missing_parts, outcome
from spnas_search.search.rounds import why_ended


def summary(run: Run) -> Iterator[RenderableType]:
    """Yield what is printed when a search has ended, the comparison last but for the hints."""
    archive, settings = run.archive, run.settings.run
    failed = sum(candidate.status == "failed" for candidate in archive)
    yield (
        f"Search over after {archive.children} children and {duration(run.spent_seconds)} of evaluation"
        f"{f', {failed} evaluations failed' if failed else ''}: "
        f"{archive.recall(ENDED) or why_ended(archive, settings, run.strategy, out_of_time=run.out_of_time())}."
    )
    yield pareto_table(archive)
    if without := unranked(archive):
        yield without
    found = outcome(archive, settings)
    if isinstance(found, Comparison):
        yield comparison_table(found, archive.objective.name)
        yield verdict(found, archive.objective.name)
        if missing := missing_parts(archive, settings):
            yield f"The comparison is incomplete: {'; '.join(missing)}."
    else:
        yield found.reason
    best = archive.best(1)
    winner = best[0].id if best else 0
    architecture = archive[winner].architecture if best else archive.start.architecture
    yield f"Everything is in {run.folder}: run.toml, archive.db, weights/{winner}.safetensors (the winner's weights)."
    yield f"Next: spnas show {architecture}   or   spnas candidates {run.folder} --pareto"


def unranked(archive: Archive) -> str:
    """Say how many children were evaluated and have no merit all the same, and why; empty where there are none."""
    reasons = Counter(
        _why_unranked(archive, child)
        for child in archive.of_kind("child")
        if child.status == "done" and archive.merit(child) is None
    )
    if not reasons:
        return ""
    parts = [f"{count} {reason}" for reason, count in reasons.items()]
    return f"Children without a merit, which rank nowhere: {', '.join(parts)}."


def _why_unranked(archive: Archive, child: Candidate) -> str:
    if not math.isfinite(archive.score(child)):
        return f"whose {archive.objective.name} is undefined"
    if archive.gain(child) is None:
        return "whose control has no score"
    return "whose parent has no merit"


def verdict(comparison: Comparison, objective: str) -> str:
    """Say whether the gain exceeds the seed noise."""
    gain, noise = comparison.gain, comparison.noise
    if noise is None:
        return f"The gain of {number(gain, signed=True)} {objective} comes from one seed each: its noise is unknown."
    relation = "exceeds" if comparison.exceeds_noise else "does not exceed"
    seeds = len(comparison.winner_scores)
    return (
        f"The gain of {number(gain, signed=True)} {objective} {relation} the seed noise "
        f"(standard deviation {number(noise)} over {seeds} seeds each)."
    )
