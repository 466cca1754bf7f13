"""How far reading the data is, on a console."""

from spnas_core.commands.console import PlainConsole
from spnas_core.commands.log_json import JsonLog


class Reading:
    """Shows it: a line that is overwritten where the console can, one line elsewhere.

    Args:
        console: to show it on.
        log: is told of its end.
    """

    def __init__(self, console: PlainConsole, log: JsonLog | None = None) -> None:
        self._console = console
        self._log = log

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that so many of all are done."""
        if self._log is not None and done == total:
            self._log.event("read", what=what, total=total)
        if self._console.can_redraw:
            self._console.print(f"{what}: {done}/{total}", end="\n" if done == total else "\r")
        elif done == total:
            self._console.print(f"{what}: {total} done")
