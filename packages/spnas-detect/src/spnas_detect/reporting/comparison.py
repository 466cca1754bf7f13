"""The report of a comparison."""

import json
import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from markupsafe import Markup

from spnas_core.backbones import read_network
from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.wording import UNDEFINED, amount, number
from spnas_core.drawing import draw_network
from spnas_core.encoding import Architecture
from spnas_core.errors import MALFORMED, ConfigError, SpnasError
from spnas_core.lock import is_held
from spnas_core.pages import (
    Line,
    Report,
    Row,
    Section,
    command,
    draw_chart,
    drawing,
    interval,
    paragraph,
    side_by_side,
    table,
)
from spnas_detect.jobs.comparison import PLAN, RESULT, difference_sentence
from spnas_detect.jobs.folder import TrainFolder
from spnas_detect.reporting.again import assignments
from spnas_detect.reporting.curves import LOSS, curve, read_curves
from spnas_detect.reporting.training import read_scored


@dataclass(frozen=True)
class _View:
    """A comparison to report on.

    Attributes:
        folder: of the comparison.
        plan: settings of every architecture by dotted key, after its number.
        result: what came of it; empty before its end.
    """

    folder: Path
    plan: Mapping[str, Any]
    result: Mapping[str, Any]

    @cached_property
    def settings(self) -> list[dict[str, Any]]:
        """Of each architecture, in order."""
        found: list[dict[str, Any]] = []
        while f"{len(found) + 1}.architecture" in self.plan:
            prefix = f"{len(found) + 1}."
            found.append(
                {key.removeprefix(prefix): value for key, value in self.plan.items() if key.startswith(prefix)}
            )
        return found

    @cached_property
    def trainings(self) -> dict[tuple[int, int], TrainFolder]:
        """Folders by place and seed, as far as there are any."""
        found = {}
        for path in self.folder.glob("*-*"):
            place, _, seed = path.name.partition("-")
            is_one = place.isdecimal() and seed.isdecimal() and 1 <= int(place) <= len(self.settings)
            if is_one and TrainFolder(path).config.is_file():
                found[int(place), int(seed)] = TrainFolder(path)
        return dict(sorted(found.items()))


def report_comparison(reference: str) -> Report | None:
    """Report on a comparison; None where the folder holds none.

    Raises:
        ConfigError: its files were altered.
    """
    folder = Path(reference)
    if not (folder / PLAN).is_file():
        return None
    view = _View(folder, _read(folder / PLAN), _read(folder / RESULT) if (folder / RESULT).is_file() else {})
    if not view.settings:
        raise ConfigError(f"{folder / PLAN} holds no plan of a comparison: restore it")
    is_going = any(is_held(one.path) for one in view.trainings.values())
    finished = sum(one.scores.is_file() for one in view.trainings.values())
    trainings = f"{finished} training{'' if finished == 1 else 's'}"
    if view.result:
        status = f"The comparison is over: {trainings}, scored on {view.result.get('split', 'test')} images."
    elif is_going:
        status = f"The comparison is going on: {trainings} finished so far."
    else:
        status = f"The comparison was stopped with {trainings} finished: the same command goes on."
    try:
        sections = (
            ("scores", "Scores", list(_scores(view))),
            ("curves", "Training curves", list(_curves(view))),
            ("networks", "Networks", list(_networks(view))),
            ("again", "Compare them again", list(_again(view))),
        )
    except MALFORMED as error:
        if isinstance(error, SpnasError):
            raise
        raise ConfigError(f"{folder} holds no comparison that can be read ({error}): run it again") from error
    made = tuple(Section(anchor, title, Markup("").join(body)) for anchor, title, body in sections)
    count = ("architectures", str(len(view.settings))), ("trainings", str(finished))
    return Report(folder, "comparison", str(folder), status, made, count, is_going=is_going)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, *MALFORMED) as error:
        raise ConfigError(f"{path} cannot be read ({error}): restore it") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds no comparison: restore it")
    return found


