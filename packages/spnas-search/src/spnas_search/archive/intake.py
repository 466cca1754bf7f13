"""What comes from outside, made plain before it enters the archive: nothing else gets in.

Numbers are coerced by ``operator.index`` and ``float``, texts must be texts, everything nested becomes what JSON holds.
A value that has no such form is refused here, before any transaction, by an error that says which it is.
"""

import json
import math
import operator
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from spnas_core.commands.wording import printable
from spnas_core.encoding import Architecture
from spnas_core.errors import ArchiveError, EvaluationError, suggestion
from spnas_core.morphisms import Rewrite, Step
from spnas_core.tasks import Evaluation, Fidelity, Pretraining
from spnas_core.tasks.protocols import Split
from spnas_search.archive.candidate import Kind, Proposal


def plain_proposal(proposal: object, what: str) -> Proposal:
    """Return a proposal of plain values.

    Args:
        proposal: as a strategy made it; its numbers may be NumPy's.
        what: names it in messages.

    Raises:
        ArchiveError: it is no proposal, or one of its fields has no plain form.
    """
    if not isinstance(proposal, Proposal):
        raise ArchiveError(f"{what} is a {type(proposal).__name__}: it must be a Proposal")
    parent = None if proposal.parent is None else whole(proposal.parent, f"the parent of {what}")
    return replace(
        proposal,
        parent=parent,
        fidelity=_plain_fidelity(proposal.fidelity, what),
        rewrite=_plain_rewrite(proposal.rewrite, what),
        kind=_one_of(proposal.kind, get_args(Kind), f"the kind of {what}"),
        split=_one_of(proposal.split, get_args(Split), f"the split of {what}"),
        subject=None if proposal.subject is None else whole(proposal.subject, f"the subject of {what}"),
        preference=None if proposal.preference is None else finite(proposal.preference, f"the preference of {what}"),
        strategy=whole(proposal.strategy, f"the strategy of {what}"),
        pretraining=None if proposal.pretraining is None else _plain_pretraining(proposal.pretraining, what),
    )


def without_numbers(reason: str) -> str:
    """Return what reasons of failures have in common that differ in numbers only, such as a process's or of bytes."""
    return re.sub(r"\d+", "#", reason)


def plain_evaluation(evaluation: object) -> Evaluation:
    """Return an evaluation of plain values: NumPy numbers as numbers, tuples as lists, NaN kept.

    Raises:
        EvaluationError: it is no evaluation, or holds something that is no finite number, NaN, or plain value.
    """
    if not isinstance(evaluation, Evaluation):
        raise EvaluationError(f"the task returned a {type(evaluation).__name__}, not an Evaluation")
    return Evaluation(
        _numbers(evaluation.metrics, "metric"),
        _numbers(evaluation.cost, "cost"),
        _plain_mapping(evaluation.receipt, "the receipt"),
        _seconds(evaluation.seconds),
    )


def plain_result(evaluation: object, objective: str) -> Evaluation:
    """Return an evaluation of plain values by which a search can rank.

    Args:
        evaluation: as a task has returned it.
        objective: name of the metric that it must have, NaN where it is undefined.

    Raises:
        EvaluationError: it is not plain, see ``plain_evaluation``, or lacks that metric.
    """
    found = plain_evaluation(evaluation)
    if objective not in found.metrics:
        raise EvaluationError(f"the task returned no metric {objective!r}{suggestion(objective, found.metrics)}")
    return found


def plain_reason(reason: object) -> str:
    """Return why something failed, in one line that every terminal and every database takes."""
    return printable(" ".join(str(reason).split()))


_LARGEST = 2**63
"""Beyond all whole numbers that SQLite stores."""


def whole(value: object, what: str) -> int:
    """Return a whole number as int.

    Raises:
        ArchiveError: it is none, or none of 64 bits; ``what`` names it.
    """
    try:
        number = int(operator.index(value))  # type: ignore[arg-type]
    except TypeError:
        raise ArchiveError(f"{what} is {value!r}: it must be a whole number") from None
    if not -_LARGEST <= number < _LARGEST:
        raise ArchiveError(f"{what} is a number of {number.bit_length()} bits: it must be a whole number of 64 at most")
    return number


def _plain_fidelity(fidelity: object, what: str) -> Fidelity:
    if not isinstance(fidelity, Fidelity):
        raise ArchiveError(f"the fidelity of {what} is {fidelity!r}: it must be a Fidelity, as in Fidelity(epochs=4)")
    size: Any = fidelity.image_size
    try:
        if size is not None:
            width, height = size
            size = whole(width, f"the width of {what}"), whole(height, f"the height of {what}")
        return Fidelity(
            whole(fidelity.epochs, f"the epochs of {what}"),
            size,
            finite(fidelity.share, f"the share of {what}"),
            whole(fidelity.rung, f"the rung of {what}"),
        )
    except (ValueError, TypeError) as error:
        raise ArchiveError(f"the fidelity of {what} is impossible: {error}") from None


