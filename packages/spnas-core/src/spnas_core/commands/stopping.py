"""Ending a long command early, with word of how to go on."""

import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

SIGNAL_CODE = 128
INTERRUPTED = SIGNAL_CODE + signal.SIGINT
"""Exit code after Ctrl-C."""

STOPPING = (signal.SIGTERM, signal.SIGHUP) if hasattr(signal, "SIGHUP") else (signal.SIGTERM,)
"""What stops a command as Ctrl-C does: being told to end, and the end of its terminal or connection."""


def heeded(signals: Iterable[signal.Signals]) -> list[signal.Signals]:
    """Leave out the signals that whoever has started this process wants ignored.

    ``nohup`` wants that of the end of the terminal, and a script of Ctrl-C for what it starts with ``&``.
    """
    return [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def stopping_like_ctrl_c() -> Iterator[None]:
    """Let what is in ``STOPPING`` raise KeyboardInterrupt as Ctrl-C does; its argument is then the exit code."""
    fired: list[int] = []

    def stop(number: int, _frame: object) -> None:
        if number not in (signal.SIGINT, signal.SIGTERM):  # a shell and the system may both tell of a terminal's end
            signal.signal(number, signal.SIG_IGN)
        fired.append(SIGNAL_CODE + number)
        raise KeyboardInterrupt(SIGNAL_CODE + number)

    before = {number: signal.signal(number, stop) for number in heeded(STOPPING)}
    try:
        yield
    except KeyboardInterrupt as error:
        if fired and not error.args:  # a library that was waiting says that it was interrupted, and not by what
            raise KeyboardInterrupt(*fired) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ending_with(say: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP end the process, with a last word and the exit code of shells.

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
