"""The command group, and how errors end."""

import io
import signal
import sys
from types import FrameType
from typing import Any

import click

from spnas_core import __version__
from spnas_core.commands.lazy import LazyCommand
from spnas_core.commands.stopping import exit_code, heeded, stopping_like_ctrl_c
from spnas_core.commands.wording import printable, shortened
from spnas_core.errors import SpnasError
from spnas_core.plugins import blamed, broken_plugins, registry

SUMMARIES = {
    "run": "Search a backbone with a STRATEGY (serial where none is named).",
    "plan": "Say what a search will take: time, disk and memory, measured on a short probe.",
    "show": "Draw the network of an architecture CODE, or of a run's candidate, and count what it costs.",
    "candidates": "List the candidates of a RUN folder; a search may be going on in it.",
    "runs": "List all runs in and below FOLDER (runs where none is named): their state, and the best of each.",
    "report": "Write a page about a run, a training or a comparison: one file, which works offline.",
    "extend": "Raise the budget of the search in RUN, and go on with it.",
    "retry": "Evaluate failed candidates of RUN again, all or those of the IDs named, and go on with the search.",
    "verify": "Score the winner of a RUN again, and compare packages, code, weights and data.",
    "doctor": "Look at versions, devices, kernels, plugins and space, and say what to do.",
    "study": "Find out what a score is worth before searching by it.",
    "backbones": "List backbones by name.",
    "presets": "List presets: what each is for, and on which machine.",
    "plugins": "List everything that plugins have registered.",
}
"""What this package's own commands do; each is a module beside this one, imported when it is used."""


class Commands(click.Group):
    """Adds the commands of plugins, and turns the project's errors into one line and exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List built-in commands and those of plugins."""
        return sorted({*super().list_commands(ctx), *registry("commands").items})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Look up a command, plugins only where no built-in one has the name."""
        return super().get_command(ctx, cmd_name) or registry("commands").items.get(cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, BrokenPipeError):  # a reader such as head has seen enough
            raise
        except (Exception, KeyboardInterrupt) as error:
            ending = _ending(error)
            if ending is None:
                raise
            raise ending from error
        finally:
            for broken in broken_plugins():
                warning = f"warning: plugin {broken.name} of {broken.distribution} is broken: {broken.reason}"
                click.echo(_one_line(warning), err=True)


def _ending(error: BaseException) -> BaseException | None:
    """Return how a command ends that has raised an error: in one line; None for a fault of the program."""
    if isinstance(error, SpnasError):
        if trace := getattr(error, "trace", ""):
            click.echo(trace, err=True)
        return _UserError(_one_line(error))
    if (stop := _interruption(error)) is not None:
        click.echo("Aborted!", err=True)
        return SystemExit(exit_code(stop))
    if isinstance(error, OSError):  # the disk is full, a folder is read-only, a file is gone: not a fault to debug
        where = f"{error.filename}: " if error.filename else ""
        return _UserError(_one_line(f"{where}{error.strerror or error}"))
    fault = blamed(error) if isinstance(error, Exception) else None
    return None if fault is None else _UserError(_one_line(fault))


def _interruption(error: BaseException) -> KeyboardInterrupt | None:
    """Return what an error answers to, such as an import that could not be ended; None where nobody interrupted."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, KeyboardInterrupt):
        seen = seen.__cause__ or seen.__context__
    if seen is not None:
        return seen
    return KeyboardInterrupt() if _INTERRUPTIONS or isinstance(error, click.Abort) else None


_INTERRUPTIONS: list[int] = []
"""Ctrl-C that came while no command was listening, which libraries may answer by another error, or by none."""


def _note_interruption(number: int, frame: FrameType | None) -> None:
    _INTERRUPTIONS.append(number)
    signal.default_int_handler(number, frame)


def _one_line(text: object) -> str:
    return shortened(printable(" ".join(str(text).split())))


class _UserError(click.ClickException):
    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Print one line."""
        click.echo(f"error: {self.format_message()}", err=True, file=file)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="spnas")
def commands() -> None:
    """Search backbones for object detection.

    \b
    Example: spnas run serial
    """


for _name, _summary in SUMMARIES.items():
    commands.add_command(LazyCommand(_name, f"spnas_search.cli.{_name}:{_name}", _summary))


def main() -> None:
    """Run the ``spnas`` command."""
    if sys.platform == "win32":
        sys.exit("error: spnas needs Linux or macOS: on Windows install it in WSL")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # no text can end a command, whatever the locale
    for number in heeded([signal.SIGINT]):
        signal.signal(number, _note_interruption)
    with stopping_like_ctrl_c():
        commands(standalone_mode=True)
