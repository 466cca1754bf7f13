"""From what was typed to a run's configuration; the options that every command has which begins a search."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from spnas_core.commands.parameters import PATH, REFERENCE
from spnas_core.configuration import read_assignment
from spnas_core.presets import find_preset, laid_over
from spnas_search.settings import DEFAULTS, moved, over_preset, read_toml, search_values, set_key, set_value
from spnas_search.starting_points import names_run, starting_point, task_of

_Command = TypeVar("_Command", bound=Callable[..., Any])

OPTIONS = (
    click.option(
        "--data",
        help="Data set: shapes, or {voc,coco,ecp,yolo,folder}:PATH; with --resume, where it lies now.",
    ),
    click.option(
        "--data-option", "data_options", metavar="KEY=VALUE", multiple=True, help="Option of the kind of data."
    ),
    click.option("--start", metavar="CODE", help="Architecture to start from."),
    click.option(
        "--init", metavar="FILE", help="Weights to start from: FILE.safetensors or torchvision[-backbone]:FILE."
    ),
    click.option(
        "--from",
        "origin",
        metavar="RUN[:ID]|CODE",
        type=REFERENCE,
        help="Start from the best or one candidate of a run, or a code; on the run's data, where no other is named.",
    ),
    click.option(
        "--preset",
        metavar="NAME",
        help="Settings by name ('spnas presets' lists them), or a file of such; all others go on top.",
    ),
    click.option("--config", type=PATH, help="TOML file with settings."),
    click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="One setting; may be repeated."),
    click.option("--latency-device", metavar="DEVICE", help="Where space.max_latency is measured: cpu, cuda, cuda:1."),
    click.option(
        "--asynchronous",
        is_flag=True,
        help="Propose a child whenever a worker is free, instead of rounds; the same seed may then search otherwise.",
    ),
    click.option("--from-scratch", is_flag=True, help="Let the verdict train start and winner from scratch, too."),
    click.option("--fresh", is_flag=True, help="Train the winner of a full search from fresh weights in the end."),
)
"""Of every command that begins a search, or looks ahead to one."""


def search_options(command: _Command) -> _Command:
    """Give a command the options that decide what is searched, and how."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def assembled(
    strategy: str | None,
    *,
    data: str | None,
    data_options: Sequence[str],
    start: str | None,
    init: str | None,
    origin: str | None,
    preset: str | None,
    config: Path | None,
    assignments: Sequence[str],
    latency_device: str | None,
    asynchronous: bool,
    from_scratch: bool,
    fresh: bool,
) -> dict[str, Any]:
    """Put the configuration together: a preset's, a file's, the options' and those of ``--set``; the later ones win.

    Raises:
        SpnasError: a file, a preset, a run or an assignment that cannot be read.
        click.UsageError: two options say where the search starts.
    """
    _check_start(origin, start, init)
    values = read_toml(config) if config else {}
    said = set(_task_of(values))
    named = {"start": start, "init": init, "task.data": data, "strategy.name": strategy}
    for key, value in {**named, "space.latency_device": latency_device}.items():
        if value is not None:
            set_value(values, key, value)
    if asynchronous:
        set_value(values, "asynchronous", True)
    if from_scratch:
        set_value(values, "final.from_scratch", True)
    if fresh:
        set_value(values, "final.train_fresh", True)
    for assignment in data_options:
        key, option = read_assignment("--data-option", assignment, "test=val.json")
        set_value(values, f"task.data_options.{key}", option)
    for assignment in assignments:
        set_key(values, assignment)
    if preset is not None:
        found = find_preset(preset)
        said |= set(_task_of(search_values(found)))
        values = over_preset(found, values)
    if origin is None:
        return values
    values = laid_over({"task": task} if (task := _task_taken(origin, values, said)) else {}, values)
    assigned = {assignment.partition("=")[0].strip() for assignment in assignments}
    return values | {key: value for key, value in _begun_at(origin, values).items() if key not in assigned}


def _task_taken(origin: str, values: Mapping[str, Any], said: Collection[str]) -> dict[str, Any]:
    """Return what of a run's task a search takes that starts there: its data, unless the search names other.

    With it all else comes but what a preset or a file says: a table that one of these has, it has as a whole.

    Args:
        origin: a run's candidate, or a code.
        values: the search's own, plain and not checked.
        said: keys of the task in a preset or a file.
    """
    found, own = task_of(origin), _task_of(values)
    name = found.get("name")
    if own.get("name", DEFAULTS["task"] if said else name) != name:
        return {}
    data = own.get("data")
    if data is not None and not _is_data_of(found, data):
        return {}
    left = {*said, *(("orientation",) if "image_size" in said else ())}
    return {key: value for key, value in found.items() if key not in left}


def _task_of(values: Mapping[str, Any]) -> Mapping[str, Any]:
    found = values.get("task", {})
    return found if isinstance(found, Mapping) else {}


def _is_data_of(task: Mapping[str, Any], data: object) -> bool:
    """Whether a run's task has such data, however its path is spelt."""
    return isinstance(data, str) and "data" in task and moved({"task": task}, data)["task"]["data"] == task["data"]


def _check_start(origin: str | None, start: str | None, init: str | None) -> None:
    """Refuse options that say twice where the search starts.

    Raises:
        click.UsageError: they do.
    """
    if origin is not None and (start is not None or init is not None):
        raise click.UsageError("--from says where the search starts: give --from or --start/--init, not both")


def _begun_at(origin: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``--from`` sets; no weights where the configuration has no use for them."""
    return starting_point(origin, with_weights=not _trains_from_fresh(values))


def remarks_on_start(origin: str | None, values: Mapping[str, Any]) -> Iterator[str]:
    """Say what is taken of a run in ``--from``: whose data, and the code alone where weights are of no use."""
    if origin is None or not names_run(origin):
        return
    own, task = _task_of(values), task_of(origin)
    if own.get("name") == task.get("name") and "data" in own and _is_data_of(task, own["data"]):
        alike = [noun for key, noun in TAKEN.items() if key in own and own[key] == task.get(key)]
        yield f"of {origin} is the data, {own['data']}{''.join(f', the {noun}' for noun in alike)}"
    if _trains_from_fresh(values):
        yield f"of {origin} the code alone is taken: inherit = 'none' trains everything from fresh weights"


TAKEN = {"image_size": "canvas", "detector": "detector", "training": "training"}
"""What a search may have of its origin's task beside the data, by the setting that says it."""


def _trains_from_fresh(values: Mapping[str, Any]) -> bool:
    return values.get("inherit") == "none"
