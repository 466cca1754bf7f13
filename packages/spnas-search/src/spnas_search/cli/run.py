"""``spnas run``: search."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console, RenderableType

from spnas_core.commands.console import make_console
from spnas_search.monitors.lines import Lines
from spnas_search.monitors.live import LiveView
from spnas_search.monitors.state import SearchState
from spnas_search.reports import summary
from spnas_search.reports.seeds import SeedsSummary
from spnas_search.run import Run, resume_run, start_run
from spnas_search.search import Comparison, compare, run_search
from spnas_search.settings import read_toml, resolve, set_key
from spnas_search.starting_points import starting_point

INTERRUPTED = 130


@click.command()
@click.argument("strategy", required=False)
@click.option("--data", help="Data set: shapes, voc:PATH, coco:PATH or ecp:PATH.  [default: shapes]")
@click.option("--start", metavar="CODE", help="Architecture to start from.")
@click.option("--init", metavar="FILE", help="Weights to start from: torchvision:FILE or FILE.safetensors.")
@click.option("--from", "origin", metavar="RUN[:ID]", help="Start from the best, or one, candidate of another run.")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with settings.")
@click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="One setting; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.  [default: runs/STRATEGY]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--seeds", type=click.IntRange(1), help="Repeat the whole search with that many seeds, then compare.")
def run(
    strategy: str | None,
    data: str | None,
    start: str | None,
    init: str | None,
    origin: str | None,
    config: Path | None,
    assignments: tuple[str, ...],
    out: Path | None,
    *,
    resume: bool,
    seeds: int | None,
) -> None:
    """Search a backbone with a STRATEGY (serial where none is named).

    Without options it searches on generated shapes, in a few minutes on two cores.

    \b
    Example: spnas run serial
    Example: spnas run serial --data voc:VOCdevkit/VOC2007 --set budget.candidates=40 --out runs/voc
    Example: spnas run serial --out runs/voc --resume
    """
    given = {
        "data": data,
        "start": start,
        "init": init,
        "from": origin,
        "config": config,
        "set": assignments,
        "seeds": seeds,
    }
    console = make_console()
    if resume:
        named = [f"--{name}" for name, value in given.items() if value]
        if named:
            raise click.UsageError(f"--resume takes its settings from the run: leave out {', '.join(named)}")
        _search(resume_run(out or Path("runs") / (strategy or "serial"), _Reading(console)), console)
        return
    values = _values(strategy, data, start, init, origin, config, assignments)
    settings = resolve(values)
    folder = out or Path("runs") / str(settings.strategy.model_dump()["name"])
    if seeds is None:
        _search(start_run(folder, values, _Reading(console)), console)
        return
    first = settings.run.seed
    found: list[Comparison | None] = []
    for seed in range(first, first + seeds):
        console.rule(f"seed {seed}")
        found.append(_search(start_run(folder / f"seed-{seed}", {**values, "seed": seed}, _Reading(console)), console))
    console.rule(f"{seeds} searches")
    for part in SeedsSummary(found).parts():
        _say(console, part)


def _values(
    strategy: str | None,
    data: str | None,
    start: str | None,
    init: str | None,
    origin: str | None,
    config: Path | None,
    assignments: Sequence[str],
) -> dict[str, Any]:
    """Put the configuration together; what stands further right on the command line wins over the file."""
    values = read_toml(config) if config else {}
    if origin:
        values.update(starting_point(origin))
    for key, value in (("start", start), ("init", init)):
        if value is not None:
            values[key] = value
    if data is not None:
        set_key(values, f"task.data={data!r}")
    if strategy is not None:
        set_key(values, f"strategy.name={strategy!r}")
    for assignment in assignments:
        set_key(values, assignment)
    return values


def _search(run: Run, console: Console) -> Comparison | None:
    """Run a search to its end, show it, and return the final comparison."""
    with run:
        strategy = run.settings.strategy.model_dump()["name"]
        start, objective = run.settings.run.start, run.objective.name
        _say(console, f"{strategy} search from {start}, objective {objective}, in {run.folder}")
        for note in run.notes:
            _say(console, f"data: {note}")
        state = SearchState(run.settings.run, run.archive)
        try:
            if console.is_terminal:
                with LiveView(state, console) as view:
                    run_search(run, view)
            else:
                run_search(run, Lines(state, lambda line: print(line, flush=True)))  # noqa: T201
        except KeyboardInterrupt:
            _say(console, f"Stopped. Nothing finished is lost; go on with: spnas run --out {run.folder} --resume")
            sys.exit(INTERRUPTED)
        for part in summary(run):
            _say(console, part)
        return compare(run.archive)


def _say(console: Console, part: RenderableType) -> None:
    """Print tables as they are, and text without reading markup into the brackets of somebody's path."""
    console.print(part, highlight=False, markup=False, soft_wrap=isinstance(part, str))


class _Reading:
    """Shows how far reading the data is: a line that is overwritten in a terminal, one line elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._console.is_terminal:
            self._console.print(f"{what}: {done}/{total}", end="\n" if done == total else "\r", highlight=False)
        elif done == total:
            self._console.print(f"{what}: {total} done", highlight=False)
