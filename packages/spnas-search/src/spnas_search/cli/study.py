"""``spnas study``: what a score is worth."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from spnas_core.commands.console import PlainConsole, make_console
from spnas_core.commands.parameters import cache_option
from spnas_core.commands.wording import duration, number
from spnas_core.errors import ConfigError
from spnas_core.presets import find_preset
from spnas_core.tasks import Progress
from spnas_search.cli.stopping import INTERRUPTED, stopping_like_ctrl_c
from spnas_search.run.folder import Prepare
from spnas_search.settings import over_preset, read_toml, set_key, set_value
from spnas_search.studies import (
    SignalResults,
    SignalStudy,
    Training,
    read_signal_results,
    resume_signal_study,
    start_signal_study,
    write_signal_report,
)
from spnas_search.studies.signal import PARTS
from spnas_search.studies.signal_report import signal_parts

NOTHING = "nothing"
"""Leaves out nothing any more, where a study goes on that has left something out."""


@click.group()
def study() -> None:
    """Find out what a score is worth before searching by it."""


@study.command()
@click.option(
    "--data",
    help="Data set: shapes, or {voc,coco,ecp,yolo,folder}:PATH; with --resume, where it lies now.",
)
@click.option("--preset", metavar="NAME", help="Settings by name ('spnas presets' lists them); all others go on top.")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with settings, as of spnas run.")
@click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="One setting; may be repeated.")
@cache_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the study.")
@click.option("--codes", type=int, help="Architectures, the start among them; 3 or more.  [default: 12]")
@click.option("--trainings", type=int, help="Independent trainings of each; 2 or more.  [default: 3]")
@click.option("--epochs", type=int, metavar="T", help="Epochs of the truth.  [default: twice warm_start_epochs]")
@click.option("--child-epochs", metavar="LIST", help="Epochs that a search sees.  [default: 1,2,4]")
@click.option("--split", type=click.Choice(["validation", "test"]), help="Images to score on.  [default: validation]")
@click.option(
    "--leave-out", type=click.Choice((*PARTS, NOTHING)), multiple=True, help="Do not train that; may be repeated."
)
@click.option("--resume", is_flag=True, help="Go on with the study in --out; more codes or trainings extend it.")
@click.option("--retry-failed", is_flag=True, help="With --resume: try again what has failed.")
@click.option("--accept-versions", is_flag=True, help="With --resume: other versions of the packages are fine.")
@click.option("--report", is_flag=True, help="Show what is there; train nothing.")
def signal(
    *,
    out: Path,
    resume: bool,
    retry_failed: bool,
    accept_versions: bool,
    report: bool,
    data: str | None,
    preset: str | None,
    config: Path | None,
    assignments: Sequence[str],
    cache: Path | None,
    **given: Any,
) -> None:
    """Tell whether a score at these settings says anything of an architecture.

    Codes that are spread over the search space are trained from scratch, several times each: the truth. Its
    heritability is the share of architectures in the variance of a score. Each way to inherit is compared with it after
    few epochs.

    \b
    Example: spnas study signal --out studies/shapes
    Example: spnas study signal --out studies/shapes --resume --trainings 5
    """
    console = make_console()
    if preset is not None and (resume or report):
        raise click.UsageError("a study that is there has its settings: leave out --preset")
    changes = _changes(data, config, assignments)
    if preset is not None:
        changes = over_preset(find_preset(preset), changes)
    chosen = _chosen(given)
    if report:
        if resume or changes or chosen:
            raise click.UsageError("--report shows what is there: leave the other options out, apart from --out")
        _show(read_signal_results(out), out, console)
        return
    if not resume:
        for name, is_given in (("--retry-failed", retry_failed), ("--accept-versions", accept_versions)):
            if is_given:
                raise click.UsageError(f"{name} goes with --resume")
        opened = start_signal_study(out, changes, _reading(console), chosen=chosen, cache=cache)
    else:
        opened = resume_signal_study(
            out, _reading(console), chosen=chosen, changes=changes, accept_versions=accept_versions, cache=cache
        )
    _run(opened, console, retry_failed=retry_failed)


def _changes(data: str | None, config: Path | None, assignments: Sequence[str]) -> dict[str, Any]:
    """Put the configuration together; what stands further right on the command line wins over the file."""
    values = read_toml(config) if config else {}
    if data is not None:
        set_value(values, "task.data", data)
    for assignment in assignments:
        set_key(values, assignment)
    return values


def _chosen(given: dict[str, Any]) -> dict[str, Any]:
    """Return the study's own settings that were given."""
    chosen = {name: value for name, value in given.items() if value not in {None, ()}}
    if "leave_out" in chosen:
        chosen["leave_out"] = [part for part in chosen["leave_out"] if part != NOTHING]
    if "child_epochs" in chosen:
        try:
            chosen["child_epochs"] = [int(part) for part in chosen["child_epochs"].split(",")]
        except ValueError:
            raise ConfigError(
                f"--child-epochs {chosen['child_epochs']!r} must be whole numbers with commas in between, such as 1,2,4"
            ) from None
    return chosen


def _run(opened: SignalStudy, console: PlainConsole, *, retry_failed: bool) -> None:
    """Train what is missing, and show what came out."""
    with opened:
        study = opened.study
        start, objective = study.settings.run.start, study.description.objective.name
        console.show(f"Signal study of {start} and codes around it, objective {objective}, in {study.folder}")
        for line in (*study.remarks, *(f"data: {note}" for note in study.notes), opened.compute):
            console.show(line)
        try:
            with stopping_like_ctrl_c():
                opened.fill(_Lines(opened, console), retry_failed=retry_failed)
        except KeyboardInterrupt as stop:
            console.show(
                f"Stopped. Nothing finished is lost; go on with: spnas study signal --out {study.folder} --resume"
            )
            sys.exit(stop.args[0] if stop.args else INTERRUPTED)
        _show(opened.results, study.folder, console)


def _show(results: SignalResults, folder: Path, console: PlainConsole) -> None:
    for part in signal_parts(results):
        console.show(part)
    page, plot = write_signal_report(results, folder)
    console.show(f"The same as a page, and as a plot: {page}, {plot}")


class _Lines:
    """Prints one line per training.

    Args:
        opened: the study.
        console: to print on.
    """

    def __init__(self, opened: SignalStudy, console: PlainConsole) -> None:
        self._opened = opened
        self._console = console
        self._wanted = {job.key for job in opened.plan.jobs}

    def message(self, text: str) -> None:
        """Print it."""
        self._console.show(text)

    def progress(self, progress: Progress) -> None:
        """Print nothing: a log does not want every step."""

    def finished(self, training: Training) -> None:
        """Print how a training ended, and where the study stands."""
        study = self._opened.study
        done = sum(key in self._wanted for key in study.results.trainings)
        objective = study.description.objective.name
        ended = (
            f"failed: {training.reason}"
            if training.has_failed
            else f"{objective} {number(training.metrics.get(objective))}"
        )
        self._console.show(
            f"{done}/{len(self._wanted)}  {training.key}: {ended}  {duration(training.seconds)}, "
            f"{duration(self._opened.seconds_left())} left"
        )


def _reading(console: PlainConsole) -> Prepare:
    """Say when reading the data is done."""

    def show(what: str, done: int, total: int) -> None:
        if done == total:
            console.show(f"{what}: {total} done")

    return show