def _plain_pretraining(pretraining: object, what: str) -> Pretraining:
    if not isinstance(pretraining, Pretraining):
        raise ArchiveError(f"the pretraining of {what} is {pretraining!r}: it must be a Pretraining, or None")
    return Pretraining(whole(pretraining.epochs, f"the pretraining epochs of {what}"), bool(pretraining.fresh))


def finite(value: object, what: str) -> float:
    """Return a finite number as float.

    Raises:
        ArchiveError: it is none; ``what`` names it.
    """
    try:
        number = float(_number(value))
    except (TypeError, ValueError, OverflowError, RuntimeError):
        number = math.nan
    if not math.isfinite(number):
        raise ArchiveError(f"{what} is {_short(value)}: it must be a finite number")
    return number


def _plain_rewrite(rewrite: object, what: str) -> Rewrite:
    if not isinstance(rewrite, Rewrite):
        raise ArchiveError(f"the rewrite of {what} is a {type(rewrite).__name__}: it must be a Rewrite")
    for end in (rewrite.parent, rewrite.child):
        if not isinstance(end, Architecture):
            raise ArchiveError(f"{what} rewrites a {type(end).__name__}: both ends must be an Architecture")
    block_map = tuple(
        None if source is None else whole(source, f"an entry of the block map of {what}")
        for source in rewrite.block_map
    )
    return replace(rewrite, block_map=block_map, steps=tuple(_plain_step(step, what) for step in rewrite.steps))


def _plain_step(step: object, what: str) -> Step:
    if not isinstance(step, Step):
        raise ArchiveError(f"a step of {what} is a {type(step).__name__}: it must be a Step")
    try:
        promise = None if step.promise is None else _number(step.promise)
    except (TypeError, ValueError, OverflowError):
        raise ArchiveError(f"a step of {what} promises {step.promise!r}: it must be a number, or None") from None
    return Step(printable(str(step.morphism)), printable(str(step.detail)), promise)


def _one_of(value: object, known: tuple[str, ...], what: str) -> Any:
    if not isinstance(value, str) or value not in known:
        raise ArchiveError(f"{what} is {value!r}: it must be one of {', '.join(known)}")
    return str(value)


def _numbers(values: object, what: str) -> dict[str, float]:
    """Return numbers by name; whole ones stay whole."""
    if not isinstance(values, Mapping):
        raise EvaluationError(f"the task returned a {type(values).__name__} of {what}s: it must be a mapping")
    found: dict[str, float] = {}
    for name, value in values.items():
        if not isinstance(name, str):
            raise EvaluationError(f"the task returned a {what} called {name!r}: a name must be a text")
        try:
            number = _number(value)
        except (TypeError, ValueError, OverflowError, RuntimeError):  # the last is a tensor's of several elements
            raise EvaluationError(
                f"the task returned {what} {name} = {_short(value)}: it must be a number, NaN where it is undefined"
            ) from None
        if _is_infinite(number):
            raise EvaluationError(
                f"the task returned {what} {name} = {_short(number)}: it must be finite, or NaN where it is undefined"
            )
        found[printable(name)] = number
    return found


def _is_infinite(number: float) -> bool:
    """Whether a number is beyond all that are finite; whole ones may be, too."""
    try:
        return math.isinf(number)
    except OverflowError:
        return True


_NO_NUMBERS = "cmMSU"  # of NumPy: complex, durations, moments, texts


def _number(value: object) -> float:
    """Convert what is a number; a text that reads like one is none, nor is a moment, nor what has an imaginary part."""
    kind = getattr(getattr(value, "dtype", None), "kind", "f")  # of NumPy's
    if value is None or isinstance(value, (str, bytes, bytearray)) or kind in _NO_NUMBERS:
        raise TypeError(type(value).__name__)
    try:
        return int(operator.index(value))  # type: ignore[arg-type]
    except TypeError:
        return float(value)  # type: ignore[arg-type]


def _seconds(value: object) -> float:
    try:
        seconds = float(_number(value))
    except (TypeError, ValueError, OverflowError, RuntimeError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise EvaluationError(f"the task returned seconds = {_short(value)}: it must be a finite number, 0 or more")
    return seconds


def _plain_mapping(values: object, what: str) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise EvaluationError(f"{what} of the task is a {type(values).__name__}: it must be a mapping")

    def convert(value: object) -> object:
        if isinstance(value, Mapping):
            return dict(value)
        for name in ("tolist", "item"):  # NumPy's and torch's arrays and numbers
            if callable(method := getattr(value, name, None)):
                return method()
        raise EvaluationError(
            f"{what} of the task holds a {type(value).__name__}: only numbers, texts, lists and mappings of them can "
            "be archived"
        )

    try:
        text = json.dumps(dict(values), default=convert)
        result: dict[str, Any] = json.loads(text, parse_int=_whole_of_text)
    except (TypeError, ValueError, OverflowError, RecursionError, RuntimeError) as error:
        raise EvaluationError(f"{what} of the task cannot be archived: {error}") from None
    return result


def _whole_of_text(text: str) -> int:
    number = int(text)
    float(number)  # raises where it is beyond all of those: what reads a receipt computes with them
    return number


def _short(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        return f"a {type(value).__name__} of too many digits"
    return text if len(text) <= 40 else f"{text[:37]}..."
