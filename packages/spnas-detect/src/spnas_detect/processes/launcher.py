"""Starting the processes of a training on this machine, and saying which one has died.

The processes are torch's elastic agent's, which ends all of them when one ends badly. What became of each is a small
file that it leaves, since an exit code says too little and an exception's text too much.
"""

import json
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import torch
from torch import distributed

from spnas_core import errors
from spnas_core.commands.stopping import heeded
from spnas_core.errors import EvaluationError, MachineError, SpnasError
from spnas_core.machine import usable_cores
from spnas_core.plugins import blamed

Ending = Literal["done", "refused", "failed", "crashed", "deserted"]

DESERTED_SECONDS = 5.0
"""How long a process that has lost another one waits for the agent to notice who it was."""

LEAVING_SECONDS = 3.0
"""How long a process that a signal has stopped waits for the agent to let it go, once all have ended, before it goes by
itself. The agent looks ten times a second."""

TAKEN = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT") if hasattr(signal, name))
"""Signals that the agent catches, to pass them on."""
_TOLD_TAKEN = "TORCHELASTIC_SIGNALS_TO_HANDLE"

_NOISY = ("torch.distributed.elastic", "torch.multiprocessing.spawn")


@dataclass(frozen=True)
class Outcome:
    """What became of one process.

    Attributes:
        ending: ``done``; ``refused``, a user's mistake; ``failed``, no result; ``crashed``, a fault of the program;
            ``deserted``, another process did not answer.
        text: the message, or the traceback of a crash.
        error: name of the error's class.
        value: what the function returned.
        moment: when it ended, in seconds.
    """

    ending: Ending
    text: str = ""
    error: str = ""
    value: Any = None
    moment: float = 0.0


_OF_TRAINING = "the training has stopped; go on with --resume, and lower training.batch_size if memory was short"


def launch(
    function: Callable[..., Any], arguments: Sequence[Any], processes: int, *, consequence: str = _OF_TRAINING
) -> list[Any]:
    """Call a function in several new processes of this machine, which find each other as under torchrun.

    SIGINT and SIGTERM are passed on; the processes have half a minute to end, and less is waited where they end sooner.
    What whoever has started this process wants ignored is ignored by all. Behind it signals do what they did before.

    Args:
        function: at module level; returns a plain value that JSON can hold.
        arguments: picklable.
        processes: number of them.
        consequence: what a user is told behind how a process has died.

    Returns:
        The values in order of rank; None for a process that was ended by a signal before it had one.

    Raises:
        SpnasError: the mistake that a process met.
        EvaluationError: a process gave no result, or died; the message names it.
        RuntimeError: a process met a fault of the program; the message is its traceback.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        signals_to_handle=",".join(number.name for number in heeded(TAKEN)),
    )
    with tempfile.TemporaryDirectory(prefix="spnas-") as folder, _quiet():
        try:
            with _signals_given_back():
                elastic_launch(config, _call)(function, tuple(arguments), folder)
        except ChildFailedError as error:
            outcomes = _read(Path(folder), processes)
            rank, failure = error.get_first_failure()
            _explain(outcomes, rank, failure.pid, failure.exitcode, consequence)
        except SignalException:
            outcomes = _read(Path(folder), processes)
            if any(outcome is not None and outcome.ending == "refused" for outcome in outcomes):
                _explain(outcomes, 0, 0, 0, consequence)
        else:
            outcomes = _read(Path(folder), processes)
    return [None if outcome is None else outcome.value for outcome in outcomes]


def _explain(outcomes: Sequence[Outcome | None], rank: int, process: int, exit_code: int, consequence: str) -> None:
    """Raise what ended the work: the first process's own words, or how a silent one has died."""
    spoken = [outcome for outcome in outcomes if outcome is not None]
    causes = sorted((o for o in spoken if o.ending not in {"done", "deserted"}), key=lambda o: o.moment)
    if causes:
        first = causes[0]
        if first.ending == "refused":
            raise getattr(errors, first.error, SpnasError)(first.text)
        if first.ending == "failed":
            raise EvaluationError(first.text)
        raise RuntimeError(first.text)
    last_words = outcomes[rank]
    if last_words is None:
        how = f"was killed by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"ended with code {exit_code}"
        raise EvaluationError(f"rank {rank} (process {process}) {how}: {consequence}")
    raise EvaluationError(
        f"rank {rank} (process {process}) had no answer from the others: {last_words.text}: {consequence}"
    )


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], folder: str) -> None:
    """Run in a process of its own: call the function, and leave the outcome."""
    torch.set_num_threads(max(1, usable_cores() // int(os.environ["LOCAL_WORLD_SIZE"])))
    with _noting_signals() as noted:
        outcome = attempt(function, arguments)
    path = Path(folder) / os.environ["RANK"]
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(outcome)), encoding="utf-8")
    temporary.replace(path)
    if noted() and outcome.ending == "done":
        threading.Thread(target=_leave, args=(Path(folder), int(os.environ["WORLD_SIZE"])), daemon=True).start()
    if outcome.ending == "deserted":
        # The agent ends this process as soon as it sees which one has died; that one it shall name.
        time.sleep(DESERTED_SECONDS)
    if outcome.ending != "done":
        raise SystemExit(1)


