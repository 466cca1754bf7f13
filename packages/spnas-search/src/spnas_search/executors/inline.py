"""Evaluations in this process, one after the other."""

from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from spnas_core.tasks import EvaluationRequest, Report, Task
from spnas_search.executors._base import CANCELLED, Outcome
from spnas_search.executors.evaluation import evaluate
from spnas_search.executors.settings import ExecutorSettings


class InlineExecutor:
    """The simplest executor: good for a debugger, for tasks that cannot be pickled, and for one GPU.

    An evaluation runs while ``outcomes`` is asked for the next one. A crash of it is a crash of the search, and nothing
    can end it from outside: the time-out is not enforced, so a run's settings must not ask for one, and only what has
    not begun can be cancelled.

    Args:
        settings: of the executor's table; nothing of it is heeded.
        task: evaluates.
        workers: taken as 1, whatever it is.
        report: called with each progress.
    """

    workers = 1

    def __init__(self, settings: ExecutorSettings, task: Task, workers: int, report: Report) -> None:
        del settings, workers
        self._task = task
        self._report = report
        self._waiting: dict[int, EvaluationRequest] = {}
        self._cancelled: deque[EvaluationRequest] = deque()

    def submit(self, request: EvaluationRequest) -> None:
        """Add a request to those that wait; see ``Executor``.

        Raises:
            ValueError: one for the same candidate is not answered yet.
        """
        if request.candidate in self._waiting or any(one.candidate == request.candidate for one in self._cancelled):
            raise ValueError(f"candidate {request.candidate} is being evaluated already")
        self._waiting[request.candidate] = request

    def outcomes(self) -> Iterator[Outcome]:
        """Evaluate in order; see ``Executor``.

        Raises:
            SpnasError: an evaluation met a user's mistake.
        """
        while self._waiting or self._cancelled:
            if self._cancelled:
                yield Outcome(self._cancelled.popleft(), None, CANCELLED)
                continue
            request = self._waiting.pop(next(iter(self._waiting)))
            try:
                outcome = evaluate(self._task, request, self._report)
            except BaseException:
                self._waiting.clear()
                raise
            yield outcome

    def cancel(self, candidate: int) -> bool:
        """Take a request back that has not begun; see ``Executor``."""
        request = self._waiting.pop(candidate, None)
        if request is None:
            return False
        self._cancelled.append(request)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.clear()
        self._cancelled.clear()
