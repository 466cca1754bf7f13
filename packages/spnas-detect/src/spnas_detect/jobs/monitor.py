"""Whoever follows a training."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from spnas_detect.training import StepRecord

WINDOW = 50


@dataclass(frozen=True)
class Speed:
    """How fast a training is, and what it takes.

    Attributes:
        images_per_second: of all processes together, over the last steps; None at first.
        seconds_left: until the last step; None at first.
        memory: the most bytes that the first process has used.
    """

    images_per_second: float | None
    seconds_left: float | None
    memory: int


class Monitor(Protocol):
    """Is told what happens, in the first of a training's processes; must be picklable before it is told anything."""

    def message(self, text: str) -> None:
        """Take one line for people."""

    def reading(self, what: str, done: int, total: int) -> None:
        """Take in how far reading the data is."""

    def step(self, record: StepRecord, speed: Speed) -> None:
        """Take in a finished step."""

    def close(self) -> None:
        """The steps are over, however they ended."""


class Silent:
    """A monitor that tells nobody."""

    def message(self, text: str) -> None:
        """Say nothing."""

    def reading(self, what: str, done: int, total: int) -> None:
        """Say nothing."""

    def step(self, record: StepRecord, speed: Speed) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Do nothing."""


class Speedometer:
    """Measures the speed over the last steps.

    Args:
        memory: gives the bytes in use.
        clock: in seconds.
    """

    def __init__(self, memory: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._memory = memory
        self._clock = clock
        self._times: deque[tuple[float, int]] = deque(maxlen=WINDOW + 1)

    def measure(self, record: StepRecord) -> Speed:
        """Take in a step that has just finished."""
        self._times.append((self._clock(), record.images))
        seconds = self._times[-1][0] - self._times[0][0]
        if len(self._times) < 2 or seconds <= 0:
            return Speed(None, None, self._memory())
        images = sum(count for _, count in list(self._times)[1:])
        left = (record.steps - record.step) * seconds / (len(self._times) - 1)
        return Speed(images / seconds, left, self._memory())
