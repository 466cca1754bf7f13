"""The contract of an executor, and what it returns."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from spnas_core.tasks import Evaluation, EvaluationRequest


@dataclass(frozen=True)
class Outcome:
    """How an evaluation ended.

    Attributes:
        request: what was asked for.
        evaluation: the result; None where there is none.
        reason: why there is none, in one line; empty otherwise.
        trace: traceback of the failure, for the log; empty where there is none to show.
        seconds: from handing out the request to its end, on the executor's clock.
    """

    request: EvaluationRequest
    evaluation: Evaluation | None
    reason: str = ""
    trace: str = ""
    seconds: float = 0.0


class Executor(Protocol):
    """Runs evaluations; a context manager that ends whatever it started.

    What goes wrong in an evaluation becomes an outcome: an EvaluationError gives its message as the reason,
    any other exception ``TypeName: message`` and its traceback. SpnasError is the exception: a user's mistake
    is raised out of ``run`` as the same type, since no other candidate would fare better. KeyboardInterrupt
    ends all evaluations at once.
    """

    @property
    def workers(self) -> int:
        """How many evaluations run at the same time."""

    def run(self, requests: Sequence[EvaluationRequest]) -> Iterator[Outcome]:
        """Evaluate all requests and yield each outcome as it comes, in any order.

        The iterator must be exhausted or closed before the next run; closing it early ends what is still
        running.

        Raises:
            SpnasError: an evaluation met a user's mistake.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


ExecutorFactory = Callable[..., Executor]
"""Called as ``factory(task=…, workers=…, timeout=…, report=…)``.

``task`` is prepared; ``workers`` is the wanted number of evaluations at a time; ``timeout`` is in seconds per
evaluation, None for no limit; ``report`` is called with each ``Progress``, in the process that iterates over
``run``.

A factory says what it cannot do, so that settings which ask for it are refused: ``most_workers`` bounds the number of
evaluations at a time, ``can_time_out = False`` means that it cannot end an evaluation. Both may be missing.
"""
