"""``spnas compare``: which of several architectures is better, and how sure that is."""

import sys
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.json_text import to_json
from spnas_core.commands.log_json import JsonLog
from spnas_core.commands.parameters import REFERENCE, WRITTEN
from spnas_core.commands.stopping import SIGNAL_CODE, ending_with
from spnas_core.commands.tables import make_table
from spnas_core.commands.wording import amount, number
from spnas_core.configuration import validate
from spnas_core.errors import ConfigError, EvaluationError, SpnasError
from spnas_core.once import reading_once
from spnas_core.presets import laid_over
from spnas_detect.commands.assembling import BEGINNING, completed, referred
from spnas_detect.commands.progress import TrainProgress
from spnas_detect.commands.train import training_options
from spnas_detect.jobs import TrainingResult, TrainSettings, flattened
from spnas_detect.jobs.comparison import Comparison, begun_with, difference_sentence
from spnas_detect.jobs.comparison import compare as run_comparison
from spnas_detect.jobs.completion import suited_settings
from spnas_detect.metrics.intervals import Interval

CHOSEN = ("image_size", "detector")
"""Settings in which something may be chosen by the data."""


@click.command(name="compare")
@click.argument("references", metavar="CODE|RUN[:ID]…", nargs=-1, required=True, type=REFERENCE)
@training_options
@click.option(
    "--seeds", type=click.IntRange(1), default=3, show_default=True, help="Trainings of each; --seed is the first."
)
@click.option(
    "--latency", metavar="DEVICE", help="Measure how long each backbone takes for one image, on cpu, cuda or cuda:1."
)
@click.option("--accept-versions", is_flag=True, help="Go on although other versions of the packages are installed.")
@click.option("--out", type=WRITTEN, default=Path("comparison"), show_default=True, help="Folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, and nothing else.")
def compare(
    references: tuple[str, ...],
    *,
    seeds: int,
    latency: str | None,
    accept_versions: bool,
    out: Path,
    cache: Path | None,
    as_json: bool,
    log_json: JsonLog | None,
    **given: Any,
) -> None:
    """Train architectures alike, several seeds each, and compare their scores on test images.

    Differences are to the first architecture and between trainings of the same seed. Given again, a command that was
    stopped goes on: finished trainings are read back.

    \b
    Example: spnas compare b@16_11-21-21-21 b@16_11-2-1212-1 --data voc:VOCdevkit/VOC2007 --seeds 5 --out comparison
    Example: spnas compare runs/serial:7 b@16_11-21-21-21 --fresh --epochs 24
    """
    progress = TrainProgress(stderr=as_json, log=log_json)
    try:
        with ending_with(lambda: progress.message("Stopped. Go on by the same command.")), reading_once():
            settings, remarks = compared_settings(references, given, out)
            for remark in remarks:
                progress.message(remark)
            result = run_comparison(
                settings,
                seeds,
                out,
                monitor=progress,
                cache=cache,
                latency_on=latency,
                accept_versions=accept_versions,
            )
    except EvaluationError as error:
        raise SpnasError(str(error)) from error
    if isinstance(result, TrainingResult):
        progress.message(f"Stopped in {result.folder}. Go on by the same command.")
        sys.exit(SIGNAL_CODE + result.stopped_by)
    if log_json is not None:
        log_json.event("finished", folder=out, **result.as_dict())
    if as_json:
        click.echo(to_json(result.as_dict()))
        return
    progress.console.show(comparison_table(result))
    for line in verdicts(result):
        progress.message(line)


def compared_settings(
    references: tuple[str, ...], given: dict[str, Any], out: Path
) -> tuple[list[TrainSettings], tuple[str, ...]]:
    """Return the settings of every architecture; a run's are the defaults of all.

    What nobody has set is chosen to suit the data and the first architecture, for all of them alike; where the
    comparison goes on, it is what was chosen in the beginning.

    Returns:
        The settings, and what was chosen and why.

    Raises:
        SpnasError: a reference is wrong, or they would not be trained alike.
    """
    if len(references) < 2:
        raise click.UsageError("a comparison needs two architectures or more")
    found = [referred(reference, fresh=given["fresh"]) for reference in references]
    shared: dict[str, Any] = {}
    for values in reversed(found):
        shared = laid_over(shared, {key: value for key, value in values.items() if key not in BEGINNING})
    given = {**given, "split": "test"}
    wanted, settings = [], []
    for reference, values in zip(references, found, strict=True):
        mine = {key: values[key] for key in BEGINNING if key in values}
        wanted.append(completed({**shared, **mine}, given))
        settings.append(validate(TrainSettings, wanted[-1]))
        if len(values) > len(mine):
            _check_alike(reference, validate(TrainSettings, completed(values, given)), settings[-1])
        if settings[-1].architecture != mine["architecture"]:
            raise ConfigError("the settings name an architecture: leave it out, those to compare are the arguments")
        if settings[-1].score_split != "test":
            raise ConfigError("score_split is 'validation': leave it out, a comparison scores on test images")
    if len({one.init is None for one in settings}) > 1:
        raise ConfigError("some would start from a candidate's weights and some from fresh ones: give --fresh")
    if len({(one.architecture, one.init) for one in settings}) < len(settings):
        raise ConfigError("an architecture is given twice: name each once")
    first, remarks = suited_settings(laid_over(begun_with(out), wanted[0]))
    chosen = {key: first.as_dict()[key] for key in CHOSEN}
    return [validate(TrainSettings, laid_over(values, chosen)) for values in wanted], remarks


def _check_alike(reference: str, wanted: TrainSettings, used: TrainSettings) -> None:
    """Refuse a run whose settings are not those of the comparison."""
    theirs, ours = flattened(wanted.as_dict()), flattened(used.as_dict())
    for key in sorted(theirs.keys() | ours.keys()):
        if theirs.get(key) != ours.get(key):
            raise ConfigError(
                f"{reference} has {key} = {theirs.get(key)!r}, and another run {ours.get(key)!r}: "
                f"say which by --set {key}=…"
            )


def comparison_table(result: Comparison) -> Table:
    """Return a row per architecture."""
    seeds = [f"seed {seed}" for seed in result.seeds]
    measured = [] if result.latency_device is None else [f"latency on {result.latency_device}"]
    counted = numbers("parameters", "multiply-adds", *measured, *seeds, f"mean {result.metric}", "difference to first")
    title = f"{result.metric} on {result.split} images" + ("" if result.higher_is_better else ", lower is better")
    table = make_table((Column("architecture"), *counted), title=title, turns=True)
    for one in result.compared:
        table.add_row(
            one.architecture,
            amount(one.parameters),
            amount(one.multiply_adds),
            *([] if one.latency is None else [f"{one.latency.median:.1f} ms"]),
            *map(number, one.scores),
            _interval(one.mean),
            "" if one.difference is None else _interval(one.difference, signed=True),
        )
    return table


def verdicts(result: Comparison) -> list[str]:
    """Say what the intervals mean."""
    lines = ["Parameters and multiply-adds are the backbone's; ± is half of a 95 % interval (Student's t)."]
    if len(result.seeds) == 1:
        lines.append("One seed allows no interval: give --seeds 2 or more.")
        return lines
    first, *others = result.as_dict()["architectures"]
    lines += [
        difference_sentence(row, first["architecture"], higher_is_better=result.higher_is_better) for row in others
    ]
    return lines


def _interval(interval: Interval, *, signed: bool = False) -> str:
    mean = number(interval.mean, signed=signed)
    return mean if interval.half is None else f"{mean} ± {number(interval.half)}"
