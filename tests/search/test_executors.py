"""Executors turn whatever goes wrong in an evaluation into an outcome, and leave no process behind."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file
from waiting import wait_until
from worker_tasks import Devices, Unreadable

from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError, DataError, PluginError
from spnas_core.morphisms import identity
from spnas_core.tasks import EvaluationRequest, Fidelity
from spnas_search.executors import ExecutorSettings, evaluate_all, executor_plugin
from spnas_search.executors.devices import visible_devices
from spnas_search.executors.inline import InlineExecutor
from spnas_search.executors.processes import ProcessExecutor
from spnas_search.testing import NullTask

SAME = identity(Architecture.parse("b@8_1-1"))
TIMEOUT = 3.0

# Numbers say what happens; the rest ends well.
RAISE, DIVERGE, KILL, HANG, MISTAKE = range(100, 105)
TASK = NullTask(
    behaviour={
        RAISE: "raise",
        DIVERGE: "diverge",
        KILL: "kill",
        HANG: "hang",
        MISTAKE: "user-error",
    }
)


def ignore(progress):
    pass


def request(candidate, **changes) -> EvaluationRequest:
    given = {"parent_weights": None, "weights": None, "epochs": 2, "seed": candidate} | changes
    given["fidelity"] = Fidelity(given.pop("epochs"))
    return EvaluationRequest(candidate, SAME, **given)


def pids(executor: ProcessExecutor) -> list[int]:
    return [worker.process.pid for worker in executor._staff]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def reported():
    return []


@pytest.fixture(scope="module")
def processes(reported):
    """Two workers for the whole module: starting one takes seconds."""
    with ProcessExecutor(ExecutorSettings(timeout=TIMEOUT), TASK, 2, reported.append) as executor:
        yield executor


@pytest.fixture
def inline(reported):
    with InlineExecutor(ExecutorSettings(), TASK, 4, reported.append) as executor:
        yield executor


@pytest.fixture(params=["inline", "processes"])
def executor(request):
    return request.getfixturevalue(request.param)


def by_candidate(outcomes):
    return {outcome.request.candidate: outcome for outcome in outcomes}


def test_every_request_has_one_outcome_and_workers_agree_with_inline(executor, inline, tmp_path, reported):
    requests = [request(number, weights=tmp_path / f"{number}.safetensors") for number in range(5)]
    outcomes = list(evaluate_all(executor, requests))
    assert sorted(outcome.request.candidate for outcome in outcomes) == list(range(5))
    expected = by_candidate(evaluate_all(inline, requests))
    for outcome in outcomes:
        assert outcome.request in requests
        assert outcome.reason == outcome.trace == ""
        same = expected[outcome.request.candidate].evaluation
        assert (outcome.evaluation.metrics, outcome.evaluation.cost) == (same.metrics, same.cost)
        assert load_file(outcome.request.weights)["epochs"] == [2]
    reported.clear()
    trained_on = [request(9, parent_weights=tmp_path / "0.safetensors", weights=tmp_path / "9.safetensors")]
    assert [outcome.reason for outcome in evaluate_all(executor, trained_on)] == [""]
    assert load_file(tmp_path / "9.safetensors")["epochs"] == [4]
    assert [(p.candidate, p.done, p.total) for p in reported] == [(9, n, 2) for n in range(3)]
    assert list(evaluate_all(executor, [])) == []


def test_exceptions_become_outcomes_and_the_others_go_on(executor):
    outcomes = by_candidate(evaluate_all(executor, [request(RAISE), request(DIVERGE), request(0), request(1)]))
    failed = outcomes[RAISE]
    assert failed.evaluation is None
    assert failed.reason == "RuntimeError: the null task was told to raise"
    assert "Traceback" in failed.trace
    assert "null_task.py" in failed.trace
    diverged = outcomes[DIVERGE]
    assert (diverged.evaluation, diverged.trace) == (None, "")
    assert diverged.reason == "the loss is NaN after epoch 1"
    assert outcomes[0].evaluation
    assert outcomes[1].evaluation


def test_a_users_mistake_is_raised_as_the_same_type(inline):
    outcomes = evaluate_all(inline, [request(0), request(MISTAKE)])
    assert next(outcomes).evaluation
    with pytest.raises(DataError, match="told to find no images: give it some"):
        next(outcomes)


def test_workers_stay_and_go_on_while_nobody_listens(processes):
    list(evaluate_all(processes, [request(0), request(1)]))
    before = set(pids(processes))
    for number in range(4):
        processes.submit(request(number))
    first = next(processes.outcomes())
    with pytest.raises(ValueError, match="candidate 3 is being evaluated already"):
        processes.submit(request(3))
    processes.submit(request(9))
    rest = [outcome.request.candidate for outcome in processes.outcomes()]
    assert sorted([first.request.candidate, *rest]) == [0, 1, 2, 3, 9]
    assert set(pids(processes)) == before


def test_who_stops_listening_cancels_the_rest(executor):
    outcomes = evaluate_all(executor, [request(0, epochs=0), *(request(n) for n in range(1, 5))])
    assert next(outcomes).evaluation
    outcomes.close()
    assert list(executor.outcomes()) == []


def test_what_runs_and_what_waits_can_be_cancelled(processes):
    list(evaluate_all(processes, [request(0), request(1)]))
    seen = []
    processes._report, before = seen.append, processes._report
    try:
        for number in (HANG, 300, 301, 302):
            processes.submit(request(number, epochs=0))
        hanging = next(worker for worker in processes._staff if worker.request and worker.request.candidate == HANG)
        pid = hanging.process.pid
        assert processes.cancel(HANG)
        assert processes.cancel(302)
        assert not processes.cancel(302)
        assert not processes.cancel(999)
        found = by_candidate(processes.outcomes())
    finally:
        processes._report = before
    assert sorted(found) == [HANG, 300, 301, 302]
    assert [found[number].was_cancelled for number in (HANG, 300, 301, 302)] == [True, False, False, True]
    assert not is_running(pid)
    assert len(processes._staff) == 2


def test_inline_cancels_what_has_not_begun(inline):
    inline.submit(request(0))
    inline.submit(request(1))
    with pytest.raises(ValueError, match="candidate 1 is being evaluated already"):
        inline.submit(request(1))
    assert inline.cancel(1)
    found = by_candidate(inline.outcomes())
    assert found[0].evaluation
    assert found[1].was_cancelled
    assert not inline.cancel(0)


def test_a_worker_that_died_idle_costs_no_candidate(processes):
    list(evaluate_all(processes, [request(0), request(1)]))
    worker = processes._staff[0]
    os.kill(worker.process.pid, signal.SIGKILL)
    assert wait_until(lambda: not is_running(worker.process.pid))
    assert [outcome.reason for outcome in evaluate_all(processes, [request(n) for n in range(4)])] == [""] * 4


def test_a_killed_worker_and_a_late_one_fail_only_their_candidates(processes):
    outcomes = by_candidate(evaluate_all(processes, [request(KILL), request(HANG), *(request(n) for n in range(4))]))
    assert len(outcomes) == 6
    assert outcomes[KILL].reason == (
        "worker ended by signal 9 (SIGKILL): often the kernel's answer to too little memory"
    )
    assert outcomes[HANG].reason == "no result within 3 s"
    assert outcomes[HANG].seconds >= TIMEOUT
    assert [outcomes[number].is_own for number in (KILL, HANG)] == [False, True]
    assert outcomes[KILL].evaluation is outcomes[HANG].evaluation is None
    assert all(outcomes[number].evaluation for number in range(4))


def test_a_result_that_waits_for_a_slow_caller_is_not_late(processes):
    list(evaluate_all(processes, [request(0), request(1)]))
    # The second one is still reporting when the first one ends, and has ended long before its caller looks again.
    outcomes = evaluate_all(processes, [request(0, epochs=0), request(1, epochs=300)])
    assert next(outcomes).request.candidate == 0
    time.sleep(TIMEOUT + 0.2)
    assert [outcome.reason for outcome in outcomes] == [""]


def test_a_users_mistake_in_a_worker_is_raised_here_and_ends_the_others(processes):
    list(evaluate_all(processes, [request(0), request(1)]))
    started = pids(processes)
    with pytest.raises(DataError, match="told to find no images: give it some"):
        list(evaluate_all(processes, [request(MISTAKE), request(HANG)]))
    assert processes._staff == []
    assert not any(is_running(pid) for pid in started)


SCRIPT = """
    import os, signal, subprocess, sys, threading
    from dataclasses import dataclass
    from spnas_core.encoding import Architecture
    from spnas_core.morphisms import Rewrite, identity
    from spnas_core.plugins import manager
    from spnas_core.tasks import Evaluation, EvaluationRequest, Fidelity
    from spnas_search.executors import ExecutorSettings, evaluate_all
    from spnas_search.executors.processes import ProcessExecutor
    from spnas_search.testing import NullTask
    import torch

    @dataclass(frozen=True)
    class Probe(NullTask):
        def evaluate(self, request, report):
            if request.candidate == 0:
                loaded = manager._load.cache_info().currsize
                ignores = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
                threads = torch.get_num_threads()
                return Evaluation({"plugins": loaded, "threads": threads, "ignores": ignores}, {})
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            print(os.getpid(), child.pid, flush=True)
            return super().evaluate(request, report)

    def main():
        same = identity(Architecture.parse("b@8_1-1"))
        ask = lambda n: EvaluationRequest(n, same, None, None, Fidelity(1), 0, threads=3)
        task = Probe(behaviour={1: "hang", 2: "hang"})
        with ProcessExecutor(ExecutorSettings(), task, 1, lambda p: None) as executor:
            for outcome in evaluate_all(executor, [ask(0)]):
                print(dict(outcome.evaluation.metrics), flush=True)
            try:
                list(evaluate_all(executor, [ask(1)]))
            except KeyboardInterrupt:
                print("interrupted", flush=True)
            list(evaluate_all(executor, [ask(2)]))

    if __name__ == "__main__":
        # A shell that runs the tests in the background has them ignore Ctrl-C, and children inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        main()
