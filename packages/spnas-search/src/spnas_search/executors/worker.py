"""The inside of a worker process: what runs there, and how it ends together with its parent.

Messages are pickled pairs (kind, payload). To the parent: ``started``, ``ready``, ``broken`` (reason),
``taken``, ``progress`` (Progress), ``outcome`` (Outcome), ``retired`` (Outcome, the worker's last), ``mistake``
(type, message). From the parent: the task, then requests; a closed pipe means the end.
"""

import ctypes
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection

import torch

from spnas_core.errors import SpnasError
from spnas_core.tasks import EvaluationRequest, Progress, Task
from spnas_search.executors.devices import take_device
from spnas_search.executors.evaluation import evaluate, reason_of
from spnas_search.executors.mistakes import sendable_mistake

_PR_SET_PDEATHSIG = 1
_WATCH_SECONDS = 1.0

Send = Callable[[str, object], None]


def work(connection: Connection, parent: int, slot: int, devices: list[str]) -> None:
    """Evaluate what comes through the pipe until it is closed.

    Args:
        connection: the pipe.
        parent: process whose end is this process's end.
        slot: number among the workers.
        devices: CUDA devices that the workers share; this one computes on that of its slot.
    """
    take_device(slot, devices)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A group of its own, so that the parent can end the evaluation's own children (data loaders) along with
    # it.
    os.setpgid(0, 0)
    _die_with(parent)
    lock = threading.Lock()

    def send(kind: str, payload: object) -> None:
        data = pickle.dumps((kind, payload))
        with lock:
            connection.send_bytes(data)

    try:
        send("started", None)
        try:
            task = pickle.loads(connection.recv_bytes())  # noqa: S301 - from our own parent
        except EOFError:
            raise
        except Exception as error:  # noqa: BLE001 - unpickling runs whatever code the task's module has
            traceback.print_exc()
            send("broken", reason_of(error))
            return
        send("ready", None)
        while True:
            data = connection.recv_bytes()
            send("taken", None)
            request = pickle.loads(data)  # noqa: S301
            kind, payload = _answer(task, request, send)
            send(kind, payload)
            if kind == "retired":
                return
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent has closed the pipe, or is gone


def _answer(task: Task, request: EvaluationRequest, send: Send) -> tuple[str, object]:
    def report(progress: Progress) -> None:
        send("progress", progress)

    try:
        outcome = evaluate(task, request, report)
    except SpnasError as error:
        return "mistake", sendable_mistake(error)
    # After an unexpected failure a CUDA context may be beyond repair: later candidates must not pay for it.
    spoilt = outcome.trace and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return "retired" if spoilt else "outcome", outcome


def _die_with(parent: int) -> None:
    """End this process when its parent ends, even by SIGKILL and in the middle of a computation."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        # Where there is no PDEATHSIG, and for a parent that ended before it was asked for.
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="spnas-parent-watch", daemon=True).start()
