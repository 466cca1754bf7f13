"""From what was typed to a run's configuration; the options that every command has which begins a search."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from spnas_core.configuration import read_assignment
from spnas_core.presets import find_preset
from spnas_search.settings import over_preset, read_toml, set_key, set_value
from spnas_search.starting_points import starting_point

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
    click.option("--init", metavar="FILE", help="Weights to start from: torchvision:FILE or FILE.safetensors."),
    click.option(
        "--from",
        "origin",
        metavar="RUN[:ID]|CODE",
        help="Start from the best or one candidate of a run, or a code.",
    ),
    click.option(
        "--preset",
        metavar="NAME",
        help="Settings by name ('spnas presets' lists them), or a file of such; all others go on top.",
    ),
    click.option("--config", type=click.Path(path_type=Path), help="TOML file with settings."),
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
    """
    values = read_toml(config) if config else {}
    if origin:
        values.update(starting_point(origin))
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
    return values if preset is None else over_preset(find_preset(preset), values)