"""


def test_workers_end_with_their_parent_by_ctrl_c_and_by_sigkill(tmp_path):
    script = tmp_path / "search.py"
    script.write_text(textwrap.dedent(SCRIPT))
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, start_new_session=True)
    children = []
    try:
        # Workers load no plugins, compute with the request's threads, and leave Ctrl-C to their parent.
        assert parent.stdout.readline() == "{'plugins': 0, 'threads': 3, 'ignores': 1}\n"
        worker, child = map(int, parent.stdout.readline().split())
        children.append(child)
        os.kill(worker, signal.SIGINT)
        time.sleep(0.2)
        assert is_running(worker)
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.stdout.readline() == "interrupted\n"
        assert not is_running(worker)
        assert wait_until(lambda: not is_running(child))

        worker, child = map(int, parent.stdout.readline().split())
        children.append(child)
        assert is_running(worker)
        parent.kill()
        assert parent.wait(20) == -signal.SIGKILL
        assert wait_until(lambda: not is_running(worker), 5)
    finally:
        parent.kill()
        parent.wait()
        for child in filter(is_running, children):
            os.kill(child, signal.SIGKILL)
        parent.stdout.close()


def test_inline_computes_with_the_requests_threads_and_gives_them_back():
    seen = []

    class Task(NullTask):
        def evaluate(self, request, report):
            seen.append(torch.get_num_threads())
            return super().evaluate(request, report)

    before = torch.get_num_threads()
    with InlineExecutor(ExecutorSettings(), Task(), 1, ignore) as executor:
        list(evaluate_all(executor, [request(0, threads=before + 1)]))
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_what_is_no_evaluation_is_a_failure():
    class Task(NullTask):
        def evaluate(self, request, report):
            return {"score": 1}

    with InlineExecutor(ExecutorSettings(), Task(), 1, ignore) as executor:
        (outcome,) = evaluate_all(executor, [request(0)])
    assert outcome.reason == "TypeError: Task.evaluate returned a dict, not an Evaluation"


@pytest.mark.parametrize("kind", [InlineExecutor, ProcessExecutor])
def test_a_result_that_another_process_cannot_read_fails_its_candidate_only(kind):
    with kind(ExecutorSettings(), Unreadable(), 1, ignore) as executor:
        found = by_candidate(evaluate_all(executor, [request(number) for number in range(4)]))
    assert found[0].evaluation.receipt == found[3].evaluation.receipt == {"warning": "nothing"}
    for number, name in ((1, "UnreadableError"), (2, "function")):
        assert found[number].evaluation is None
        assert f"the receipt of the task holds a {name}: only numbers, texts" in found[number].reason


@dataclass(frozen=True)
class Unsendable(NullTask):
    lock: object = None


def test_impossible_settings_are_the_users_mistakes():
    def made(task=TASK, workers=1):
        return ProcessExecutor(ExecutorSettings(), task, workers, ignore)

    with pytest.raises(ConfigError, match="workers is 0"):
        made(workers=0)
    with pytest.raises(ConfigError, match=r"cannot be sent to worker processes .*: make it picklable"):
        made(task=Unsendable(lock=threading.Lock()))


def test_every_worker_has_a_device_of_its_own_as_far_as_they_go(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 7")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with ProcessExecutor(ExecutorSettings(), Devices(meeting=tmp_path), 3, ignore) as executor:
        outcomes = list(evaluate_all(executor, [request(number) for number in range(3)]))
        assert sorted(outcome.evaluation.metrics["device"] for outcome in outcomes) == [4, 4, 7]
        # Who replaces a worker takes its place.
        second = next(worker for worker in executor._staff if worker.slot == 1)
        os.kill(second.process.pid, signal.SIGKILL)
        assert wait_until(lambda: not is_running(second.process.pid))
        for file in tmp_path.iterdir():
            file.unlink()
        outcomes = list(evaluate_all(executor, [request(number) for number in range(3)]))
        assert sorted(outcome.evaluation.metrics["device"] for outcome in outcomes) == [4, 4, 7]


def test_devices_are_named_as_the_environment_names_them(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert visible_devices({}) == ["0", "1"]
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "GPU-a, GPU-b"}) == ["GPU-a", "GPU-b"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert visible_devices({"CUDA_VISIBLE_DEVICES": ""}) == visible_devices({}) == []


def test_an_unknown_executor_is_refused():
    with pytest.raises(PluginError, match="'proceses' is not among the registered executors"):
        executor_plugin("proceses")


def test_a_null_task_is_deterministic_and_picklable():
    task = pickle.loads(pickle.dumps(NullTask(noise=0.1)))
    assert task == NullTask(noise=0.1)
    assert task.score("b@8_1-1", 4, seed=1) == NullTask(noise=0.1).score("b@8_1-1", 4, seed=1)
    assert task.score("b@8_1-1", 4, seed=1) != task.score("b@8_1-1", 4, seed=2)
    assert NullTask().score("b@8_1-1", 8) > NullTask().score("b@8_1-1", 4) > 0 == NullTask().score("b@8_1-1", 0)
