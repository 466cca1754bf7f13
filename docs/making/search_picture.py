"""Draw a finished search: its start and its winner, and what was found at which cost: the picture of the README.

``python3 docs/making/search_picture.py RUN docs/images/search.png``
"""

import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_search.archive import Archive, Candidate
from spnas_search.driver import NoVerdict, Verdict, outcome
from spnas_search.run import RunFolder, read_archive
from spnas_search.settings import read_toml, resolve

SIZE = (11.0, 4.6)
"""Of the picture, in inches; 110 pixels each."""

GREY, PALE, START, WINNER = "#6b7280", "#d1d5db", "#2563eb", "#dc2626"


def draw_search(run: Path, picture: Path) -> None:
    """Write the picture of a search.

    Args:
        run: its folder; the search is over.
        picture: a PNG.
    """
    settings = resolve(read_toml(RunFolder(run).config))
    width, height = settings.task.model_dump()["image_size"]
    figure = Figure(figsize=SIZE, dpi=110, layout="constrained")
    with read_archive(run) as archive:
        verdict = outcome(archive, settings.run)
        if isinstance(verdict, NoVerdict):
            sys.exit(verdict.reason)
        sides = ((verdict.start, "start", START), (verdict.winner, "winner", WINNER))
        codes = [one.architecture for one, _, _ in sides]
        most = max(len(stage) for code in codes for stage in code.stages)
        lines = [len(code.stages) + sum(code.rows) + 0.6 for code in codes]
        grid = figure.add_gridspec(2, 2, width_ratios=(1, 1.25), height_ratios=lines)
        for row, (one, name, colour) in enumerate(sides):
            axes = figure.add_subplot(grid[row, 0])
            _network(axes, one.architecture, (width, height), most, colour)
            axes.set_title(f"{name}: {one.architecture}", loc="left", color=colour, fontsize=10)
        _front(figure.add_subplot(grid[:, 1]), archive, verdict)
    figure.savefig(picture)


def _network(axes: Axes, architecture: Architecture, image: tuple[int, int], most: int, colour: str) -> None:
    """Draw a line of blocks for each stage, filled where the channels double, and one more for each row beside it."""
    line, rows = 0, architecture.rows or (0,) * len(architecture.stages)
    for number, (stage, beside) in enumerate(zip(architecture.stages, rows, strict=True)):
        cost = backbone_cost(architecture, *image).stages[number + 1]
        label = f"{cost.width}×{cost.height}, {cost.channels} channels"
        axes.text(-0.6, line, label, ha="right", va="center", fontsize=9, color=GREY)
        for copy in range(beside + 1):
            for at, digit in enumerate(stage):
                box = FancyBboxPatch((at - 0.32, line - 0.28), 0.64, 0.56, boxstyle="round,pad=0.04")
                box.set(facecolor=colour if digit == "2" else "white", edgecolor=colour, linewidth=1.4)
                box.set(linestyle="--" if copy else "-")
                axes.add_patch(box)
            if copy:
                axes.text(len(stage) - 0.4, line, "row beside it", va="center", fontsize=8, color=GREY)
            line += 1
    axes.set(xlim=(-3.6, most + 0.6), ylim=(line - 0.2, -0.6))
    axes.axis("off")


def _front(axes: Axes, archive: Archive, verdict: Verdict) -> None:
    """Draw every candidate by its cost and merit, the front, start and winner, and what the verdict says."""
    children = [one for one in archive.of_kind("child") if archive.merit(one) is not None]
    axes.scatter(*_points(archive, children), color=PALE, s=36, label=f"{len(children)} children, a few epochs each")
    front = sorted(archive.pareto(), key=_cost)
    axes.plot(*_points(archive, front), color=GREY, marker="o", markersize=6, label="Pareto front", zorder=2)
    for one, name, colour in ((verdict.start, "start", START), (verdict.winner, "winner", WINNER)):
        axes.scatter(*_points(archive, [one]), color=colour, s=90, zorder=3, label=name)
    gain, metric = verdict.gain, archive.objective.name
    interval = f" (95 % interval {gain.low:+.3f} … {gain.high:+.3f})" if gain.is_known else ""
    axes.set_title(f"Trained alike from fresh warm starts: {gain.mean:+.3f} {metric}{interval}", fontsize=10)
    axes.set(xlabel="multiply-adds of the backbone, in millions", ylabel=f"merit: {metric} as the search sees it")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="upper left")


def _cost(candidate: Candidate) -> float:
    return candidate.cost["multiply_adds"]


def _points(archive: Archive, candidates: list[Candidate]) -> tuple[list[float], list[float]]:
    return [_cost(one) / 1e6 for one in candidates], [archive.merit(one) or 0.0 for one in candidates]


if __name__ == "__main__":
    draw_search(Path(sys.argv[1]), Path(sys.argv[2]))
