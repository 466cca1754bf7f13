"""How far reading the data is, on a console."""

from spnas_core.commands.console import PlainConsole


class Reading:
    """Shows it: a line that is overwritten in a terminal, one line elsewhere.

    Args:
        console: to show it on.
    """

    def __init__(self, console: PlainConsole) -> None:
        self._console = console

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that so many of all are done."""
        if self._console.is_terminal:
            self._console.print(f"{what}: {done}/{total}", end="\n" if done == total else "\r")
        elif done == total:
            self._console.print(f"{what}: {total} done")
