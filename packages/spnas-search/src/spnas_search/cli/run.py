"""``spnas run``: search."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from spnas_core.commands.console import make_console
from spnas_core.commands.log_json import JsonLog, log_json_option
from spnas_core.commands.parameters import WRITTEN, cache_option
from spnas_core.errors import ConfigError
from spnas_search.cli.assembling import assembled, remarks_on_start, search_options
from spnas_search.cli.reading import Reading
from spnas_search.cli.searching import search_all, search_shown
from spnas_search.run import RunFolder, resume_run, start_run
from spnas_search.series import resume_series, start_series
from spnas_search.settings import read_toml, resolve, strategy_name


@click.command()
@click.argument("strategy", required=False)
@search_options
@cache_option
@click.option("--out", type=WRITTEN, help="Folder of the run.  [default: runs/STRATEGY]")
@click.option("--resume", is_flag=True, help="Go on with the run, or the series, in --out.")
@click.option("--accept-versions", is_flag=True, help="Go on although other versions of the packages are installed.")
@click.option("--seeds", type=click.IntRange(1), help="Repeat the whole search with that many seeds, then compare.")
@log_json_option
def run(
    strategy: str | None,
    *,
    out: Path | None,
    resume: bool,
    accept_versions: bool,
    seeds: int | None,
    cache: Path | None,
    log_json: JsonLog | None,
    **given: Any,
) -> None:
    """Search a backbone with a STRATEGY (serial where none is named).

    Without options it searches on generated shapes, in some ten minutes on two cores. Canvas, anchors and heads for
    other data are chosen by what it holds, unless a preset, a file or --set says them.

    \b
    Example: spnas run serial
    Example: spnas run serial --preset small --data voc:VOCdevkit/VOC2007
    Example: spnas run serial --data voc:VOCdevkit/VOC2007 --set budget.candidates=40 --out runs/voc
    Example: spnas run serial --out runs/voc --resume
    Example: spnas run parallel --from runs/voc --out runs/voc-rows
    Example: spnas run full --data voc:VOCdevkit/VOC2007
    """
    console = make_console(stderr=log_json is not None and log_json.is_standard_output)
    if resume:
        folder = out or Path("runs") / (strategy or "serial")
        _check_resuming(strategy, folder, given)
        resuming = {"data": given["data"], "accept_versions": accept_versions}
        if seeds is not None or RunFolder(folder).series.exists():
            search_all(resume_series(folder, seeds), resuming, cache, console, log_json)
        else:
            search_shown(resume_run(folder, Reading(console), cache=cache, **resuming), console, log=log_json)
        return
    if accept_versions:
        raise click.UsageError("--accept-versions goes with --resume: a new run begins with what is installed")
    values = assembled(strategy, **given)
    settings = resolve(values)
    for remark in remarks_on_start(given["origin"], values):
        console.show(remark)
    folder = out or Path("runs") / str(settings.strategy.model_dump()["name"])
    if seeds is None:
        search_shown(start_run(folder, values, Reading(console), cache=cache), console, log=log_json)
    else:
        series = start_series(folder, values, seeds)
        for remark in series.remarks:
            console.show(remark)
        search_all(series, {}, cache, console, log_json)


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
        begun = strategy_name(read_toml(config))
        if begun != strategy:
            raise ConfigError(
                f"the search in {folder} has the strategy {begun!r}, not {strategy!r}: leave the name out to go on "
                "with it, or choose another --out"
            )
