"""Evaluations in persistent worker processes."""

import multiprocessing
import os
import pickle
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from spnas_core.errors import ConfigError, SpnasError
from spnas_core.tasks import EvaluationRequest, Report, Task
from spnas_search.executors._base import Outcome
from spnas_search.executors.evaluation import reason_of
from spnas_search.executors.worker import work

_TICK_SECONDS = 0.5
_GOODBYE_SECONDS = 5.0
_FAILED_STARTS = 3
_MESSAGES_PER_LOOK = 4096  # more than fits into a pipe


class _Worker:
    """A worker process as its parent sees it."""

    def __init__(self) -> None:
        # Spawned, not forked: a forked child inherits threads' locks and a CUDA context that it cannot use.
        context = multiprocessing.get_context("spawn")
        self.connection: Connection
        self.connection, theirs = context.Pipe()
        # Not a daemon: a daemon must not have children, and tasks have data loaders.
        self.process = context.Process(target=work, args=(theirs, os.getpid()), name="spnas-worker", daemon=False)
        self.ready = False
        self.request: EvaluationRequest | None = None
        self.has_taken = False
        self.since = 0.0
        # Blocked signals stay blocked in the child: Ctrl-C reaches the whole terminal, and a worker that is
        # still importing would answer with a traceback. The tracker unblocks SIGINT when it starts, so it
        # starts before.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    @property
    def idle(self) -> bool:
        return self.ready and self.request is None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.since

    def send(self, data: bytes) -> None:
        self.connection.send_bytes(data)

    def ended(self) -> str | None:
        """How the process ended, once it has; None while it runs."""
        code = self.process.exitcode
        if code is None:
            return None
        if code >= 0:
            return f"worker ended with exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "unknown"
        hint = ": often the kernel's answer to too little memory" if -code == signal.SIGKILL else ""
        return f"worker ended by signal {-code} ({name}){hint}"

    def kill(self) -> None:
        """End the process and its children at once."""
        # Only while it runs: the number of a process that has been waited for may be another's by now.
        if self.process.is_alive():
            try:
                os.killpg(self.process.pid or 0, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                self.process.kill()  # it has not yet made its group
        self.process.join()
        self.connection.close()
        self.process.close()

    def leave(self, deadline: float) -> None:
        """Let the process end by itself, and end it at the deadline."""
        self.connection.close()
        self.process.join(max(0.0, deadline - time.monotonic()))
        self.kill()


class ProcessExecutor:
    """Evaluations in ``workers`` processes that stay alive between them, and from run to run.

    Workers start all at once when there is something to do: importing takes them seconds, which the later ones spend
    beside the first evaluation. Each gets the pickled task once. One that dies, or
    is killed at the time-out, fails its candidate only and is replaced. Workers end with this process,
    however it ends.

    A worker ends when the thread that started it ends (so Linux does it): iterate over ``run`` in one thread.

    Args:
        task: evaluates; must be picklable.
        workers: processes, 1 or more.
        timeout: seconds that an evaluation may take; None for no limit.
        report: called in this process with each progress.

    Raises:
        ConfigError: no worker, a time-out that is not positive, or a task that cannot be pickled.
    """

    def __init__(self, task: Task, workers: int, timeout: float | None, report: Report) -> None:
        if workers < 1:
            raise ConfigError(f"workers is {workers}: it must be 1 or more")
        if timeout is not None and not timeout > 0:
            raise ConfigError(f"timeout is {timeout} s: it must be positive, or left out for no limit")
        try:
            self._task = pickle.dumps(task)
        except Exception as error:
            raise ConfigError(
                f"the task cannot be sent to worker processes ({reason_of(error)}): "
                "make it picklable, or use the inline executor"
            ) from error
        self.workers = workers
        self._timeout = timeout
        self._report = report
        self._staff: list[_Worker] = []
        self._running = False
        self._ever_ready = False
        self._failed_starts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._kill_all()
        deadline = time.monotonic() + _GOODBYE_SECONDS
        for worker in self._staff:
            if worker.idle:
                worker.leave(deadline)
            else:
                worker.kill()
        self._staff.clear()

    def run(self, requests: Sequence[EvaluationRequest]) -> Iterator[Outcome]:
        """Evaluate on all workers; requests go out in order. See ``Executor``.

        Raises:
            SpnasError: an evaluation met a user's mistake, or no worker can start.
            RuntimeError: another run has not come to its end.
        """
        if self._running:
            raise RuntimeError("exhaust or close one run before the next: the workers are busy with it")
        self._running = True
        waiting = deque(requests)
        try:
            while waiting or any(worker.request for worker in self._staff):
                self._hand_out(waiting)
                yield from self._collect(waiting)
        except BaseException:
            # Ctrl-C, a user's mistake, or a caller who stopped listening: nobody will fetch what still runs.
            self._kill_all()
            raise
        finally:
            self._running = False

    def _hand_out(self, waiting: deque[EvaluationRequest]) -> None:
        for worker in [worker for worker in self._staff if worker.idle]:
            if not waiting:
                return
            try:
                worker.send(pickle.dumps(waiting[0]))
            except OSError:  # it died while it had nothing to do: no candidate's fault
                self._dismiss(worker)
                continue
            worker.request, worker.has_taken, worker.since = waiting.popleft(), False, time.monotonic()
        if waiting:
            self._staff.extend(_Worker() for _ in range(self.workers - len(self._staff)))

    def _collect(self, waiting: deque[EvaluationRequest]) -> Iterator[Outcome]:
        """Wait a moment for messages, deaths and time-outs, and yield the outcomes among them."""
        ready = set(wait([worker.connection for worker in self._staff], self._patience()))
        for worker in [worker for worker in self._staff if worker.connection in ready]:
            yield from self._listen(worker, waiting)
        for worker in list(self._staff):
            # A dead worker's pipe stays open while a child of its own lives: so its end is asked for, too.
            if worker.process.exitcode is not None and not worker.connection.poll():
                yield from self._bury(worker, waiting)
            elif self._is_late(worker):
                yield from self._give_up(worker, waiting)

    def _is_late(self, worker: _Worker) -> bool:
        return worker.request is not None and self._timeout is not None and worker.seconds > self._timeout

    def _give_up(self, worker: _Worker, waiting: deque[EvaluationRequest]) -> Iterator[Outcome]:
        """End a late evaluation, unless its result is there: the caller may have kept us from looking."""
        for _ in range(_MESSAGES_PER_LOOK):
            hopeful = worker in self._staff and self._is_late(worker) and worker.connection.poll()
            if not hopeful:
                break
            yield from self._listen(worker, waiting)
        if worker in self._staff and worker.request is not None and self._is_late(worker):
            request, seconds = worker.request, worker.seconds
            self._dismiss(worker)
            yield Outcome(request, None, f"no result within {self._timeout:g} s", "", seconds)

    def _patience(self) -> float:
        if self._timeout is None:
            return _TICK_SECONDS
        left = (self._timeout - worker.seconds for worker in self._staff if worker.request)
        return max(0.0, min([_TICK_SECONDS, *left]))

    def _listen(self, worker: _Worker, waiting: deque[EvaluationRequest]) -> Iterator[Outcome]:
        try:
            kind, payload = pickle.loads(worker.connection.recv_bytes())  # noqa: S301 - from our own child
        except (EOFError, OSError):
            worker.process.join(_GOODBYE_SECONDS)
            yield from self._bury(worker, waiting)
            return
        match kind:
            case "started":
                try:
                    worker.send(self._task)
                except OSError:
                    return  # it died; the next look at it says how
            case "ready":
                worker.ready = self._ever_ready = True
                self._failed_starts = 0
            case "broken":
                raise ConfigError(f"worker processes cannot load the task: {payload}")
            case "taken":
                worker.has_taken = True
            case "progress":
                self._report(payload)
            case "mistake":
                raise _same_mistake(*payload)
            case _:
                worker.request = None
                if kind == "retired":
                    self._dismiss(worker)
                yield payload

    def _bury(self, worker: _Worker, waiting: deque[EvaluationRequest]) -> Iterator[Outcome]:
        """Remove a worker that has ended, or has closed its pipe; its request failed."""
        how = worker.ended() or "worker closed its connection"
        request, seconds, was_ready = worker.request, worker.seconds, worker.ready
        self._dismiss(worker)
        if request is not None and worker.has_taken:
            yield Outcome(request, None, how, "", seconds)
        elif request is not None:
            waiting.appendleft(request)  # it died before it began: no candidate's fault
        elif not was_ready:
            self._failed_starts += 1
            if not self._ever_ready or self._failed_starts >= _FAILED_STARTS:
                raise ConfigError(
                    f"no worker process can start: {how}; a script that starts a search must do so under "
                    "`if __name__ == '__main__':`, or use the inline executor"
                )

    def _dismiss(self, worker: _Worker) -> None:
        self._staff.remove(worker)
        worker.kill()

    def _kill_all(self) -> None:
        while self._staff:
            self._staff.pop().kill()


def _same_mistake(kind: type[Any], message: str) -> SpnasError:
    try:
        error = kind(message)
    except TypeError:  # a type of a plugin whose constructor takes something else
        return SpnasError(message)
    return error if isinstance(error, SpnasError) else SpnasError(message)
