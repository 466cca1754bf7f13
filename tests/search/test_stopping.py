"""Ending a command by a signal, through whatever library is waiting."""

import os
import signal

import pytest

from spnas_search.cli.stopping import stopping_like_ctrl_c


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
