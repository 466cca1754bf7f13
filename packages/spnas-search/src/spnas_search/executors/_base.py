"""The contract of an executor, and what it returns."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from spnas_core.tasks import Evaluation, EvaluationRequest, Report, Task
from spnas_search.executors.settings import ExecutorSettings

CANCELLED = "cancelled"


@dataclass(frozen=True)
class Outcome:
    """How an evaluation ended.

    Attributes:
        request: what was asked for.
        evaluation: the result; None where there is none.
        reason: why there is none, in one line; empty otherwise.
        trace: traceback of the failure, for the log; empty where there is none to show.
        seconds: from handing out the request to its end, on the executor's clock.
        is_own: whether it failed by what its candidate is, as far as one can tell: it took too long, or the task says
            by an ``EvaluationError`` that it has no score.
    """

    request: EvaluationRequest
    evaluation: Evaluation | None
    reason: str = ""
    trace: str = ""
    seconds: float = 0.0
    is_own: bool = False

    @property
    def was_cancelled(self) -> bool:
        """Whether somebody asked for it to end."""
        return self.evaluation is None and self.reason == CANCELLED


class Executor(Protocol):
    """Runs evaluations; a context manager that ends whatever it started.

    Every request is answered by one outcome. What goes wrong in an evaluation becomes an outcome: an EvaluationError
    gives its message as the reason, any other exception ``TypeName: message`` and its traceback. SpnasError is the
    exception: a user's mistake is raised out of ``outcomes`` as the same type, since no other candidate would fare
    better; like KeyboardInterrupt it ends all evaluations at once, and nothing that was submitted is answered any more.

    The files that a request names are of this machine. An executor whose workers are elsewhere brings them there and
    back: an outcome comes only once the weights that its evaluation has written lie where the request wants them.

    One whose ``workers`` are no more than a bound has an attribute ``places``, too: how many can run as things are now.
    Where its plugin has ``slots``, ``spnas plan`` enters one to ask for it.
    What an executor answers is checked, see ``CheckedExecutor``.
    """

    @property
    def workers(self) -> int:
        """How many evaluations run at the same time."""

    def submit(self, request: EvaluationRequest) -> None:
        """Add a request to those that wait; they begin in this order. Progress goes to the plugin's ``report``.

        Raises:
            ValueError: one for the same candidate is not answered yet.
        """

    def outcomes(self) -> Iterator[Outcome]:
        """Yield outcomes as they come, in any order, until all that was submitted is answered.

        More may be submitted meanwhile. Who stops listening may ask again; evaluations go on in between where they
        have a process of their own.

        Raises:
            SpnasError: an evaluation met a user's mistake.
        """

    def cancel(self, candidate: int) -> bool:
        """End a candidate's evaluation, begun or not; its outcome says ``was_cancelled``.

        Returns:
            Whether there was one that had no outcome yet, and the executor can end it.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def places(executor: Executor) -> int:
    """Return how many evaluations can run at the same time as things are now, which an asynchronous search fills."""
    found: int = getattr(executor, "places", executor.workers)
    return found


def evaluate_all(
    executor: Executor,
    requests: Sequence[EvaluationRequest],
    further: Callable[[], Sequence[EvaluationRequest]] = tuple,
) -> Generator[Outcome, None, None]:
    """Submit all requests and yield their outcomes as they come; closing the iterator early cancels the rest.

    Args:
        executor: evaluates.
        requests: to begin with.
        further: is asked for more, once these are submitted and whenever an outcome was dealt with.

    Raises:
        SpnasError: an evaluation met a user's mistake.
    """
    waiting: set[int] = set()

    def submit(some: Sequence[EvaluationRequest]) -> None:
        for request in some:
            executor.submit(request)
            waiting.add(request.candidate)

    submit(requests)
    submit(further())
    try:
        for outcome in executor.outcomes():
            waiting.discard(outcome.request.candidate)
            yield outcome
            submit(further())
    except GeneratorExit:
        cancelled = [executor.cancel(candidate) for candidate in waiting]
        if any(cancelled):
            for _ in executor.outcomes():
                pass
        raise


@dataclass(frozen=True)
class ExecutorPlugin:
    """An executor as the plugins register it.

    Attributes:
        summary: one line for listings.
        build: makes it, called as ``build(settings, task, workers, report)``: the validated table, the prepared task,
            evaluations at a time, and what is called with each ``Progress``, in the process that iterates over
            ``outcomes``.
        settings: pydantic model of the ``[executor]`` table, derived from ``ExecutorSettings``.
        most_workers: evaluations at a time that it can do; None for no bound.
        can_time_out: whether it can end an evaluation; settings with a time-out are refused otherwise.
        slots: says how many evaluations run at a time and with how many threads each, called as
            ``slots(settings, side_by_side)`` before any data is read, the second being how many there are, or None; it
            may refuse by a ConfigError. None shares this machine's cores.
        untestable: says why its suite cannot run here; None where it always can.
    """

    summary: str
    build: Callable[[Any, Task, int, Report], Executor]
    settings: type[ExecutorSettings] = ExecutorSettings
    most_workers: int | None = None
    can_time_out: bool = True
    slots: Callable[[Any, int | None], tuple[int, int]] | None = None
    untestable: Callable[[], str | None] | None = None
