"""An executor as the search sees it: whatever is registered is held to the contract, and named where it breaks it."""

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from spnas_core.errors import ArchiveError, PluginError
from spnas_core.plugins import built, owner
from spnas_core.tasks import Evaluation, EvaluationRequest, Report, Task
from spnas_search.archive.intake import finite, whole
from spnas_search.executors._base import Executor, Outcome, places
from spnas_search.executors.settings import ExecutorSettings

_PARTS = ("workers", "submit", "outcomes", "cancel", "__enter__", "__exit__")


def make_executor(settings: ExecutorSettings, task: Task, workers: int, report: Report) -> "CheckedExecutor":
    """Have an executor made.

    Args:
        settings: its table; their ``name`` is that under which it is registered.
        task: prepared.
        workers: evaluations at a time.
        report: called with each progress.

    Raises:
        PluginError: nobody registers the name, its plugin raised, or what it made is no ``Executor``.
        SpnasError: a setting that does not go with another.
    """
    name = settings.name
    executor: Any = built("executors", name, settings, task, workers, report)
    if lacking := [part for part in _PARTS if not hasattr(executor, part)]:
        raise PluginError(
            f"{owner('executors', name)} makes {type(executor).__name__} without {', '.join(lacking)}: it must be an "
            "Executor"
        )
    return CheckedExecutor(name, executor)


class CheckedExecutor:
    """An executor that answers each request once, and nothing else.

    Args:
        name: under which it is registered.
        wrapped: the executor itself.
    """

    def __init__(self, name: str, wrapped: Executor) -> None:
        self.name = name
        self.wrapped = wrapped
        self._waiting: set[int] = set()

    @property
    def workers(self) -> int:
        """How many evaluations run at the same time, at least 1.

        Raises:
            PluginError: the executor says something else.
        """
        return self._number("workers", self.wrapped.workers, 1)

    @property
    def places(self) -> int:
        """How many can run as things are now; see ``Executor``.

        Raises:
            PluginError: the executor says something else.
        """
        return self._number("places", places(self.wrapped), 0)

    def submit(self, request: EvaluationRequest) -> None:
        """Add a request to those that wait; see ``Executor``."""
        self.wrapped.submit(request)
        self._waiting.add(request.candidate)

    def outcomes(self) -> Iterator[Outcome]:
        """Yield outcomes as they come; see ``Executor``.

        Raises:
            PluginError: one is no outcome, or of a candidate that does not wait for any; or some never came.
            SpnasError: an evaluation met a user's mistake.
        """
        try:
            for outcome in self.wrapped.outcomes():
                self._check(outcome)
                self._waiting.discard(outcome.request.candidate)
                yield outcome
        except GeneratorExit:  # who stops listening may ask again
            raise
        except BaseException:
            self._waiting.clear()
            raise
        if self._waiting:
            left = min(self._waiting)
            self._waiting.clear()
            raise PluginError(f"{self._who} ended without an outcome of candidate {left}: each request must have one")

    def cancel(self, candidate: int) -> bool:
        """End a candidate's evaluation; see ``Executor``."""
        return self.wrapped.cancel(candidate)

    def __enter__(self) -> Self:
        self.wrapped.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wrapped.__exit__(kind, error, trace)

    @property
    def _who(self) -> str:
        return owner("executors", self.name)

    def _number(self, name: str, value: object, least: int) -> int:
        try:
            number = whole(value, name)
        except ArchiveError:
            number = least - 1
        if number < least:
            raise PluginError(f"{self._who} has {name} = {value!r}: it must be a whole number, {least} or more")
        return number

    def _check(self, outcome: object) -> None:
        if not isinstance(outcome, Outcome):
            raise PluginError(f"{self._who} gave a {type(outcome).__name__} as an outcome: it must be an Outcome")
        candidate = getattr(outcome.request, "candidate", None)
        if candidate not in self._waiting:
            raise PluginError(
                f"{self._who} gave an outcome of candidate {candidate!r}, which waits for none: each request must have "
                "one, and nothing else"
            )
        if wrong := _wrong_part(outcome):
            raise PluginError(f"{self._who} gave an outcome of candidate {candidate} with {wrong}")


def _wrong_part(outcome: Outcome) -> str | None:
    """Say which part of an outcome is something else than it must be; None where none is."""
    found: object = outcome.evaluation
    if not isinstance(found, Evaluation | None):
        return f"a {type(found).__name__} as its evaluation: it must be an Evaluation, or None"
    for part in ("reason", "trace"):
        if not isinstance(said := getattr(outcome, part), str):
            return f"{part} = {said!r}: it must be a text"
    try:
        finite(outcome.seconds, "seconds")
    except ArchiveError as error:
        return str(error).replace(" is ", " = ", 1)
    return None
