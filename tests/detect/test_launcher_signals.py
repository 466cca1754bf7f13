"""Signals while several processes work, and behind that: what is ignored, passed on and given back."""

import os
import signal
import threading
import time

import process_scenarios
import pytest
from torch.distributed.launcher import api

from spnas_detect.processes import launch
from spnas_detect.processes.launcher import TAKEN

KILLED_AFTER = 30
"""Seconds after which torch's agent kills what has not ended."""

IGNORED, HEEDED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT), signal.SIGTERM
VARIABLE = "TORCHELASTIC_SIGNALS_TO_HANDLE"


@pytest.fixture(autouse=True)
def handlers():
    """Those of now, which every test leaves."""
    before = {number: signal.getsignal(number) for number in TAKEN}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


def test_what_whoever_started_the_processes_wants_ignored_ends_none_and_the_rest_is_passed_on(monkeypatch):
    """As ``nohup`` wants it of SIGHUP, and a script of SIGINT and SIGQUIT for what it starts with ``&``."""
    monkeypatch.delenv(VARIABLE, raising=False)
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    found = launch(process_scenarios.signalled, (list(IGNORED), HEEDED), 2)
    ended = time.monotonic()
    assert [one[:2] for one in found] == [[[True] * len(IGNORED), [HEEDED]]] * 2
    assert ended - max(one[2] for one in found) < KILLED_AFTER / 2, "what has ended is not waited for"
    assert [signal.getsignal(number) for number in IGNORED] == [signal.SIG_IGN] * len(IGNORED)
    assert VARIABLE not in os.environ


@pytest.mark.timeout(120)
def test_a_process_that_was_told_to_end_alone_waits_for_the_others():
    assert launch(process_scenarios.told_alone, (), 2) == [[0], [1]]


def agent_of(ending, told=None):
    """Stands in for the agent: takes the signals that it is told to take, which it notes, and ends in some way."""
    told = [] if told is None else told

    def elastic_launch(config, _):
        def run(*_):
            os.environ[VARIABLE] = config.signals_to_handle
            told.append(config.signals_to_handle)
            if threading.current_thread() is threading.main_thread():
                for name in filter(None, config.signals_to_handle.split(",")):
                    signal.signal(signal.Signals[name], lambda *_: None)
            if ending is not None:
                raise ending

        return run

    return elastic_launch


@pytest.mark.parametrize("ending", [None, KeyError("a fault")])
def test_behind_a_launch_signals_do_what_they_did_before(monkeypatch, handlers, ending):
    monkeypatch.setattr(api, "elastic_launch", agent_of(ending))
    monkeypatch.setenv(VARIABLE, "SIGTERM")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if ending is None:
        assert launch(len, ([],), 2) == [None, None]
    else:
        with pytest.raises(KeyError):
            launch(len, ([],), 2)
    assert {number: signal.getsignal(number) for number in TAKEN} == {
        **handlers, signal.SIGINT: signal.default_int_handler
    }  # fmt: skip
    assert os.environ[VARIABLE] == "SIGTERM"
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_launch_that_is_to_ignore_all_signals_takes_none(monkeypatch):
    told = []
    monkeypatch.setattr(api, "elastic_launch", agent_of(None, told))
    for number in TAKEN:
        signal.signal(number, signal.SIG_IGN)
    launch(len, ([],), 2)
    assert told == [""]
    assert {signal.getsignal(number) for number in TAKEN} == {signal.SIG_IGN}


def test_a_launch_outside_the_main_thread_leaves_handlers_alone(monkeypatch, handlers):
    monkeypatch.setattr(api, "elastic_launch", agent_of(None))
    found = []
    thread = threading.Thread(target=lambda: found.append(launch(len, ([],), 2)))
    thread.start()
    thread.join()
    assert found == [[None, None]]
    assert {number: signal.getsignal(number) for number in TAKEN} == handlers
