"""Evaluations in this process, one after the other."""

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from spnas_core.tasks import EvaluationRequest, Report, Task
from spnas_search.executors._base import Outcome
from spnas_search.executors.evaluation import evaluate


class InlineExecutor:
    """The simplest executor: good for a debugger, for tasks that cannot be pickled, and for one GPU.

    A crash of an evaluation is a crash of the search, and nothing can end an evaluation from outside: the
    time-out is not enforced, so a run's settings must not ask for one.

    Args:
        task: evaluates.
        workers: taken as 1, whatever it is.
        timeout: not enforced.
        report: called with each progress.
    """

    workers = most_workers = 1
    can_time_out = False

    def __init__(self, task: Task, workers: int, timeout: float | None, report: Report) -> None:
        del workers, timeout
        self._task = task
        self._report = report

    def run(self, requests: Sequence[EvaluationRequest]) -> Iterator[Outcome]:
        """Evaluate in order; see ``Executor``.

        Raises:
            SpnasError: an evaluation met a user's mistake.
        """
        for request in requests:
            yield evaluate(self._task, request, self._report)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass
