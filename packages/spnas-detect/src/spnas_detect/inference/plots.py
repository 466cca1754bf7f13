"""Plots of an evaluation, with the numbers behind them: precision against recall, and what is taken for what."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spnas_core.commands.wording import counted, printable
from spnas_core.durable import whole_file
from spnas_core.errors import ConfigError
from spnas_detect.drawing import is_our_picture
from spnas_detect.drawing.files import MAKER
from spnas_detect.drawing.fonts import FONT_FILES, Lettering
from spnas_detect.folders import make_folder, writing_into
from spnas_detect.inference.confusion import BACKGROUND, MISSED, Confusion
from spnas_detect.metrics.curves import PrecisionRecall

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

CURVES, MATRIX = "precision-recall", "confusion"
_HEADS = {CURVES: "class,iou,recall,", MATRIX: "annotated,"}
"""What our files of numbers begin with."""

_FEW = 10
"""Classes up to which each curve has its colour and its place in the legend."""

_WITH_NUMBERS = 20
"""Classes up to which the matrix has its counts written in it."""

_COLOURS = ("#332288", "#cc6677", "#117733", "#882255", "#999933")
_LINE_STYLES = ("-", "--", ":", "-.")
"""Curve n has colour n mod 5 and style n mod 4, so that no two of 20 have both.

The colours are the darker ones of Paul Tol's scheme "muted", https://personal.sron.nl/~pault: they have a contrast of 3
or more on white, and stay apart for those who see less colours.
"""

_LONGEST = 24  # letters of a class's name


def prepare_plots(folder: Path) -> None:
    """Make the folder, and see to it that only plots and numbers of an earlier evaluation are overwritten.

    Raises:
        ConfigError: somebody else's file is there, or nothing can be written.
    """
    make_folder(folder)
    for name, head in _HEADS.items():
        picture, numbers = folder / f"{name}.png", folder / f"{name}.csv"
        is_numbers = not numbers.exists() or _begins(numbers, head)
        if not is_numbers or (picture.exists() and not is_our_picture(picture)):
            taken = picture if is_numbers else numbers
            raise ConfigError(f"{taken} exists and was not written by spnas: choose another --curves")


def _begins(file: Path, head: str) -> bool:
    try:
        with file.open(encoding="utf-8") as opened:
            return opened.read(len(head)) == head
    except (OSError, ValueError):
        return False


def write_plots(folder: Path, curves: PrecisionRecall, matrix: Confusion, score_threshold: float) -> Sequence[str]:
    """Write ``precision-recall.csv`` and ``.png``, ``confusion.csv`` and ``.png``, each complete or as it was.

    Args:
        folder: as ``prepare_plots`` has left it.
        curves: of every class.
        matrix: of the detections that reach the threshold.
        score_threshold: that the curves have a dot at.

    Returns:
        A line where no font at hand can write the name of a class.
    """
    names = _Names(matrix.classes)
    side = max(4.5, 2.2 + (0.5 if len(matrix.classes) <= _WITH_NUMBERS else 0.17) * (len(matrix.classes) + 1))
    with writing_into(folder):
        _write(folder / f"{CURVES}.csv", curves.csv())
        _write(folder / f"{MATRIX}.csv", matrix.csv())
        figure = _figure(6.2 * len(curves.ious), 5.6)
        _draw_curves(figure, curves, score_threshold, names)
        _save(figure, folder / f"{CURVES}.png")
        figure = _figure(side + 0.8, side)
        _draw_matrix(figure, matrix, score_threshold, names)
        _save(figure, folder / f"{MATRIX}.png")
    return list(names.remarks())


class _Names:
    """What plots call the classes, in a font that has their letters, and else by their numbers."""

    def __init__(self, classes: Sequence[str]) -> None:
        from matplotlib import get_data_path

        plain = [_short(printable(name)) for name in classes]
        lettering = Lettering(plain, [f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", *FONT_FILES])
        written = [lettering.writable(name, f"class {label}") for label, name in enumerate(plain, 1)]
        self._file = lettering.file
        self._other = [(name, other) for name, other in zip(plain, written, strict=True) if name != other]
        self.texts = [name.replace("$", r"\$") for name in written]  # which would begin a formula

    def font(self, size: float) -> "FontProperties":
        """Return the font; what Pillow's own can write, matplotlib's can, too."""
        from matplotlib.font_manager import FontProperties

        return FontProperties(fname=self._file, size=size)

    def remarks(self) -> Iterator[str]:
        """Say so where a class has another name in the plots."""
        if self._other:
            name, other = self._other[0]
            yield (
                f"no font here writes {counted(len(self._other), 'class name')}, so the plots have {other!r} for "
                f"{name!r}; looked for were {', '.join(FONT_FILES)}"
            )


def _write(path: Path, text: str) -> None:
    with whole_file(path, is_durable=False) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def _figure(width: float, height: float) -> "Figure":
    """Make a figure of a size in inches that no window shows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: "Figure", path: Path) -> None:
    """Write a figure with our mark, complete or not at all."""
    with whole_file(path, is_durable=False) as unfinished, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that the font lacks
        figure.savefig(unfinished, format="png", dpi=120, metadata={"Software": MAKER})


