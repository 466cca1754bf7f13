"""The console that commands print to: what it is given appears as it is, and nothing in it is obeyed.

Class names, reasons and paths come from outside. ``car [front]`` is no markup, and an escape sequence in a file's name
must not reach the terminal. No other module makes a console.
"""

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from spnas_core.commands.wording import printable

LOG_WIDTH = 140


class PlainConsole(Console):
    """Prints every text as it is, with control characters escaped.

    That holds for lines, titles, headings and cells alike, since rich has its console render each of them. Style is
    given by ``style=``, or by a ``Text`` around words of our own.

    Args:
        options: of rich's console.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)
        self._is_told = options.get("force_terminal") is not None

    @property
    def can_redraw(self) -> bool:
        """Whether what was printed can be overwritten: a terminal can, but for those that call themselves dumb.

        What only asks for colours, as ``FORCE_COLOR`` does where the output goes to a file, makes no terminal of it.
        """
        return self.is_terminal and not self.is_dumb_terminal and (self._is_told or self.file.isatty())

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a renderable of a text."""
        return super().render_str(printable(text), **options)

    def show(self, part: RenderableType) -> None:
        """Print a table, or one line, however long."""
        self.print(part, soft_wrap=isinstance(part, str))


def make_console(*, stderr: bool = False) -> PlainConsole:
    """Return a console as wide as the terminal, or wide enough for every table where there is none.

    Args:
        stderr: prints to standard error, which leaves standard output to JSON.
    """
    console = PlainConsole(stderr=stderr)
    return console if console.is_terminal else PlainConsole(stderr=stderr, width=LOG_WIDTH)


def write_lines(lines: Iterable[str]) -> None:
    """Write finished lines to standard output, as many as there are: a console takes its time over each.

    Args:
        lines: of ``format_columns`` or ``to_json``, which have escaped what must be.
    """
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()
