"""How a training shows itself: a live line on a terminal that can redraw, plain lines elsewhere."""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from spnas_core.commands.console import PlainConsole, make_console
from spnas_core.commands.log_json import JsonLog
from spnas_core.commands.wording import duration
from spnas_detect.jobs import Speed
from spnas_detect.memory import gibibytes
from spnas_detect.training import StepRecord

BAR_WIDTH = 32
LINE_SECONDS = 15.0
LOG_SECONDS = 1.0


class TrainProgress:
    """A monitor for people. What it draws on is made when it is first used, in whichever process that is.

    Args:
        stderr: leaves standard output to others.
        log: takes everything for machines; steps once a second.
    """

    def __init__(self, *, stderr: bool = False, log: JsonLog | None = None) -> None:
        self._stderr = stderr or (log is not None and log.is_standard_output)
        self.log = log
        self._logged = float("-inf")
        self._console: PlainConsole | None = None
        self._live: Live | None = None
        self._written = float("-inf")

    def __reduce__(self) -> tuple[Callable[..., "TrainProgress"], tuple[()], dict[str, Any]]:
        """Pickle as one that has not been told anything yet."""
        return TrainProgress, (), {"_stderr": self._stderr, "log": self.log}

    @property
    def console(self) -> PlainConsole:
        """Where everything goes."""
        if self._console is None:
            self._console = make_console(stderr=self._stderr)
        return self._console

    def message(self, text: str) -> None:
        """Print it, above the live line if there is one."""
        if self.log is not None:
            self.log.event("message", text=text)
        self._show(text)

    def _show(self, text: str) -> None:
        self.console.show(text)

    def reading(self, what: str, done: int, total: int) -> None:
        """Overwrite one line where the console can; print one at the end elsewhere."""
        if self.log is not None and done == total:
            self.log.event("read", what=what, total=total)
        if self.console.can_redraw:
            self.console.print(f"{what}: {done}/{total}", end="\n" if done == total else "\r")
        elif done == total:
            self._show(f"{what}: {total} done")

    def step(self, record: StepRecord, speed: Speed) -> None:
        """Redraw, or print a line every now and then."""
        self._log_step(record, speed)
        if self.console.can_redraw:
            if self._live is None:
                self._live = Live(console=self.console, refresh_per_second=4, transient=True)
                self._live.start()
            self._live.update(_drawing(record, speed))
            return
        now = time.monotonic()
        if now - self._written >= LINE_SECONDS or record.step == record.steps:
            self._written = now
            self._show(_line(record, speed))

    def _log_step(self, record: StepRecord, speed: Speed) -> None:
        now = time.monotonic()
        if self.log is not None and (now - self._logged >= LOG_SECONDS or record.step == record.steps):
            self._logged = now
            self.log.event("step", **asdict(record), loss=record.loss, **asdict(speed))

    def close(self) -> None:
        """Take the live line away."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _drawing(record: StepRecord, speed: Speed) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_row(
        f"epoch {record.epoch + 1}",
        ProgressBar(total=max(record.steps, 1), completed=record.step, width=BAR_WIDTH),
        f"{record.step}/{record.steps}",
        f"loss {record.loss:.3f}",
        *_speed(speed),
    )
    return grid


def _line(record: StepRecord, speed: Speed) -> str:
    parts = ", ".join(f"{name} {value:.3f}" for name, value in record.losses.items())
    return (
        f"epoch {record.epoch + 1}  step {record.step}/{record.steps}  loss {record.loss:.3f} ({parts})  "
        f"{'  '.join(_speed(speed))}"
    )


def _speed(speed: Speed) -> tuple[str, str, str]:
    rate = "–" if speed.images_per_second is None else f"{speed.images_per_second:.1f}"
    return f"{rate} images/s", gibibytes(speed.memory), f"{duration(speed.seconds_left)} left"
