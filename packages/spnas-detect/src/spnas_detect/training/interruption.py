"""Stopping between two steps where a signal asks for it."""

import signal
from types import FrameType, TracebackType
from typing import Self

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopOnSignal:
    """Notes SIGTERM and SIGINT instead of ending at once; a context manager for the main thread.

    Args:
        insist: how often a signal may come until it ends the process after all; None for as often as it likes.

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
        for number in SIGNALS:
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
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                raise KeyboardInterrupt
