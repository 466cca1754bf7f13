"""The plot of a study of searches: what each way to search has found, and how well it knows what is good."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spnas_search.studies.pages import make_figure, save_figure
from spnas_search.studies.searches.results import SearchesResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SPREAD = 0.18
"""Half the height over which the dots of a row are spread, so that none hides another."""


def draw_searches(results: SearchesResults, path: Path) -> None:
    """Write the plot as PNG, durably.

    Left: every winner's score after training from scratch as a dot, the mean with its 95 % interval, and beside them
    sampled codes and the start. Right: winners above codes of like cost that were drawn at random, with intervals.

    Args:
        results: of the study; whatever is missing is left out.
        path: of the file.
    """
    figure = make_figure(11.5, 2.0 + 0.5 * (len(results.arms) + 2))
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
    rows = [(arm.arm, arm.scores) for arm in results.arms]
    rows += [("(sampled codes)", results.sampled), ("(start)", results.start)]
    _draw_scores(left, results, rows)
    _draw_advantages(right, results, len(rows))
    save_figure(figure, path)


def _draw_scores(axes: "Axes", results: SearchesResults, rows: list[tuple[str, tuple[float, ...]]]) -> None:
    rng = np.random.default_rng(0)
    for place, (_, scores) in enumerate(rows):
        known = [score for score in scores if math.isfinite(score)]
        heights = place + rng.uniform(-_SPREAD, _SPREAD, len(known))
        colour = "tab:blue" if place < len(results.arms) else "0.55"
        axes.scatter(known, heights, s=18, color=colour, alpha=0.7, zorder=2)
        if known:
            axes.plot([sum(known) / len(known)] * 2, [place - 0.32, place + 0.32], color="0.2", zorder=3)
    settings = results.plan.settings
    axes.set_title(f"Winners, trained from scratch for {settings.epochs} epochs")
    axes.set_xlabel(f"{results.objective.name} on {settings.split} images; bars are means")
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)


def _draw_advantages(axes: "Axes", results: SearchesResults, rows: int) -> None:
    for place, arm in enumerate(results.arms):
        found = arm.over_sampled
        if found is not None:
            error = found.high - found.mean if found.is_known else 0.0
            axes.errorbar(found.mean, place, xerr=error, fmt="o", color="tab:blue", capsize=3)
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.set_title("Above sampled codes of like cost")
    axes.set_xlabel(f"{results.objective.name}, better to the right; 95 %")
    axes.set_yticks([])
    axes.set_ylim(rows - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
