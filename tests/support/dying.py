"""Lets a search die at a certain line of its own: between a weights file and its row, and at other seams."""

import os
import signal
from collections.abc import Callable
from typing import Any

from spnas_search.archive import Archive, WeightStore, weights

Kill = Callable[[], None]


def dies_at(place: str, count: int) -> None:
    """Have this process killed when it comes to a place for the count-th time."""
    left = count

    def passed() -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    PLACES[place](passed)


def _before(owner: Any, name: str, passed: Kill) -> None:
    whole = getattr(owner, name)

    def patched(*arguments: Any, **options: Any) -> Any:
        passed()
        return whole(*arguments, **options)

    setattr(owner, name, patched)


def _after(owner: Any, name: str, passed: Kill) -> None:
    whole = getattr(owner, name)

    def patched(*arguments: Any, **options: Any) -> Any:
        result = whole(*arguments, **options)
        passed()
        return result

    setattr(owner, name, patched)


PLACES: dict[str, Callable[[Kill], None]] = {
    "a round is committed": lambda passed: _after(Archive, "commit_round", passed),
    "weights are written": lambda passed: _before(WeightStore, "commit", passed),
    "weights are hashed": lambda passed: _before(weights, "replace_durably", passed),
    "weights have their name": lambda passed: _after(WeightStore, "commit", passed),
    "a result is committed": lambda passed: _after(Archive, "finish", passed),
    "a failure is committed": lambda passed: _after(Archive, "fail", passed),
    "a fact is remembered": lambda passed: _after(Archive, "remember", passed),
    "weights are removed": lambda passed: _after(WeightStore, "keep_only", passed),
}
"""By what has happened last."""
