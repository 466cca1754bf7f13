"""Losses and scores of a training as it went, from its ``scalars.jsonl``."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from markupsafe import Markup

from spnas_core.errors import MALFORMED, ConfigError
from spnas_core.pages import Dots, Line, Note, draw_chart, paragraph
from spnas_core.pages.charts import Mark
from spnas_detect.training.scalars import FILE, read_scalars

LOSS, LOSSES, VALIDATION = "loss", "loss_", "validation/"
MOST_POINTS = 400
"""Points of a line: of more, neighbours are averaged."""

Scalars = Sequence[Mapping[str, Any]]
XY = tuple[float, float]


def read_curves(folder: Path) -> Scalars:
    """Return the lines of a training's folder, each with its ``step``, a number.

    Raises:
        ConfigError: the file was altered.
    """
    try:
        lines = read_scalars(folder)
    except (OSError, *MALFORMED) as error:
        raise ConfigError(f"{folder / FILE} cannot be read ({error}): restore it, or remove it") from error
    return [{**line, "step": float(line["step"])} for line in lines]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def curve(scalars: Scalars, name: str) -> list[XY]:
    """Return steps and values of one of the numbers, where it is defined."""
    found = [(float(line["step"]), float(line[name])) for line in scalars if _is_number(line.get(name))]
    size = -(-len(found) // MOST_POINTS)
    parts = [found[at : at + size] for at in range(0, len(found), max(size, 1))]
    return [(part[-1][0], fmean(value for _, value in part)) for part in parts]


def loss_chart(scalars: Scalars) -> Iterator[Markup]:
    """The loss by step, and its parts."""
    whole = curve(scalars, LOSS)
    if not whole:
        yield paragraph("No step is noted yet.", kind="note")
        return
    names = sorted({name for line in scalars for name in line if name.startswith(LOSSES)})
    parts = {name: curve(scalars, name) for name in names}
    notes = [Note(points[-1], name.removeprefix(LOSSES).replace("_", " ")) for name, points in parts.items() if points]
    yield draw_chart(
        "loss by step",
        [*(Line(points, "plain") for points in parts.values()), Line(whole), *notes, Note(whole[-1], LOSS)],
        x="step",
        y="loss",
        caption="Blue: the loss; grey: its parts.",
    )


def score_chart(scalars: Scalars, metric: str) -> Iterator[Markup]:
    """The main score on validation images, where the training has asked for it."""
    points = curve(scalars, VALIDATION + metric)
    if points:
        marks: list[Mark] = [Line(points), Dots([(*point, "") for point in points], "strong")]
        yield draw_chart(f"{metric} by step", marks, x="step", y=f"{metric} on validation images")
