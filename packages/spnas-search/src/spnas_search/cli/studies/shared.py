"""What the commands of all studies share: options, settings, and lines about trainings."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from spnas_core.commands.console import PlainConsole
from spnas_core.commands.parameters import cache_option
from spnas_core.commands.wording import duration, number
from spnas_core.presets import find_preset
from spnas_core.tasks import Progress
from spnas_search.cli.stopping import INTERRUPTED, stopping_like_ctrl_c
from spnas_search.run.folder import Prepare
from spnas_search.settings import over_preset, read_toml, set_key, set_value
from spnas_search.studies import Training
from spnas_search.studies.opened import OpenedStudy

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--data", help="Data set: shapes, or {voc,coco,ecp,yolo,folder}:PATH; with --resume, where it lies now."
    ),
    click.option(
        "--preset", metavar="NAME", help="Settings by name ('spnas presets' lists them); all others go on top."
    ),
    click.option("--config", type=click.Path(path_type=Path), help="TOML file with settings, as of spnas run."),
    click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="One setting; may be repeated."),
    cache_option,
    click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the study."),
)

_GOING_ON = (
    click.option("--retry-failed", is_flag=True, help="With --resume: try again what has failed."),
    click.option("--accept-versions", is_flag=True, help="With --resume: other versions of the packages are fine."),
    click.option("--report", is_flag=True, help="Show what is there; train nothing."),
)


def setting_options(command: _Command) -> _Command:
    """Add the options by which a study's settings are given, and its folder."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def going_on_options(command: _Command) -> _Command:
    """Add the options of going on with a study, and of showing it."""
    for option in reversed(_GOING_ON):
        command = option(command)
    return command


def settings_from(
    data: str | None, preset: str | None, config: Path | None, assignments: Sequence[str], *, is_new: bool
) -> dict[str, Any]:
    """Put the configuration together; what stands further right on the command line wins over file and preset.

    Raises:
        click.UsageError: a preset for a study that is there.
    """
    if preset is not None and not is_new:
        raise click.UsageError("a study that is there has its settings: leave out --preset")
    values = read_toml(config) if config else {}
    if data is not None:
        set_value(values, "task.data", data)
    for assignment in assignments:
        set_key(values, assignment)
    return values if preset is None else over_preset(find_preset(preset), values)


def check_options(
    values: object, chosen: object, *, resume: bool, report: bool, retry_failed: bool, accept_versions: bool
) -> None:
    """Refuse options that do not go together.

    Raises:
        click.UsageError: which.
    """
    if report and (resume or values or chosen):
        raise click.UsageError("--report shows what is there: leave the other options out, apart from --out")
    for name, is_given in (("--retry-failed", retry_failed), ("--accept-versions", accept_versions)):
        if is_given and not (resume or report):
            raise click.UsageError(f"{name} goes with --resume")


@contextmanager
def stopping(command: str, folder: Path, console: PlainConsole) -> Iterator[None]:
    """Let Ctrl-C end what is inside with a line that says how to go on."""
    try:
        with stopping_like_ctrl_c():
            yield
    except KeyboardInterrupt as stop:
        console.show(f"Stopped. Nothing finished is lost; go on with: spnas study {command} --out {folder} --resume")
        sys.exit(stop.args[0] if stop.args else INTERRUPTED)


class TrainingLines:
    """Prints one line per training.

    Args:
        opened: what is trained.
        console: to print on.
    """

    def __init__(self, opened: OpenedStudy, console: PlainConsole) -> None:
        self._opened = opened
        self._wanted = {job.key for job in opened.jobs}
        self._console = console

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


def reading(console: PlainConsole) -> Prepare:
    """Say when reading the data is done."""

    def show(what: str, done: int, total: int) -> None:
        if done == total:
            console.show(f"{what}: {total} done")

    return show


def given_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the study's own settings that were given."""
    return {name: value for name, value in given.items() if value not in {None, ()}}