def _draw_curves(figure: "Figure", curves: PrecisionRecall, score_threshold: float, names: _Names) -> None:
    panels = np.atleast_1d(figure.subplots(1, len(curves.ious), sharey=True))
    average = curves.average
    known = [label for label in range(len(curves.classes)) if not np.isnan(average[0, label])]
    told = sorted(known, key=lambda label: -average[0, label])
    if len(told) > _FEW:
        told = [*told[: _FEW // 2], *told[-(_FEW // 2) :]]
    ordered = [*(label for label in known if label not in told), *told]
    for place, (axes, iou) in enumerate(zip(panels, curves.ious, strict=True)):
        legend: dict[str, str] = {}
        for label in ordered:
            line = curves.precision[place, :, label]
            if label not in told:
                axes.plot(curves.recalls, line, color="0.85", linewidth=0.6, zorder=1)
                continue
            number = told.index(label)
            colour, style = _COLOURS[number % len(_COLOURS)], _LINE_STYLES[number % len(_LINE_STYLES)]
            axes.plot(curves.recalls, line, style, color=colour, label=f"class {label}", linewidth=1.6, zorder=2)
            legend[f"class {label}"] = f"{names.texts[label]}  {average[place, label]:.3f}"
            reached = np.flatnonzero(curves.scores[place, :, label] >= max(score_threshold, 1e-9))
            if len(reached):
                axes.plot(curves.recalls[reached[-1]], line[reached[-1]], "o", markersize=5, color=colour, zorder=3)
        _finish_curves(axes, curves, place, iou, known, score_threshold)
        _add_legend(axes, len(known), names, legend)
    panels[0].set_ylabel("precision")


def _finish_curves(
    axes: "Axes", curves: PrecisionRecall, place: int, iou: float, known: Sequence[int], score_threshold: float
) -> None:
    average = curves.average[place, known]
    mean = float(average.mean()) if len(known) else float("nan")
    if len(known) > 1:
        line = curves.precision[place][:, known].mean(1)
        label = f"mean of {len(known)}  {mean:.3f}"
        axes.plot(curves.recalls, line, color="black", linewidth=2.4, label=label, zorder=4)
    axes.set_title(f"IoU {iou:g}: AP {mean:.3f}")
    axes.set_xlabel(f"recall (dots: score {score_threshold:g})")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.3)


def _add_legend(axes: "Axes", count: int, names: _Names, texts: Mapping[str, str]) -> None:
    """Add a legend; names are put in afterwards, since matplotlib leaves out labels that begin with ``_``."""
    title = "AP of each class" if count <= _FEW else f"AP of the best and the worst {_FEW // 2} at IoU 0.5"
    legend = axes.legend(
        title=title,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.13),
        ncols=2,
        prop=names.font(8),
        handlelength=3.5,  # so that line styles can be told apart
        frameon=False,
    )
    for text in legend.get_texts():
        text.set_text(texts.get(text.get_text(), text.get_text()))


def _draw_matrix(figure: "Figure", matrix: Confusion, score_threshold: float, names: _Names) -> None:
    from matplotlib.colors import PowerNorm

    axes = figure.subplots()
    shares, size = np.nan_to_num(matrix.shares), len(matrix.classes) + 1
    detected = matrix.counts.sum(0)
    np.divide(matrix.counts[-1], detected, out=shares[-1], where=detected > 0)
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1))  # so that rare mistakes are seen
    is_small = size <= _WITH_NUMBERS
    turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if is_small else {"rotation": 90}
    font = names.font(9 if is_small else 6)
    axes.set_xticks(range(size), [*names.texts, MISSED], fontproperties=font, **turned)
    axes.set_yticks(range(size), [*names.texts, BACKGROUND], fontproperties=font)
    axes.set_xlabel(f"detected, score {score_threshold:g} or more")
    axes.set_ylabel("annotated")
    axes.axhline(size - 1.5, color="0.4", linewidth=1)
    axes.axvline(size - 1.5, color="0.4", linewidth=1)
    axes.set_title("What is taken for what")
    label = "share of the row (background: of the column)"
    figure.colorbar(image, ax=axes, label=label, fraction=0.046, pad=0.03, shrink=1 if is_small else 0.4)
    if not is_small:
        return
    for row, column in np.ndindex(size, size):
        if count := matrix.counts[row, column]:
            colour = "white" if shares[row, column] > 0.4 else "black"
            axes.text(column, row, f"{count}", ha="center", va="center", color=colour, fontsize=8)


def _short(name: str) -> str:
    """Shorten a class's name."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
