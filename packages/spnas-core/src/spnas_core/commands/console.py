"""The console that commands print to."""

from rich.console import Console

LOG_WIDTH = 140


def make_console() -> Console:
    """Return a console as wide as the terminal, or wide enough for every table where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=LOG_WIDTH)
