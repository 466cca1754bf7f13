"""The plot of a signal study: how much trainings of one code differ, and what each way to score says of the truth."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spnas_search.studies.pages import make_figure, save_figure
from spnas_search.studies.signal_results import SignalResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WAYS = {
    "none": ("tab:blue", "o"),
    "warm-start": ("tab:orange", "s"),
    "parent": ("tab:green", "^"),
    "scratch": ("0.3", "D"),
}
"""Ways that are compared with the truth, with their colours and markers."""

_SECOND: dict[str, Any] = {"linestyle": "--", "linewidth": 1, "markerfacecolor": "white"}
"""How a line looks that belongs to the second truth."""

_DODGE = 1.025
"""Factor between the places of ways of equal cost, so that one interval does not hide another."""


def draw_signal(results: SignalResults, path: Path) -> None:
    """Write the plot as PNG, durably: the file is complete or as it was.

    Left: every training of the truth as a dot, codes sorted by their means, with the standard deviation of trainings of
    one code around each mean. Right: Spearman's correlation of one training's scores with the truth's means against
    epochs per score, a line per way, with 95 % intervals; dashed, without intervals, the same with the second truth.

    Args:
        results: of the study; whatever is missing is left out.
        path: of the file.
    """
    figure = make_figure(12.5, max(4.6, 1.8 + 0.28 * len(results.plan.codes)))
    left, right = figure.subplots(1, 2, width_ratios=[1, 1])
    _draw_truth(left, results)
    _draw_correlations(right, results)
    save_figure(figure, path)


def _draw_truth(axes: "Axes", results: SignalResults) -> None:
    plan, truth = results.plan, results.of(results.plan.truth)
    axes.set_title(f"Trainings from scratch, {plan.settings.epochs} epochs")
    axes.set_xlabel(f"{results.objective.name} on {plan.settings.meant} images")
    if truth is None:
        return
    means = truth.code_means()
    sign = 1 if results.objective.higher_is_better else -1
    order = sorted((place for place, mean in enumerate(means) if math.isfinite(mean)), key=lambda p: sign * means[p])
    found = truth.heritability
    within = math.sqrt(found.within) if found is not None else 0.0
    label = "mean ± sd of trainings of one code" if found is not None else "mean"
    axes.errorbar(
        [means[place] for place in order], range(len(order)), xerr=within, fmt="|", color="0.2", markersize=13,
        ecolor="0.75", elinewidth=4, label=label, zorder=1,
    )  # fmt: skip
    dots = [(score, row) for row, place in enumerate(order) for score in truth.scores[place] if math.isfinite(score)]
    axes.scatter([x for x, _ in dots], [y for _, y in dots], s=20, color="tab:blue", label="one training", zorder=2)
    names = [plan.codes[place] + (" (start)" if place == 0 else "") for place in order]
    axes.set_yticks(range(len(order)), names, fontsize=8)
    axes.margins(y=0.04)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.12), ncols=2, fontsize=8, frameon=False)


def _draw_correlations(axes: "Axes", results: SignalResults) -> None:
    from matplotlib.lines import Line2D

    axes.set_title("What one training says of the truth")
    axes.set_xlabel("epochs per score, shares of warm start and rewrites counted")
    axes.set_ylabel("Spearman's rank correlation")
    axes.axhline(0, color="0.7", linewidth=0.8)
    if results.ceiling is not None and math.isfinite(results.ceiling):
        axes.axhline(results.ceiling, color="0.3", linewidth=0.8, linestyle=":")
        axes.annotate(
            "a score without luck", (0.01, results.ceiling), xycoords=("axes fraction", "data"), fontsize=7,
            textcoords="offset points", xytext=(0, 2), color="0.3",
        )  # fmt: skip
    for number, how in enumerate(WAYS):
        _draw_way(axes, results, how, _DODGE ** (number - 1))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    lows = [one.low for result in results.arms if (one := result.with_truth) is not None and math.isfinite(one.low)]
    axes.set_ylim(max(-1.02, min([0.0, *lows]) - 0.05), 1.02)
    axes.grid(alpha=0.3)
    present = {result.arm.how for result in results.arms}
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=5, label=how)
        for how, (colour, marker) in WAYS.items()
        if how in present
    ]
    handles.append(Line2D([], [], color="0.6", marker="o", markersize=5, label="with the truth, 95 % interval"))
    if "inherited" in present:
        handles.append(Line2D([], [], color="0.6", label="with the second truth", **_SECOND, markersize=5, marker="o"))
    axes.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0, -0.12), ncols=(len(handles) + 1) // 2, fontsize=8,
        frameon=False,
    )  # fmt: skip


def _draw_way(axes: "Axes", results: SignalResults, how: str, dodge: float) -> None:
    colour, marker = WAYS[how]
    seen = results.plan.settings.seen
    found = sorted(
        (result for result in results.arms if result.arm.how == how and result.arm.images == seen),
        key=lambda result: result.arm,
    )
    style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 5}
    points = [
        (result.epochs_per_evaluation * dodge, one.value, one.value - one.low, one.high - one.value)
        for result in found
        if (one := result.with_truth) is not None and math.isfinite(one.value)
    ]
    if points:
        x, y, below, above = zip(*points, strict=True)
        # A value without an interval has NaN for its ends, which ``max`` keeps where they come first, and no bar.
        axes.errorbar(
            x, y, yerr=[[max(end, 0.0) for end in ends] for ends in (below, above)], capsize=3, linewidth=1.5, **style,
        )  # fmt: skip
    others = [
        (result.epochs_per_evaluation * dodge, one.value)
        for result in found
        if (one := result.with_inherited) is not None and math.isfinite(one.value)
    ]
    if others:
        x, y = zip(*others, strict=True)
        axes.plot(x, y, **_SECOND, **style)