def _scores(view: _View) -> Iterator[Markup]:
    """Scores, means and differences; before the end the scores that there are."""
    if not view.result:
        yield from _scores_so_far(view)
        return
    metric, rows = view.result["metric"], view.result["architectures"]
    seeds = [f"seed {seed}" for seed in view.result["seeds"]]
    ends = [end for row in rows for end in _ends(row["difference"])]
    low, high = min(0.0, *ends, 0.0), max(0.0, *ends, 0.0)
    device = view.result.get("latency_device")
    measured = [] if device is None else [f"latency on {device}"]
    columns = (
        *(Column("architecture"), *numbers("parameters", "multiply-adds", *measured, *seeds, f"mean {metric}")),
        *(*numbers("difference to first"), Column("with its 95 % interval")),
    )
    shown = []
    for row in rows:
        difference, picture = row["difference"], Markup("")
        if difference is not None and difference["mean"] is not None:
            picture = interval(difference["mean"], _half(difference), low, high)
        shown.append(
            Row(
                (
                    *(row["architecture"], amount(row["parameters"]), amount(row["multiply_adds"])),
                    *([] if device is None else [f"{row['latency']['median']:.1f} ms"]),
                    *map(number, row["scores"]),
                    _interval(row["mean"]),
                    "" if difference is None else _interval(difference, signed=True),
                    picture,
                )
            )
        )
    yield table(columns, shown)
    first = rows[0]["architecture"]
    for row in rows[1:]:
        yield paragraph(difference_sentence(row, first, higher_is_better=view.result.get("higher_is_better", True)))
    yield paragraph(
        "± is half of a 95 % interval (Student's t); differences are between trainings of one seed.", kind="note"
    )


def _scores_so_far(view: _View) -> Iterator[Markup]:
    rows = []
    for (place, seed), one in view.trainings.items():
        scores = read_scored(one).get("scores", {})
        name = next(iter(scores), "")
        score = f"{name} {number(scores[name])}" if name else "not finished"
        rows.append(Row((str(view.settings[place - 1]["architecture"]), str(seed), score)))
    yield table((Column("architecture"), *numbers("seed", "score")), rows)


def _half(interval_: Mapping[str, Any]) -> float | None:
    return None if interval_["low"] is None else (interval_["high"] - interval_["low"]) / 2


def _ends(interval_: Mapping[str, Any] | None) -> list[float]:
    found = [] if interval_ is None else [interval_["mean"], interval_["low"], interval_["high"]]
    return [end for end in found if end is not None and math.isfinite(end)]


def _interval(interval_: Mapping[str, Any], *, signed: bool = False) -> str:
    if interval_["mean"] is None:
        return UNDEFINED
    half = _half(interval_)
    return number(interval_["mean"], signed=signed) + ("" if half is None else f" ± {number(half)}")


def _curves(view: _View) -> Iterator[Markup]:
    lines = {key: curve(read_curves(one.path), LOSS) for key, one in view.trainings.items()}
    if not any(lines.values()):
        yield paragraph("No step is noted yet.", kind="note")
        return
    first = view.settings[0]["architecture"]
    marks = [Line(points, "plain" if place == 1 else "strong") for (place, _), points in lines.items()]
    caption = f"A line per training; grey: {first}, the first; blue: the others."
    yield draw_chart("loss by step", marks, x="step", y="loss", caption=caption)


def _networks(view: _View) -> Iterator[Markup]:
    figures = []
    for one in view.settings:
        width, height = one.get("image_size") or (224, 224)
        architecture = read_network(one["architecture"])
        if isinstance(architecture, Architecture):
            figures.append(drawing(draw_network(architecture, (width, height))))
    yield side_by_side(*figures)


def _again(view: _View) -> Iterator[Markup]:
    codes = " ".join(shlex.quote(str(one["architecture"])) for one in view.settings)
    seeds = len({seed for _, seed in view.trainings}) or 1
    given = {**view.settings[0], "data": view.plan.get("data", view.settings[0].get("data", "shapes"))}
    yield paragraph("The same comparison once more:")
    lines = [
        f"spnas compare {codes}",
        f"--seeds {seeds}",
        *assignments(given),
        f"--out {shlex.quote(str(view.folder))}-again",
    ]
    yield command(
        *(f"  {line} \\" if place else f"{line} \\" for place, line in enumerate(lines[:-1])), f"  {lines[-1]}"
    )
    inits = [f"{one['architecture']} with {one['init']}" for one in view.settings if "init" in one]
    if inits:
        yield paragraph(f"These began with weights, which the command does not name: {'; '.join(inits)}.", kind="note")
