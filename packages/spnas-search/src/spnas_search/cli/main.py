"""The command group, and how errors end."""

import io
import signal
import sys
from types import FrameType
from typing import Any

import click

from spnas_core import __version__
from spnas_core.commands.stopping import exit_code, heeded, stopping_like_ctrl_c
from spnas_core.commands.wording import printable, shortened
from spnas_core.errors import SpnasError
from spnas_core.plugins import blamed, broken_plugins, registry


class Commands(click.Group):
    """Has what the plugins register, and turns the project's errors into one line and exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the registered commands in alphabetical order."""
        return sorted(registry("commands").items)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Look up a registered command."""
        return registry("commands").items.get(cmd_name)

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
