"""``spnas train``: train one architecture, for good."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from spnas_core.commands.parameters import IMAGE_SIZE
from spnas_core.configuration import read_toml, set_key, set_value, validate
from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError, ConfigError, EvaluationError, SpnasError
from spnas_core.plugins import plugin_manager
from spnas_detect.commands.options import read_options
from spnas_detect.commands.progress import TrainProgress
from spnas_detect.commands.scores import score_table
from spnas_detect.jobs import TrainFolder, TrainingResult, TrainSettings, train

SIGNAL_CODE = 128
_Command = TypeVar("_Command", bound=Callable[..., Any])
PLAIN = ("data", "epochs", "image_size", "init", "seed", "devices", "score_every")
NESTED = {"detector": "detector.detector", "neck": "detector.neck", "norm": "training.norm"}

SHARED_OPTIONS = (
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
    click.option("--epochs", type=click.IntRange(1), help="Epochs to train.  [default: 12]"),
    click.option("--image-size", type=IMAGE_SIZE, help="Canvas that images are scaled to, in pixels."),
    click.option("--init", metavar="FILE", help="Weights to start from: torchvision:FILE or FILE.safetensors."),
    click.option("--fresh", is_flag=True, help="Start from fresh weights, not from the candidate's."),
    click.option(
        "--norm", type=click.Choice(["batch", "sync", "group", "frozen"]), help="What normalises the features."
    ),
    click.option("--seed", type=click.IntRange(0), help="Of everything random.  [default: 0]"),
    click.option("--devices", type=click.IntRange(1), help="Processes that train together.  [default: 1]"),
    click.option(
        "--score-every", type=click.IntRange(0), help="Epochs between two scores on validation images; 0: none."
    ),
    click.option("--metric", "metrics", multiple=True, help="Registered metric; may be repeated.  [default: coco]"),
    click.option("--config", type=click.Path(path_type=Path), help="TOML file with settings, as in train.toml."),
    click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="One setting; may be repeated."),
)
"""Of every command that trains."""


def training_options(command: _Command) -> _Command:
    """Give a command the options that every training has."""
    for option in reversed(SHARED_OPTIONS):
        command = option(command)
    return command


@click.command(name="train")
@click.argument("reference", metavar="CODE|RUN[:ID]", required=False)
@training_options
@click.option("--test", "split", flag_value="test", help="Score on test images at the end.  [default]")
@click.option("--validation", "split", flag_value="validation", help="Score on validation images at the end.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the training.  [default: trainings/CODE]")
@click.option("--resume", is_flag=True, help="Go on with the training in --out.")
def train_command(reference: str | None, *, out: Path | None, resume: bool, **given: Any) -> None:
    """Train a detector on the backbone CODE, or on a candidate of a search and from its weights.

    Of a RUN the best candidate is taken, or the one named by ID; its data set, detector and training settings are the
    defaults. What a training needs to go on is saved as it goes, and when it is stopped by Ctrl-C or SIGTERM.

    \b
    Example: spnas train b@16_11-21-21-21 --data voc:VOCdevkit/VOC2007 --epochs 24 --out trainings/voc
    Example: spnas train runs/serial:7 --epochs 36 --devices 2
    Example: spnas train --out trainings/voc --resume
    """
    if resume and out is None:
        raise click.UsageError("--resume needs the folder of the training: --out DIR")
    settings = train_settings(reference, given, TrainFolder(out) if resume and out is not None else None)
    folder = out or Path("trainings") / settings.architecture
    progress = TrainProgress()
    try:
        result = train(settings, folder, resume=resume, monitor=progress)
    except EvaluationError as error:
        raise SpnasError(str(error)) from error
    if result.stopped_by:
        progress.message(
            f"Stopped after step {result.step} of {result.steps}. Go on with: spnas train --out {folder} --resume"
        )
        sys.exit(SIGNAL_CODE + result.stopped_by)
    if result.scores:
        report(result, settings, progress)


def report(result: TrainingResult, settings: TrainSettings, progress: TrainProgress) -> None:
    """Show the scores, and what to type next."""
    progress.message(f"{settings.architecture} on {settings.score_split} images, after {settings.epochs} epochs")
    progress.console.show(score_table(result.scores))
    progress.message(f"Weights: {result.weights}")
    progress.message(f"Look at what it finds: spnas predict {result.weights} IMAGE… --out found")


def train_settings(reference: str | None, given: dict[str, Any], before: TrainFolder | None) -> TrainSettings:
    """Put the settings together: those of the resumed training or of the run, the file's, the options', ``--set``.

    Args:
        reference: CODE or RUN[:ID]; None where the settings name the architecture.
        given: the command's options by name, None where they are left out.
        before: folder of the training to go on with.

    Raises:
        SpnasError: whatever is wrong, in one line.
    """
    values: dict[str, Any] = before.read_settings().as_dict() if before is not None else {}
    if reference is not None:
        merge(values, referred(reference, fresh=given["fresh"]))
    return completed(values, given)


def completed(values: dict[str, Any], given: dict[str, Any]) -> TrainSettings:
    """Put the file's settings, the options' and those of ``--set`` over what is there already.

    Raises:
        SpnasError: whatever is wrong, in one line.
    """
    if given["fresh"] and given["init"]:
        raise click.UsageError("--fresh and --init contradict each other: leave one out")
    if given["config"] is not None:
        merge(values, read_toml(given["config"]))
    _apply_options(values, given)
    if "architecture" not in values:
        raise click.UsageError("what shall be trained? give an architecture CODE, or RUN[:ID] of a search")
    return validate(TrainSettings, values)


def referred(reference: str, *, fresh: bool) -> dict[str, Any]:
    """Return the settings that a CODE, or a candidate of a run, stands for.

    Raises:
        SpnasError: it is neither, or the candidate's weights are gone.
    """
    candidate = plugin_manager().hook.spnas_resolve_candidate(reference=reference)
    if candidate is None:
        try:
            return {"architecture": str(Architecture.parse(reference))}
        except CodeError as error:
            if "/" in reference or Path(reference.rpartition(":")[0] or reference).exists():
                raise ConfigError(f"{reference!r} is no run of a search, and no architecture code: {error}") from error
            raise
    task = candidate.settings.get("name", "detection")
    if task != "detection":
        raise ConfigError(f"{reference} is of a search with the task {task!r}: only detectors can be trained here")
    values = {"architecture": candidate.architecture, **candidate.settings}
    if fresh:
        return values
    if candidate.weights is None:
        raise ConfigError(f"the weights of {reference} were not kept: train it with --fresh, or name another candidate")
    return {**values, "init": str(candidate.weights)}


def _apply_options(values: dict[str, Any], given: dict[str, Any]) -> None:
    """Let the command's options win over what the settings were so far."""
    plain = {"split": "score_split", **{key: key for key in PLAIN}}
    values |= {key: given[option] for option, key in plain.items() if given[option] is not None}
    if given["metrics"]:
        values["metrics"] = given["metrics"]
    if given["data_options"]:
        values["data_options"] = {**values.get("data_options", {}), **read_options(given["data_options"])}
    if given["fresh"]:
        values.pop("init", None)
    for option, key in NESTED.items():
        if given[option] is not None:
            set_value(values, key, given[option])
    for assignment in given["assignments"]:
        set_key(values, assignment)


def merge(values: dict[str, Any], more: dict[str, Any]) -> None:
    """Put values over others, table by table."""
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict) and key != "data_options":
            merge(values[key], value)
        else:
            values[key] = value
