"""The report of a training."""

import json
import math
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from spnas_core.backbones import read_network
from spnas_core.commands.wording import amount, duration, number
from spnas_core.configuration import read_toml
from spnas_core.cost import backbone_cost
from spnas_core.drawing import draw_network
from spnas_core.encoding import Architecture
from spnas_core.errors import MALFORMED, ConfigError, SpnasError
from spnas_core.lock import is_held
from spnas_core.pages import Report, Row, Section, command, details, drawing, facts, paragraph, table
from spnas_detect.commands.scores import score_rows
from spnas_detect.jobs.folder import TrainFolder
from spnas_detect.reporting.curves import Scalars, loss_chart, read_curves, score_chart


def report_training(reference: str) -> Report | None:
    """Report on a training; None where the folder holds none.

    Raises:
        ConfigError: its files were altered.
    """
    folder = TrainFolder(Path(reference))
    if not folder.config.is_file():
        return None
    settings, scored = read_toml(folder.config), read_scored(folder)
    scalars, is_going = read_curves(folder.path), is_held(folder.path)
    scores = scored.get("scores", {})
    main = next(iter(scores), "AP")
    sections = (
        ("scores", "Scores", list(_scores(scored))),
        ("curves", "Training curves", [*loss_chart(scalars), *score_chart(scalars, main)]),
        ("network", "Network", list(_network(settings))),
        ("again", "Train it again", list(_again(folder, settings, is_over=bool(scored)))),
    )
    return Report(
        folder.path,
        "training",
        str(folder.path),
        _status(scored, scalars, is_going=is_going),
        tuple(Section(anchor, title, Markup("").join(body)) for anchor, title, body in sections),
        tuple(_facts(settings, scored, main)),
        is_going=is_going,
    )


def read_scored(folder: TrainFolder) -> Mapping[str, Any]:
    """Read the scores of a training's folder; empty where it has not come to its end.

    Raises:
        ConfigError: the file was altered.
    """
    if not folder.scores.is_file():
        return {}
    try:
        found = json.loads(folder.scores.read_text(encoding="utf-8"))
        scores = {str(name): math.nan if value is None else float(value) for name, value in found["scores"].items()}
        return {"split": str(found["split"]), "seconds": float(found.get("seconds", math.nan)), "scores": scores}
    except (OSError, *MALFORMED) as error:
        raise ConfigError(f"{folder.scores} holds no scores ({error}): restore it, or train again") from error


def _status(scored: Mapping[str, Any], scalars: Scalars, *, is_going: bool) -> str:
    step = f"step {scalars[-1]['step']:.0f}" if scalars else "its first steps"
    if scored:
        return f"The training is over, and scored on {scored['split']} images."
    return f"The training is going on, at {step}." if is_going else f"The training was stopped at {step}."


def _facts(settings: Mapping[str, Any], scored: Mapping[str, Any], main: str) -> Iterator[tuple[str, str]]:
    yield "architecture", str(settings.get("architecture", "–"))
    if scored:
        yield f"{main} on {scored['split']} images", number(scored["scores"].get(main))
        yield "time", duration(scored["seconds"])
    yield "epochs", str(settings.get("epochs", "–"))


def _scores(scored: Mapping[str, Any]) -> Iterator[Markup]:
    if not scored:
        yield paragraph("They come when the training is over.", kind="note")
        return
    for columns, rows in score_rows(scored["scores"]):
        yield table(columns, [Row(row, is_marked=place == 0) for place, row in enumerate(rows)])
    yield paragraph(f"On {scored['split']} images.", kind="note")


def _network(settings: Mapping[str, Any]) -> Iterator[Markup]:
    size = settings.get("image_size")
    width, height = size if isinstance(size, list) and len(size) == 2 else (224, 224)
    try:
        architecture = read_network(str(settings.get("architecture", "")))
        cost = backbone_cost(architecture, width, height)
        figure = draw_network(architecture, (width, height)) if isinstance(architecture, Architecture) else None
    except (SpnasError, TypeError, ValueError) as error:
        yield paragraph(str(error), kind="note")
        return
    activations = f"{amount(cost.activation_bytes)}B of activations"
    if figure is None:
        counts = f"{amount(cost.parameters)} parameters, {amount(cost.multiply_adds)} multiply-adds"
        yield paragraph(f"{architecture}: {counts}, {activations}")
    else:
        yield drawing(figure, activations)
    found = settings.get("detector")
    detector = found if isinstance(found, dict) else {}
    chosen = ("detector", "neck", "neck_channels", "head_channels", "anchor_scales", "aspect_ratios")
    yield facts([(name.replace("_", " "), str(detector[name])) for name in chosen if name in detector])


def _again(folder: TrainFolder, settings: Mapping[str, Any], *, is_over: bool) -> Iterator[Markup]:
    path, config = shlex.quote(str(folder.path)), shlex.quote(str(folder.config))
    yield paragraph("The same training once more:")
    yield command(f"spnas train --config {config} --out {path}-again")
    if is_over:
        yield paragraph("To use it:")
        yield command(f"spnas predict {path} IMAGE…", f"spnas evaluate {path}")
    else:
        yield paragraph("To go on with this one:")
        yield command(f"spnas train --out {path} --resume")
    yield facts([(name, str(settings[name])) for name in ("data", "seed", "devices", "init") if name in settings])
    text = folder.config.read_text(encoding="utf-8", errors="replace")
    yield details(folder.config.name, command(*text.splitlines()))
