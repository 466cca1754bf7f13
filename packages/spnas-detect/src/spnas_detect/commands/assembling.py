"""From what was typed to settings: those of a run or training, over these a preset, a file, options, and ``--set``."""

from collections.abc import Mapping
from typing import Any

import click

from spnas_core.backbones import read_reference
from spnas_core.configuration import read_toml, set_key, set_value, validate
from spnas_core.errors import ConfigError
from spnas_core.presets import find_preset, for_data, laid_over
from spnas_core.tasks import resolve_candidate
from spnas_detect.commands.options import read_options
from spnas_detect.jobs import TrainFolder, TrainSettings
from spnas_detect.jobs.presets import training_values
from spnas_detect.suiting import for_other_data

PLAIN = ("data", "epochs", "image_size", "init", "seed", "devices", "score_every")
NESTED = {"detector": "detector.detector", "neck": "detector.neck", "norm": "training.norm"}


def train_settings(reference: str | None, given: Mapping[str, Any], before: TrainFolder | None) -> TrainSettings:
    """Put the settings together and check them; nothing is chosen that is not there.

    Args:
        reference: CODE or RUN[:ID]; None where the settings name the architecture.
        given: the command's options by name, None where they are left out.
        before: folder of the training to go on with.

    Raises:
        SpnasError: whatever is wrong, in one line.
    """
    return validate(TrainSettings, assembled(reference, given, before))


def assembled(reference: str | None, given: Mapping[str, Any], before: TrainFolder | None) -> dict[str, Any]:
    """Put the settings together: those of the resumed training or of the run, the preset's, the file's, the options'.

    Args:
        reference: CODE or RUN[:ID]; None where the settings name the architecture.
        given: the command's options by name, None where they are left out.
        before: folder of the training to go on with.

    Returns:
        Plain values, not checked.

    Raises:
        SpnasError: whatever is wrong, in one line.
    """
    found = {} if reference is None else referred(reference, fresh=given["fresh"])
    if before is None:
        return completed(found, given)
    return completed(laid_over(before.read_settings().as_dict(), found), given, is_resumed=True)


def completed(values: Mapping[str, Any], given: Mapping[str, Any], *, is_resumed: bool = False) -> dict[str, Any]:
    """Put the preset's settings, the file's, the options' and those of ``--set`` over what is there already.

    The preset's architecture and weights give way to those that are there. Where a run's settings are there, and its
    data was the demonstration's, other data does not take over what is chosen by the data.

    Args:
        values: of a run or training, or of an architecture alone.
        given: the command's options by name, None where they are left out.
        is_resumed: whether they are of the training that goes on.

    Raises:
        SpnasError: whatever is wrong, in one line.
    """
    if given["fresh"] and given["init"]:
        raise click.UsageError("--fresh and --init contradict each other: leave one out")
    own: dict[str, Any] = {} if given["config"] is None else read_toml(given["config"])
    _apply_options(own, given)
    if given["preset"] is not None:
        preset = for_data(training_values(find_preset(given["preset"])), own.get("data"))
        own = laid_over({key: preset[key] for key in preset if key not in BEGINNING or key not in values}, own)
    found = laid_over(values if is_resumed else for_other_data(values, own.get("data")), own)
    if given["fresh"]:
        found.pop("init", None)
    if "architecture" not in found:
        raise click.UsageError("what shall be trained? give an architecture CODE, or RUN[:ID] of a search")
    return found


BEGINNING = ("architecture", "init")
"""What a training begins with."""


def referred(reference: str, *, fresh: bool) -> dict[str, Any]:
    """Return the settings that a CODE, or a candidate of a run, stands for.

    Raises:
        SpnasError: it is neither, or the candidate's weights are gone or were altered.
    """
    candidate = resolve_candidate(reference)
    if candidate is None:
        return {"architecture": str(read_reference(reference))}
    task = candidate.settings.get("name", "detection")
    if task != "detection":
        raise ConfigError(f"{reference} is of a search with the task {task!r}: only detectors can be trained here")
    values = {"architecture": candidate.architecture, **candidate.settings}
    if fresh:
        return values
    weights = candidate.intact_weights()
    if weights is None:
        raise ConfigError(f"the weights of {reference} were not kept: train it with --fresh, or name another candidate")
    return {**values, "init": str(weights)}


def _apply_options(own: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Let the command's options win over what the file has."""
    plain = {"split": "score_split", **{key: key for key in PLAIN}}
    own |= {key: given[option] for option, key in plain.items() if given[option] is not None}
    if given["metrics"]:
        own["metrics"] = given["metrics"]
    for key, value in read_options(given["data_options"]).items():
        set_value(own, f"data_options.{key}", value)
    for option, key in NESTED.items():
        if given[option] is not None:
            set_value(own, key, given[option])
    for assignment in given["assignments"]:
        set_key(own, assignment)
