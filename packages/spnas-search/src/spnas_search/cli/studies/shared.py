"""What the commands of all studies share: options, settings, and lines about trainings."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click
from rich.console import RenderableType

from spnas_core.commands.console import PlainConsole, make_console
from spnas_core.commands.json_text import to_json
from spnas_core.commands.log_json import JsonLog, log_json_option
from spnas_core.commands.parameters import PATH, WRITTEN, cache_option
from spnas_core.commands.stopping import ending_with
from spnas_core.commands.wording import duration, number, quoted
from spnas_core.presets import find_preset
from spnas_core.tasks import Progress
from spnas_search.run.folder import Prepare
from spnas_search.settings import over_preset, read_toml, set_key, set_value
from spnas_search.studies import Training
from spnas_search.studies.opened import OpenedStudy
from spnas_search.studies.study import Study

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--data", help="Data set: shapes, or {voc,coco,ecp,yolo,folder}:PATH; with --resume, where it lies now."
    ),
    click.option(
        "--preset", metavar="NAME", help="Settings by name ('spnas presets' lists them); all others go on top."
    ),
    click.option("--config", type=PATH, help="TOML file with settings, as of spnas run."),
    click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="One setting; may be repeated."),
    cache_option,
    click.option("--out", type=WRITTEN, required=True, help="Folder of the study."),
)

_GOING_ON = (
    click.option("--retry-failed", is_flag=True, help="With --resume: try again what has failed."),
    click.option("--accept-versions", is_flag=True, help="With --resume: other versions of the packages are fine."),
    click.option("--report", is_flag=True, help="Show what is there; train nothing."),
    click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON, and nothing else."),
    log_json_option,
)


def setting_options(command: _Command) -> _Command:
    """Add the options by which a study's settings are given, and its folder."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class Asked:
    """What every command of a study is asked for.

    Attributes:
        out: folder of the study.
        changes: the configuration, or what of it is given anew.
        resume: whether the study is there, and goes on.
        report: whether it is only shown.
        retry_failed: whether what has failed is tried again.
        accept_versions: whether other versions of the packages are fine.
        cache: folder of cached data; None for that of the study.
        as_json: whether what was found is printed as JSON.
        log: takes every event for machines; None where that is not asked for.
        console: for people.
    """

    out: Path
    changes: dict[str, Any]
    resume: bool
    report: bool
    retry_failed: bool
    accept_versions: bool
    cache: Path | None
    as_json: bool
    log: JsonLog | None
    console: PlainConsole

    def event(self, name: str, **values: object) -> None:
        """Log it, where that is asked for."""
        if self.log is not None:
            self.log.event(name, **values)

    def begun(self, study: Study, *lines: str) -> None:
        """Show what a study has to say before anything is trained, and log it."""
        for line in (*study.remarks, *(f"data: {note}" for note in study.notes), *lines):
            self.console.show(line)
        objective = study.description.objective.name
        self.event("study_started", folder=study.folder, objective=objective, remarks=study.remarks, notes=study.notes)

    @property
    def going_on(self) -> dict[str, Any]:
        """Arguments of going on with a study, as every kind takes them."""
        return {"changes": self.changes, "accept_versions": self.accept_versions, "cache": self.cache}


def study_command(what_extends: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options of going on with a study, and call the command with ``Asked`` in front of options of its own.

    Stands next to the function, below ``setting_options`` and those options.

    Args:
        what_extends: what is given to extend a study, for the help.
    """

    def wrapped(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def called(**given: Any) -> None:
            settings = {name: given.pop(name) for name in ("data", "preset", "config", "assignments")}
            flags = {name: given.pop(name) for name in ("resume", "report", "retry_failed", "accept_versions")}
            changes = _settings_from(**settings, is_new=not (flags["resume"] or flags["report"]))
            as_json, log = given.pop("as_json"), given.pop("log_json")
            console = make_console(stderr=as_json or (log is not None and log.is_standard_output))
            places = {"cache": given.pop("cache"), "as_json": as_json, "log": log, "console": console}
            asked = Asked(given.pop("out"), changes, **places, **flags)
            _check(asked, given_values(given))
            command(asked, **given)

        resume = click.option(
            "--resume", is_flag=True, help=f"Go on with the study in --out; {what_extends} extend it."
        )
        for option in reversed((resume, *_GOING_ON)):
            called = option(called)
        return called

    return wrapped


def _settings_from(
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


def _check(asked: Asked, own: Mapping[str, Any]) -> None:
    """Refuse options that do not go together; ``own`` are the study's that were given.

    Raises:
        click.UsageError: which.
    """
    if asked.report and (asked.resume or asked.changes or own):
        raise click.UsageError("--report shows what is there: leave the other options out, apart from --out")
    for name, is_given in (("--retry-failed", asked.retry_failed), ("--accept-versions", asked.accept_versions)):
        if is_given and not (asked.resume or asked.report):
            raise click.UsageError(f"{name} goes with --resume")


class Results(Protocol):
    """What a study has found."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        ...


def show_found(
    asked: Asked, results: Results, parts: Iterable[RenderableType], write: Callable[[Path], tuple[Path, Path]]
) -> None:
    """Show what a study has found, and where page and plot are; or why they are not, on a folder that is only read.

    Args:
        asked: whether it is printed or logged as JSON, too.
        results: what it has found.
        parts: of that, for people.
        write: writes page and plot into a folder, and returns them.
    """
    if asked.as_json:
        click.echo(to_json(results.as_dict()))
    else:
        for part in parts:
            asked.console.show(part)
    try:
        page, plot = write(asked.out)
    except OSError as error:
        asked.console.show(f"The page and the plot in {asked.out} could not be written: {error.strerror or error}")
    else:
        asked.console.show(f"The same as a page, and as a plot: {page}, {plot}")
    asked.event("study_shown" if asked.report else "study_finished", folder=asked.out, **results.as_dict())


@contextmanager
def stopping(command: str, asked: Asked) -> Iterator[None]:
    """Let Ctrl-C end what is inside with a line that says how to go on."""

    def say_stopped() -> None:
        go_on = f"spnas study {command} --out {quoted(asked.out)} --resume"
        asked.console.show(f"Stopped. Nothing finished is lost; go on with: {go_on}")
        asked.event("study_stopped", folder=asked.out)

    with ending_with(say_stopped):
        yield


class TrainingLines:
    """Prints one line per training.

    Args:
        opened: what is trained; its jobs are asked for once.
        console: to print on.
        log: takes the same for machines.
    """

    def __init__(self, opened: OpenedStudy, console: PlainConsole, log: JsonLog | None = None) -> None:
        self._opened = opened
        self._jobs = opened.jobs
        self._wanted = {job.key for job in self._jobs}
        self._console = console
        self._log = log

    def message(self, text: str) -> None:
        """Print it."""
        self._console.show(text)
        self._event("message", text=text)

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
            f"{duration(self._opened.seconds_left(self._jobs))} left"
        )
        self._event("training_finished", done=done, wanted=len(self._wanted), **training.as_dict())

    def _event(self, name: str, **values: object) -> None:
        if self._log is not None:
            self._log.event(name, **values)


def reading(asked: Asked) -> Prepare:
    """Say when reading the data is done."""

    def show(what: str, done: int, total: int) -> None:
        if done == total:
            asked.console.show(f"{what}: {total} done")
            asked.event("read", what=what, total=total)

    return show


def given_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the study's own settings that were given."""
    return {name: value for name, value in given.items() if value not in {None, ()}}
