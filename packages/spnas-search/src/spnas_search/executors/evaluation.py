"""One evaluation, with whatever goes wrong in it turned into an outcome: the same for every executor."""

import time
import traceback

import torch

from spnas_core.errors import EvaluationError, SpnasError
from spnas_core.tasks import Evaluation, EvaluationRequest, Report, Task
from spnas_search.executors._base import Outcome


def evaluate(task: Task, request: EvaluationRequest, report: Report) -> Outcome:
    """Evaluate one request in this process, with the threads that it asks for.

    Raises:
        SpnasError: the evaluation met a user's mistake.
    """
    began = time.monotonic()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(request.threads)
        evaluation: object = task.evaluate(request, report)
    except SpnasError:
        raise
    except EvaluationError as error:
        return Outcome(request, None, reason_of(error), "", time.monotonic() - began)
    except Exception as error:  # noqa: BLE001 - whatever a task raises is a failed candidate, not the end of the run
        return Outcome(request, None, reason_of(error), traceback.format_exc(), time.monotonic() - began)
    finally:
        torch.set_num_threads(threads)
    seconds = time.monotonic() - began
    if not isinstance(evaluation, Evaluation):
        given = f"{type(task).__name__}.evaluate returned a {type(evaluation).__name__}"
        return Outcome(request, None, f"TypeError: {given}, not an Evaluation", "", seconds)
    return Outcome(request, evaluation, seconds=seconds)


def reason_of(error: Exception) -> str:
    """Say in one line what an exception says."""
    message = " ".join(str(error).split())
    name = type(error).__name__
    if isinstance(error, EvaluationError):
        return message or name
    return f"{name}: {message}" if message else name
