"""How far a command is."""

import click

from spnas_core.commands.console import make_console
from spnas_core.commands.log_json import JsonLog


class Counting:
    """Shows how far something is: a line on standard error that is overwritten where a terminal can, nothing elsewhere.

    Args:
        what: is done, such as ``detecting``.
        log: is told, too.
    """

    def __init__(self, what: str, log: JsonLog | None = None) -> None:
        self._what = what
        self._log = log
        self._shown = make_console(stderr=True).can_redraw

    def __call__(self, done: int, total: int) -> None:
        """Show the number of finished things and of all things."""
        if self._log is not None:
            self._log.event("progress", what=self._what, done=done, total=total)
        if self._shown:
            click.echo(f"\r{self._what}: {done}/{total}", nl=done == total, err=True)
