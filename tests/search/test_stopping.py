"""Ending a command by a signal, through whatever library is waiting."""

import os
import signal
import subprocess
import sys
from itertools import product

import pytest

from spnas_core.commands.stopping import STOPPING, heeded, stopping_like_ctrl_c


def terminated():
    os.kill(os.getpid(), signal.SIGTERM)


def waits_badly():
    try:
        terminated()
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None


def test_a_library_that_says_only_that_it_was_interrupted_does_not_hide_by_what():
    with pytest.raises(KeyboardInterrupt) as stop, stopping_like_ctrl_c():
        waits_badly()
    assert stop.value.args == (128 + signal.SIGTERM,)


INTERRUPTED_IMPORT = """
import os, signal, sys
from spnas_search.cli import main, show
def interrupted(*args, **given):
    try:
        os.kill(os.getpid(), signal.{name})
    except KeyboardInterrupt:
        {answer}
show.show.callback = interrupted
sys.argv = ["spnas", "show", "b@8_1-2"]
main()
"""


SWALLOWED = "pass\n    raise AttributeError('numpy')"


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        *product(("SIGINT", "SIGTERM", "SIGHUP"), ("raise ImportError('numpy')", "raise")),
        ("SIGINT", SWALLOWED),  # only Ctrl-C is remembered: nothing that swallows SIGTERM is known
    ],
)
def test_whatever_a_signal_makes_of_a_library_a_command_is_aborted(name, answer):
    code = INTERRUPTED_IMPORT.format(name=name, answer=answer)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.stderr, found.stdout) == ("Aborted!\n", "")
    assert found.returncode == 128 + signal.Signals[name]


@pytest.mark.parametrize(
    ("way", "code"), [(terminated, (128 + signal.SIGTERM,)), (lambda: os.kill(os.getpid(), 2), ())]
)
def test_signals_tell_themselves(way, code):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt) as stop, stopping_like_ctrl_c():
            way()
        assert stop.value.args == code
        assert signal.getsignal(signal.SIGTERM) == before[1]
    finally:
        signal.signal(signal.SIGINT, before[0])


def test_the_end_of_a_terminal_that_is_told_twice_stops_once():
    before, ends = signal.getsignal(signal.SIGHUP), []

    def told_twice():
        try:
            os.kill(os.getpid(), signal.SIGHUP)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)
            ends.append("whole")

    with pytest.raises(KeyboardInterrupt) as stop, stopping_like_ctrl_c():
        told_twice()
    assert (ends, stop.value.args) == (["whole"], (128 + signal.SIGHUP,))
    assert signal.getsignal(signal.SIGHUP) == before


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_what_whoever_started_the_process_wants_ignored_stops_nothing(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        assert number not in heeded(STOPPING)
        with stopping_like_ctrl_c():
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


IN_THE_BACKGROUND = """
import os, signal, sys
from spnas_search.cli import main, show
def interrupted(*args, **given):
    os.kill(os.getpid(), signal.SIGINT)
    print("goes on")
show.show.callback = interrupted
sys.argv = ["spnas", "show", "b@8_1-2"]
main()
"""


def test_ctrl_c_stops_nothing_that_a_script_has_started_in_the_background():
    found = subprocess.run(
        ["sh", "-c", 'trap "" INT; exec "$0" -c "$1"', sys.executable, IN_THE_BACKGROUND],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.stdout, found.stderr, found.returncode) == ("goes on\n", "", 0)
