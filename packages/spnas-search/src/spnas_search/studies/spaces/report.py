"""The report of a study of spaces: a table, sentences, and distribution functions."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import RenderableType

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.wording import UNDEFINED, amount, number
from spnas_search.statistics import Gap, complexity_weights
from spnas_search.studies.pages import Table, failures, make_figure, markdown_page, printed, save_figure
from spnas_search.studies.spaces.results import SpacesResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CERTAIN = 0.05
"""Probability below which a difference is said to be one."""


def spaces_parts(results: SpacesResults) -> Iterator[RenderableType]:
    """Yield what is printed: a table, and sentences."""
    return printed([_table(results)], spaces_sentences(results))


def spaces_markdown(results: SpacesResults, *, plot: str) -> str:
    """Return the same as a page of Markdown; ``plot`` names the image that belongs to it."""
    title = "Spaces: " + ", ".join(space.name for space in results.spaces)
    caption = "shares of codes that score below, as they are and at equal complexity"
    return markdown_page(title, spaces_sentences(results), plot, caption, [_table(results)])


def spaces_sentences(results: SpacesResults) -> Iterator[str]:
    """Say what the study has found, and how far it goes."""
    settings, name = results.plan.settings, results.objective.name
    times = "once" if settings.trainings == 1 else f"{settings.trainings} times"
    yield (
        f"{settings.codes} codes were drawn from each space and trained from scratch {times} for {settings.epochs} "
        f"epochs; {name} is that on {settings.split} images."
    )
    if results.done + len(results.failed) < len(results.plan.jobs):
        yield f"So far: {results.done} of {len(results.plan.jobs)} trainings are in, and the numbers are of those."
    first = results.spaces[0].name
    for space in results.spaces[1:]:
        if space.gap is not None:
            weighed = f"at equal multiply-adds it {_said_weighed(space.weighed_gap)}"
            if not results.knows_costs:
                weighed = "of what the codes cost, nothing is known"
            yield f"{space.name} {_said(space.gap, first)}; {weighed}."
    if len(results.spaces) > 1:
        yield (
            "D: Kolmogorov and Smirnov's distance of the distribution from the first space's, 0 for equal ones; p: "
            "probability of as much by chance, from permutations. Weighed: codes count so that both spaces have one "
            "distribution of multiply-adds over the range that they share, and permutations stay among codes of like "
            "cost."
        )
    if results.failed:
        yield failures(results.failed)


def _said(found: Gap, first: str) -> str:
    if found.p_value < CERTAIN:
        return f"has another distribution than {first} (p = {found.p_value:.2g})"
    return f"is not shown to differ from {first} (p = {found.p_value:.2g})"


def _said_weighed(found: Gap | None) -> str:
    if found is None:
        return "has nothing in common with it to compare"
    differs = "differs" if found.p_value < CERTAIN else "is not shown to differ"
    return f"{differs} (p = {found.p_value:.2g}, {found.counts[0]} and {found.counts[1]} codes)"


def _table(results: SpacesResults) -> Table:
    name = results.objective.name
    headings = "codes", "mult-adds, median", f"{name}: best", "median", "mean", "D", "p", "weighed D", "weighed p"
    rows = []
    for space in results.spaces:
        cost = float(np.median(space.costs)) if space.costs else None
        scores = space.best(results.objective), space.median, space.mean
        row = (space.name, str(len(space.scores)), amount(cost), *map(number, scores))
        rows.append((*row, *_gap(space.gap), *_gap(space.weighed_gap)))
    return "Spaces", (Column("space"), *numbers(*headings)), rows


def _gap(found: Gap | None) -> tuple[str, str]:
    return (UNDEFINED, UNDEFINED) if found is None else (f"{found.distance:.2f}", f"{found.p_value:.2g}")


def draw_spaces(results: SpacesResults, path: Path) -> None:
    """Write the plot as PNG, durably.

    Distribution functions of the scores, a line per space: left as they are, right with codes weighed so that all
    spaces have one distribution of multiply-adds.

    Args:
        results: of the study; spaces without a score are left out.
        path: of the file.
    """
    figure = make_figure(11.5, 4.6)
    left, right = figure.subplots(1, 2, sharey=True, sharex=True)
    known = [space for space in results.spaces if space.scores]
    weights = [np.zeros(len(space.scores)) for space in known]
    if known and results.knows_costs:
        weights = complexity_weights([space.costs for space in known])
    for number_, space in enumerate(known):
        even = np.full(len(space.scores), 1 / len(space.scores))
        for axes, weight in ((left, even), (right, weights[number_])):
            _draw_function(axes, space.scores, weight, space.name, f"C{number_}")
    left.set(title="As they are", ylabel="share of codes that score below")
    right.set(title="At equal multiply-adds")
    for axes in (left, right):
        axes.set_xlabel(f"{results.objective.name} on {results.plan.settings.split} images")
        axes.grid(alpha=0.3)
        if known and axes.get_legend_handles_labels()[0]:  # spaces without a cost in common have no curve
            axes.legend(fontsize=8)
    save_figure(figure, path)


def _draw_function(axes: "Axes", scores: Sequence[float], weights: np.ndarray, name: str, colour: str) -> None:
    order = np.argsort(scores)
    if weights.any():
        axes.step(np.asarray(scores)[order], np.cumsum(weights[order]), where="post", color=colour, label=name)
