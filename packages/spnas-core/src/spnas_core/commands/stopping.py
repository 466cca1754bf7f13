"""Ending a long command early, with word of how to go on."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNAL_CODE = 128
INTERRUPTED = SIGNAL_CODE + signal.SIGINT
"""Exit code after Ctrl-C."""


@contextmanager
def stopping_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt as Ctrl-C does; its argument is then the exit code."""
    fired: list[int] = []

    def stop(number: int, _frame: object) -> None:
        fired.append(SIGNAL_CODE + number)
        raise KeyboardInterrupt(SIGNAL_CODE + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as error:
        if fired and not error.args:  # a library that was waiting says that it was interrupted, and not by what
            raise KeyboardInterrupt(*fired) from error
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def ending_with(say: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the process, with a last word and the exit code of shells.

    Args:
        say: tells how to go on.
    """
    try:
        with stopping_like_ctrl_c():
            yield
    except KeyboardInterrupt as stop:
        say()
        sys.exit(exit_code(stop))


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return the exit code that says which signal has ended a process: 128 more than its number."""
    return int(stop.args[0]) if stop.args else INTERRUPTED