@contextmanager
def _noting_signals() -> Iterator[Callable[[], bool]]:
    """Note whether signals come that have handlers, whatever these do; for the main thread."""
    told, writes = socket.socketpair()
    with told, writes:
        told.setblocking(False)
        writes.setblocking(False)
        seen: list[bytes] = []
        before = signal.set_wakeup_fd(writes.fileno(), warn_on_full_buffer=False)
        try:
            yield lambda: bool(seen)
        finally:
            signal.set_wakeup_fd(before)
            with suppress(BlockingIOError):
                seen.append(told.recv(1))


def _leave(folder: Path, processes: int) -> None:
    """End this process, whose agent has been told to end, unless the agent ends it before.

    Such an agent waits for its processes, and these wait for it to have read their values, which it no longer does:
    after half a minute it would kill them. One that nobody has told lets all go as soon as the last value is there.
    Until then nobody may leave: it would wait for who is gone.
    """
    while not all((folder / str(rank)).exists() for rank in range(processes)):
        time.sleep(0.1)  # between two looks; where another one has crashed, the agent ends this one
    time.sleep(LEAVING_SECONDS)  # an agent that nobody has told sees all values meanwhile, and ends this process
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(0)


def attempt(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Outcome:
    """Call a function and say what came of it."""
    try:
        value = function(*arguments)
    except SpnasError as error:
        return Outcome("refused", str(error), _known_class(error), moment=time.monotonic())
    except EvaluationError as error:
        return Outcome("failed", str(error), moment=time.monotonic())
    except Exception as error:  # noqa: BLE001 - whatever it is, the other processes must not wait for this one
        if is_desertion(error):
            return Outcome("deserted", str(error).splitlines()[0], moment=time.monotonic())
        if isinstance(error, OSError) and error.filename is not None:  # a full disk, a folder that is read-only now
            text = f"{error.filename}: {error.strerror}; mend that, and go on with --resume"
            return Outcome("refused", text, MachineError.__name__, moment=time.monotonic())
        return _crashed(error)
    return Outcome("done", value=value, moment=time.monotonic())


def _crashed(error: Exception) -> Outcome:
    """Say what an unexpected error was, in one line where a plugin's code is to blame."""
    if (fault := blamed(error)) is not None:
        return Outcome("refused", str(fault), type(fault).__name__, moment=time.monotonic())
    return Outcome("crashed", "".join(traceback.format_exception(error)), moment=time.monotonic())


def _known_class(error: SpnasError) -> str:
    """Return the nearest class that the one who reads the outcome finds in ``spnas_core.errors``."""
    names: list[str] = [one.__name__ for one in type(error).__mro__]
    return next(name for name in names if hasattr(errors, name))


def is_desertion(error: BaseException) -> bool:
    """Whether an exception says that another process does not answer."""
    text = str(error)
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in text or "NCCL" in text)
    )


def _read(folder: Path, processes: int) -> list[Outcome | None]:
    outcomes: list[Outcome | None] = [None] * processes
    for rank in range(processes):
        with suppress(FileNotFoundError):
            outcomes[rank] = Outcome(**json.loads((folder / str(rank)).read_text(encoding="utf-8")))
    return outcomes


@contextmanager
def _signals_given_back() -> Iterator[None]:
    """Undo what the agent leaves behind: its handlers of signals, and the variable that says which these are."""
    told = os.environ.get(_TOLD_TAKEN)
    before = {number: signal.getsignal(number) for number in TAKEN}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # in others it has none
            for number, handler in before.items():
                if handler is not None:  # one that Python has not set cannot be set by it
                    signal.signal(number, handler)
        os.environ.pop(_TOLD_TAKEN, None)
        if told is not None:
            os.environ[_TOLD_TAKEN] = told


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the agent from logging tracebacks: what happened is said in one line."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
