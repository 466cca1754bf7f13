"""Logs for machines: each event a line of JSON, beside what people see."""

import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import click

from spnas_core.commands.console import make_console
from spnas_core.commands.json_text import to_json
from spnas_core.errors import ConfigError

STANDARD_OUTPUT = "-"


class JsonLog:
    """Appends events to a file, or writes them to standard output.

    Each line is an object with ``time`` (UTC, ISO 8601, milliseconds), ``event`` and what belongs to it. A log that can
    no longer be written is given up with a warning: no training ends for it. It can be sent to another process.

    Args:
        target: a file; ``-`` is standard output.

    Raises:
        ConfigError: the file cannot be written.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self._file: TextIO | None = None
        self._given_up = False
        try:
            self._open()
        except OSError as error:
            raise ConfigError(f"--log-json: {target} cannot be written: {error.strerror}") from None

    @property
    def is_standard_output(self) -> bool:
        """Whether people must be told elsewhere."""
        return self.target == STANDARD_OUTPUT

    def event(self, name: str, **values: object) -> None:
        """Write one line."""
        if self._given_up:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        try:
            self._open().write(to_json({"time": now, "event": name, **values}) + "\n")
        except OSError as error:
            self._given_up = True
            text = f"warning: --log-json: {self.target} can no longer be written: {error.strerror}"
            make_console(stderr=True).show(text)

    def close(self) -> None:
        """Close the file; another event opens it again."""
        if self._file is not None and not self.is_standard_output:
            file, self._file = self._file, None
            with suppress(OSError):
                file.close()

    def _open(self) -> TextIO:
        if self._file is None:
            if self.is_standard_output:
                self._file = sys.stdout
            else:
                self._file = Path(self.target).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115 - lives as long
        return self._file

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_file": None}


class _Target(click.ParamType[JsonLog]):
    name = "FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> JsonLog:
        log = value if isinstance(value, JsonLog) else JsonLog(str(value))
        if ctx is not None:
            ctx.call_on_close(log.close)
        return log


log_json_option = click.option(
    "--log-json",
    type=_Target(),
    help="Append each event to FILE as a line of JSON; -: to standard output, alone there.",
)
"""Of every command that trains, or scores what was trained."""
