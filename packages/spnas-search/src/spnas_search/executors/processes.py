"""Evaluations in persistent worker processes."""

import pickle
import time
from collections import deque
from collections.abc import Iterator
from multiprocessing.connection import wait
from types import TracebackType
from typing import Self

from spnas_core.errors import ConfigError
from spnas_core.tasks import EvaluationRequest, Report, Task
from spnas_search.executors._base import CANCELLED, Outcome
from spnas_search.executors.devices import visible_devices
from spnas_search.executors.evaluation import reason_of
from spnas_search.executors.mistakes import same_mistake
from spnas_search.executors.settings import ExecutorSettings
from spnas_search.executors.worker_process import WorkerProcess

_TICK_SECONDS = 0.5
_GOODBYE_SECONDS = 5.0
_FAILED_STARTS = 3
_MESSAGES_PER_LOOK = 4096  # more than fits into a pipe


class ProcessExecutor:
    """Evaluations in ``workers`` processes that stay alive between them, each with a CUDA device of its own.

    Workers start all at once when there is something to do: importing takes them seconds, which the later ones spend
    beside the first evaluation. Each gets the pickled task once. One that dies, or
    is killed at the time-out, fails its candidate only and is replaced. Workers end with this process,
    however it ends.

    A worker ends when the thread that started it ends (so Linux does it): iterate over ``outcomes`` in one thread.

    Args:
        settings: of the executor's table; ``timeout`` is heeded.
        task: evaluates; must be picklable.
        workers: processes, 1 or more. Where they outnumber the CUDA devices, they share them in turn.
        report: called in this process with each progress.

    Raises:
        ConfigError: no worker, or a task that cannot be pickled.
    """

    def __init__(self, settings: ExecutorSettings, task: Task, workers: int, report: Report) -> None:
        if workers < 1:
            raise ConfigError(f"workers is {workers}: it must be 1 or more")
        try:
            self._task = pickle.dumps(task)
        except Exception as error:
            raise ConfigError(
                f"the task cannot be sent to worker processes ({reason_of(error)}): "
                "make it picklable, or use the inline executor"
            ) from error
        self.workers = workers
        self._timeout = settings.timeout
        self._report = report
        self._devices = visible_devices()
        self._staff: list[WorkerProcess] = []
        self._waiting: deque[EvaluationRequest] = deque()
        self._answers: deque[Outcome] = deque()
        self._ever_ready = False
        self._failed_starts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._end_all()
        deadline = time.monotonic() + _GOODBYE_SECONDS
        for worker in self._staff:
            if worker.idle:
                worker.leave(deadline)
            else:
                worker.kill()
        self._staff.clear()

    def submit(self, request: EvaluationRequest) -> None:
        """Hand a request to an idle worker, or let it wait for one; see ``Executor``.

        Raises:
            ValueError: one for the same candidate is not answered yet.
        """
        if any(request.candidate == other.candidate for other in self._unanswered()):
            raise ValueError(f"candidate {request.candidate} is being evaluated already")
        self._waiting.append(request)
        self._hand_out()

    def outcomes(self) -> Iterator[Outcome]:
        """Evaluate on all workers; see ``Executor``.

        Raises:
            SpnasError: an evaluation met a user's mistake, or no worker can start.
        """
        while True:
            while self._answers:
                yield self._answers.popleft()
            if not self._waiting and all(worker.request is None for worker in self._staff):
                return
            try:
                self._hand_out()
                self._look()
            except BaseException:
                # Ctrl-C, or a user's mistake: nobody will fetch what still runs.
                self._end_all()
                raise

    def cancel(self, candidate: int) -> bool:
        """Take a request back, or end the worker that has it; see ``Executor``."""
        for request in self._waiting:
            if request.candidate == candidate:
                self._waiting.remove(request)
                self._answers.append(Outcome(request, None, CANCELLED))
                return True
        for worker in self._staff:
            if worker.request is not None and worker.request.candidate == candidate:
                self._answers.append(Outcome(worker.request, None, CANCELLED, "", worker.seconds))
                self._dismiss(worker)
                return True
        return False

    def _unanswered(self) -> Iterator[EvaluationRequest]:
        yield from self._waiting
        yield from (worker.request for worker in self._staff if worker.request is not None)
        yield from (outcome.request for outcome in self._answers)

    def _hand_out(self) -> None:
        for worker in [worker for worker in self._staff if worker.idle]:
            if not self._waiting:
                return
            try:
                worker.give(self._waiting[0], pickle.dumps(self._waiting[0]))
            except OSError:  # it died while it had nothing to do: no candidate's fault
                self._dismiss(worker)
                continue
            self._waiting.popleft()
        if self._waiting:
            taken = {worker.slot for worker in self._staff}
            free = (slot for slot in range(self.workers) if slot not in taken)
            self._staff.extend(WorkerProcess(slot, self._devices) for slot in free)

    def _look(self) -> None:
        """Wait a moment for messages, deaths and time-outs, and take the outcomes among them."""
        ready = set(wait([worker.connection for worker in self._staff], self._patience()))
        for worker in [worker for worker in self._staff if worker.connection in ready]:
            self._listen(worker)
        for worker in list(self._staff):
            # A dead worker's pipe stays open while a child of its own lives: so its end is asked for, too.
            if worker.process.exitcode is not None and not worker.connection.poll():
                self._bury(worker)
            elif self._is_late(worker):
                self._give_up(worker)

    def _is_late(self, worker: WorkerProcess) -> bool:
        return worker.request is not None and self._timeout is not None and worker.seconds > self._timeout

    def _give_up(self, worker: WorkerProcess) -> None:
        """End a late evaluation, unless its result is there: the caller may have kept us from looking."""
        for _ in range(_MESSAGES_PER_LOOK):
            hopeful = worker in self._staff and self._is_late(worker) and worker.connection.poll()
            if not hopeful:
                break
            self._listen(worker)
        if worker in self._staff and worker.request is not None and self._is_late(worker):
            request, seconds = worker.request, worker.seconds
            self._dismiss(worker)
            self._answers.append(
                Outcome(request, None, f"no result within {self._timeout:g} s", "", seconds, is_own=True)
            )

    def _patience(self) -> float:
        if self._timeout is None:
            return _TICK_SECONDS
        left = (self._timeout - worker.seconds for worker in self._staff if worker.request)
        return max(0.0, min([_TICK_SECONDS, *left]))

    def _listen(self, worker: WorkerProcess) -> None:
        try:
            kind, payload = pickle.loads(worker.connection.recv_bytes())  # noqa: S301 - from our own child
        except (EOFError, OSError):
            worker.process.join(_GOODBYE_SECONDS)
            self._bury(worker)
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
                raise same_mistake(*payload)
            case _:
                worker.request = None
                self._answers.append(payload)
                if kind == "retired":
                    self._dismiss(worker)

    def _bury(self, worker: WorkerProcess) -> None:
        """Remove a worker that has ended, or has closed its pipe; its request failed."""
        how = worker.ended() or "worker closed its connection"
        request, seconds, was_ready = worker.request, worker.seconds, worker.ready
        self._dismiss(worker)
        if request is not None and worker.has_taken:
            self._answers.append(Outcome(request, None, how, "", seconds))
        elif request is not None:
            self._waiting.appendleft(request)  # it died before it began: no candidate's fault
        elif not was_ready:
            self._failed_starts += 1
            if not self._ever_ready or self._failed_starts >= _FAILED_STARTS:
                raise ConfigError(
                    f"no worker process can start: {how}; a script that starts a search must do so under "
                    "`if __name__ == '__main__':`, or use the inline executor"
                )

    def _dismiss(self, worker: WorkerProcess) -> None:
        self._staff.remove(worker)
        worker.kill()

    def _end_all(self) -> None:
        self._waiting.clear()
        self._answers.clear()
        while self._staff:
            self._staff.pop().kill()
