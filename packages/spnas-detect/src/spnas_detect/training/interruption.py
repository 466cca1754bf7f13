"""Stopping between two steps where a signal asks for it."""

import signal
import threading
from contextlib import AbstractContextManager, nullcontext
from types import FrameType, TracebackType
from typing import Any, Self

from spnas_core.commands.stopping import STOPPING, heeded
from spnas_detect.processes import Processes

SIGNALS = (*STOPPING, signal.SIGINT)


class StopOnSignal:
    """Notes SIGTERM, SIGHUP and SIGINT instead of ending at once; a context manager for the main thread.

    Args:
        insist: how often a signal may come until it ends the process after all, the end of a terminal aside, of which a
            shell and the system may both tell; None for as often as it likes.

    Attributes:
        received: the first signal that came.
    """

    def __init__(self, insist: int | None = 2) -> None:
        self._left = insist
        self._before: dict[int, signal.Handlers | int | object] = {}
        self.received: signal.Signals | None = None

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.received is not None

    def __enter__(self) -> Self:
        for number in heeded(SIGNALS):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number)
        if self._left is not None and number in (signal.SIGTERM, signal.SIGINT):
            self._left -= 1
            if self._left <= 0:
                raise KeyboardInterrupt


def stop_on_signal(processes: Processes) -> AbstractContextManager[Any]:
    """Note signals in a training of so many processes; nothing is noted where they cannot be caught."""
    if threading.current_thread() is not threading.main_thread():
        return nullcontext(_NoSignal())
    # Among several processes the one that started them insists, if need be.
    return StopOnSignal(insist=2 if processes.count == 1 else None)


class _NoSignal:
    """Stands in for ``StopOnSignal`` where signals cannot be caught: outside the main thread."""

    received = None

    def __call__(self) -> bool:
        """Never stop."""
        return False
