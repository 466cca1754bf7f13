"""``spnas train``: train one architecture, for good."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from spnas_core.commands.log_json import JsonLog, log_json_option
from spnas_core.commands.parameters import IMAGE_SIZE, PATH, REFERENCE, WRITTEN, cache_option
from spnas_core.commands.stopping import SIGNAL_CODE, ending_with
from spnas_core.commands.wording import counted, quoted
from spnas_core.configuration import validate
from spnas_core.errors import EvaluationError, SpnasError
from spnas_core.once import reading_once
from spnas_detect.commands.assembling import assembled, train_settings
from spnas_detect.commands.progress import TrainProgress
from spnas_detect.commands.scores import score_tables
from spnas_detect.folders import explained_writing
from spnas_detect.jobs import TrainFolder, TrainingResult, TrainSettings, train
from spnas_detect.jobs.completion import suited_settings
from spnas_detect.processes import is_first_process, started_by_torchrun

_Command = TypeVar("_Command", bound=Callable[..., Any])

SHARED_OPTIONS = (
    click.option(
        "--preset",
        metavar="NAME",
        help="Settings by name ('spnas presets' lists them), or a file of such; all others go on top.",
    ),
    click.option(
        "--data",
        help="Data set, such as shapes, voc:PATH or coco:PATH; to go on, where it lies now.  [default: shapes, or the "
        "run's]",
    ),
    click.option(
        "--data-option", "data_options", metavar="KEY=VALUE", multiple=True, help="Option of the kind of data."
    ),
    click.option("--detector", help="Registered detector.  [default: faster-rcnn, or the run's]"),
    click.option("--neck", help="Registered neck.  [default: fpn, or the run's]"),
    click.option("--epochs", type=click.IntRange(1), help="Epochs to train.  [default: 12, or the preset's]"),
    click.option(
        "--image-size",
        type=IMAGE_SIZE,
        help="Canvas that images are scaled to.  [default: the run's, or chosen by the data]",
    ),
    click.option(
        "--init",
        metavar="FILE",
        help="Weights to start from: FILE.safetensors, torchvision[-backbone]:FILE, or of a network by name timm:FILE.",
    ),
    click.option("--fresh", is_flag=True, help="Start from fresh weights, not from the candidate's."),
    click.option(
        "--norm", type=click.Choice(["batch", "sync", "group", "frozen"]), help="What normalises the features."
    ),
    click.option("--seed", type=click.IntRange(0), help="Of everything random.  [default: 0]"),
    click.option("--devices", type=click.IntRange(1), help="Processes that train together.  [default: 1]"),
    click.option(
        "--score-every", type=click.IntRange(0), help="Epochs between two scores on validation images; 0: none."
    ),
    click.option(
        "--metric", "metrics", multiple=True, help="Registered metric; may be repeated.  [default: coco, or the run's]"
    ),
    cache_option,
    log_json_option,
    click.option("--config", type=PATH, help="TOML file with settings, as in train.toml."),
    click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="One setting; may be repeated."),
)
"""Of every command that trains."""


def training_options(command: _Command) -> _Command:
    """Give a command the options that every training has."""
    for option in reversed(SHARED_OPTIONS):
        command = option(command)
    return command


@click.command(name="train")
@click.argument("reference", metavar="CODE|RUN[:ID]", required=False, type=REFERENCE)
@training_options
@click.option("--test", "split", flag_value="test", help="Score on test images at the end.  [default]")
@click.option("--validation", "split", flag_value="validation", help="Score on validation images at the end.")
@click.option("--out", type=WRITTEN, help="Folder of the training.  [default: trainings/CODE]")
@click.option("--resume", is_flag=True, help="Go on with the training in --out.")
def train_command(
    reference: str | None,
    *,
    out: Path | None,
    resume: bool,
    cache: Path | None,
    log_json: JsonLog | None,
    **given: Any,
) -> None:
    """Train a detector on the backbone CODE, or on a candidate of a search and from its weights.

    Of a RUN the best candidate is taken, or the one named by ID; its data set, detector and training settings are the
    defaults. What a training needs to go on is saved as it goes, and when it is stopped, be it by Ctrl-C,
    by SIGTERM or by the end of its terminal.

    \b
    Example: spnas train b@16_11-21-21-21 --data voc:VOCdevkit/VOC2007 --epochs 24 --out trainings/voc
    Example: spnas train --preset r50-1x --init torchvision:resnet50.pth --data coco:COCO --devices 8
    Example: spnas train runs/serial:7 --epochs 36 --devices 2
    Example: spnas train --out trainings/voc --resume
    """
    if resume and out is None:
        raise click.UsageError("--resume needs the folder of the training: --out DIR")
    with reading_once():
        _train(reference, out, given, TrainProgress(log=log_json), resume=resume, cache=cache)


def _train(
    reference: str | None,
    out: Path | None,
    given: dict[str, Any],
    progress: TrainProgress,
    *,
    resume: bool,
    cache: Path | None,
) -> None:
    """Train, and show what came of it."""
    if resume and out is not None:
        if given["preset"] is not None:
            raise click.UsageError("--resume takes its settings from the training: leave out --preset")
        settings, folder = train_settings(reference, given, TrainFolder(out)), out
    else:
        settings, folder = _new_settings(assembled(reference, given, None), out, progress)
    go_on = f"Go on with: spnas train --out {quoted(folder)} --resume"
    try:
        with ending_with(
            lambda: progress.message(f"Stopped. {go_on}" if TrainFolder(folder).has_begun else "Stopped.")
        ):
            result = train(settings, folder, resume=resume, monitor=progress, cache=cache)
    except EvaluationError as error:
        raise SpnasError(str(error)) from error
    if result.stopped_by:
        progress.message(f"Stopped after step {result.step} of {result.steps}. {go_on}")
        sys.exit(SIGNAL_CODE + result.stopped_by)
    if result.scores:
        report(result, settings, progress)
    if progress.log is not None:
        progress.log.event("finished", folder=folder, split=result.split, scores=result.scores)


def _new_settings(values: dict[str, Any], out: Path | None, progress: TrainProgress) -> tuple[TrainSettings, Path]:
    """Choose what the settings of a new training leave open, and say it; return them and the training's folder."""
    folder = out or Path("trainings") / validate(TrainSettings, values).architecture
    if not started_by_torchrun():  # where others may have begun
        with explained_writing(folder):
            TrainFolder(folder).check_new()
    settings, remarks = suited_settings(values)
    if is_first_process():
        for remark in remarks:
            progress.message(remark)
    return settings, folder


def report(result: TrainingResult, settings: TrainSettings, progress: TrainProgress) -> None:
    """Show the scores, and what to type next."""
    after = counted(settings.epochs * result.step // result.steps, "epoch")
    progress.message(f"{settings.architecture} on {result.split} images, after {after}")
    for table in score_tables(result.scores):
        progress.console.show(table)
    progress.message(f"Weights: {result.weights}")
    progress.message(f"Look at what it finds: spnas predict {quoted(result.weights)} IMAGE… --out found")
