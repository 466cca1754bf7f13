"""``spnas run``: search."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from spnas_core.commands.console import make_console
from spnas_core.commands.parameters import cache_option
from spnas_core.configuration import read_assignment
from spnas_core.errors import ConfigError
from spnas_core.presets import find_preset
from spnas_search.cli.reading import Reading
from spnas_search.cli.searching import search_all, search_shown
from spnas_search.run import RunFolder, resume_run, start_run
from spnas_search.series import resume_series, start_series
from spnas_search.settings import over_preset, read_toml, resolve, set_key, set_value
from spnas_search.starting_points import starting_point


@click.command()
@click.argument("strategy", required=False)
@click.option(
    "--data",
    help="Data set: shapes, or {voc,coco,ecp,yolo,folder}:PATH; with --resume, where it lies now.",
)
@click.option("--data-option", "data_options", metavar="KEY=VALUE", multiple=True, help="Option of the kind of data.")
@click.option("--start", metavar="CODE", help="Architecture to start from.")
@click.option("--init", metavar="FILE", help="Weights to start from: torchvision:FILE or FILE.safetensors.")
@click.option(
    "--from",
    "origin",
    metavar="RUN[:ID]|CODE",
    help="Start from the best or one candidate of a run, or a code.",
)
@click.option(
    "--preset",
    metavar="NAME",
    help="Settings by name ('spnas presets' lists them), or a file of such; all others go on top.",
)
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with settings.")
@click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="One setting; may be repeated.")
@click.option("--latency-device", metavar="DEVICE", help="Where space.max_latency is measured: cpu, cuda, cuda:1.")
@click.option("--fresh", is_flag=True, help="Train the winner of a full search from fresh weights in the end.")
@cache_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.  [default: runs/STRATEGY]")
@click.option("--resume", is_flag=True, help="Go on with the run, or the series, in --out.")
@click.option("--accept-versions", is_flag=True, help="Go on although other versions of the packages are installed.")
@click.option("--seeds", type=click.IntRange(1), help="Repeat the whole search with that many seeds, then compare.")
def run(
    strategy: str | None,
    *,
    out: Path | None,
    resume: bool,
    accept_versions: bool,
    seeds: int | None,
    cache: Path | None,
    **given: Any,
) -> None:
    """Search a backbone with a STRATEGY (serial where none is named).

    Without options it searches on generated shapes, in a few minutes on two cores. Canvas, anchors and heads for other
    data are chosen by what it holds, unless a preset, a file or --set says them.

    \b
    Example: spnas run serial
    Example: spnas run serial --preset small --data voc:VOCdevkit/VOC2007
    Example: spnas run serial --data voc:VOCdevkit/VOC2007 --set budget.candidates=40 --out runs/voc
    Example: spnas run serial --out runs/voc --resume
    Example: spnas run parallel --from runs/voc --out runs/voc-rows
    Example: spnas run full --data voc:VOCdevkit/VOC2007
    """
    console = make_console()
    if resume:
        folder = out or Path("runs") / (strategy or "serial")
        _check_resuming(strategy, folder, given)
        resuming = {"data": given["data"], "accept_versions": accept_versions}
        if seeds is not None or RunFolder(folder).series.exists():
            search_all(resume_series(folder, seeds), resuming, cache, console)
        else:
            search_shown(resume_run(folder, Reading(console), cache=cache, **resuming), console)
        return
    if accept_versions:
        raise click.UsageError("--accept-versions goes with --resume: a new run begins with what is installed")
    values = _values(strategy, **given)
    settings = resolve(values)
    folder = out or Path("runs") / str(settings.strategy.model_dump()["name"])
    if seeds is None:
        search_shown(start_run(folder, values, Reading(console), cache=cache), console)
    else:
        series = start_series(folder, values, seeds)
        for remark in series.remarks:
            console.show(remark)
        search_all(series, {}, cache, console)


def _check_resuming(strategy: str | None, folder: Path, given: Mapping[str, Any]) -> None:
    """Refuse what a resumed run would not heed: its settings are those that it began with."""
    named = [f"--{name.replace('_', '-')}" for name, value in given.items() if value and name != "data"]
    if named:
        named = [
            {"--origin": "--from", "--assignments": "--set", "--data-options": "--data-option"}.get(n, n) for n in named
        ]
        raise click.UsageError(f"--resume takes its settings from the run: leave out {', '.join(named)}")
    files = RunFolder(folder)
    config = files.series if files.series.exists() else files.config
    if strategy is not None and config.exists():
        begun = read_toml(config).get("strategy", {}).get("name")
        if begun is not None and begun != strategy:
            raise ConfigError(
                f"the search in {folder} has the strategy {begun!r}, not {strategy!r}: leave the name out to go on "
                "with it, or choose another --out"
            )


def _values(
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
    fresh: bool,
) -> dict[str, Any]:
    """Put the configuration together: a preset's, a file's, the options' and those of ``--set``; the later ones win."""
    values = read_toml(config) if config else {}
    if origin:
        values.update(starting_point(origin))
    named = {"start": start, "init": init, "task.data": data, "strategy.name": strategy}
    for key, value in {**named, "space.latency_device": latency_device}.items():
        if value is not None:
            set_value(values, key, value)
    if fresh:
        set_value(values, "final.train_fresh", True)
    for assignment in data_options:
        key, option = read_assignment("--data-option", assignment, "test=val.json")
        set_value(values, f"task.data_options.{key}", option)
    for assignment in assignments:
        set_key(values, assignment)
    return values if preset is None else over_preset(find_preset(preset), values)
