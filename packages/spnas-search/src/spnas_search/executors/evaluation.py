"""One evaluation, with whatever goes wrong in it turned into an outcome: the same for every executor.

What a task returns is made plain here, in the process that has made it: objects of a plugin's own might be pickled
there, and be unreadable in the one that searches.
"""

import errno
import re
import time
import traceback

import torch

from spnas_core.errors import EvaluationError, MachineError, SpnasError
from spnas_core.tasks import Evaluation, EvaluationRequest, Report, Task
from spnas_search.archive.intake import plain_evaluation
from spnas_search.executors._base import Outcome


def evaluate(task: Task, request: EvaluationRequest, report: Report) -> Outcome:
    """Evaluate one request in this process, with the threads that it asks for.

    Raises:
        SpnasError: the evaluation met a user's mistake.
        MachineError: it met something that every other one would meet, such as a full disk.
    """
    began = time.monotonic()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(request.threads)
        found: object = task.evaluate(request, report)
        if not isinstance(found, Evaluation):
            given = f"{type(task).__name__}.evaluate returned a {type(found).__name__}"
            return Outcome(request, None, f"TypeError: {given}, not an Evaluation", "", time.monotonic() - began)
        return _plain_outcome(request, found, began)
    except (SpnasError, KeyboardInterrupt):
        raise
    except EvaluationError as error:
        return Outcome(request, None, reason_of(error), "", time.monotonic() - began, is_own=True)
    except BaseException as error:  # wanting to end the process, or a coroutine, is no more than a failure
        if (lacking := _lacks(error)) is not None:
            raise MachineError(f"candidate {request.candidate} could not be evaluated: {lacking}") from error
        return Outcome(request, None, reason_of(error), traceback.format_exc(), time.monotonic() - began)
    finally:
        torch.set_num_threads(threads)


def _plain_outcome(request: EvaluationRequest, found: Evaluation, began: float) -> Outcome:
    """Return what a task has returned; a result that is not plain is the task's fault and not its candidate's."""
    try:
        return Outcome(request, plain_evaluation(found), seconds=time.monotonic() - began)
    except EvaluationError as error:
        return Outcome(request, None, reason_of(error), "", time.monotonic() - began)


_LACKING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE)
"""What the system says when it is the machine's fault: no space, no quota, read-only, broken, too many files, gone."""


def _lacks(error: BaseException | None) -> str | None:
    """Say what the machine lacks where that is why an evaluation failed; None where the failure is its own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _LACKING:
            return reason_of(error)
        # safetensors words what the system says, and has the number at the end.
        numbers = re.findall(r"os error (\d+)\)", str(error))
        if any(int(number) in _LACKING for number in numbers):
            return reason_of(error)
        error = error.__cause__ or error.__context__
    return None


def reason_of(error: BaseException) -> str:
    """Say in one line what an exception says."""
    message = " ".join(str(error).split())
    name = type(error).__name__
    if isinstance(error, EvaluationError):
        return message or name
    return f"{name}: {message}" if message else name
