"""Axes: where their marks stand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
"""A mark stands at each multiple of one of these times a power of ten."""

ROOM = 0.04
"""Share of the axis that is left free at both ends."""


@dataclass(frozen=True)
class Scale:
    """Numbers to pixels, in a straight line.

    Attributes:
        low: the number at ``begin``.
        high: the number at ``end``.
        begin: in pixels.
        end: in pixels; below ``begin`` where the axis runs upwards.
    """

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, number: float) -> float:
        """Return the pixel of a number."""
        return self.begin + (number - self.low) / (self.high - self.low) * (self.end - self.begin)


def scale_of(numbers: Sequence[float], begin: float, end: float) -> Scale:
    """Return a scale on which all numbers find room; it is never empty.

    Args:
        numbers: finite; none gives 0…1.
        begin: in pixels.
        end: in pixels.
    """
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        around = abs(low) * 0.1 or 0.5
        low, high = low - around, high + around
    room = ROOM * (high - low)
    return Scale(low - room, high + room, begin, end)


def marks(low: float, high: float, wanted: int = 6, *, whole: bool = False) -> tuple[float, ...]:
    """Return round numbers in ``[low, high]``, about as many as wanted, ascending.

    Args:
        low: of the axis.
        high: of the axis; above ``low``.
        wanted: so many, roughly.
        whole: only whole numbers, of which there may be fewer.

    Example: ``marks(0, 1, 5)`` is ``(0, 0.2, 0.4, 0.6, 0.8, 1)``.
    """
    rough = (high - low) / wanted
    if whole:
        rough = max(rough, 1.0)
    power = 10.0 ** math.floor(math.log10(rough))
    steps = (one * power for one in STEPS if one * power >= rough * (1 - 1e-9))
    step = next(one for one in steps if not whole or one.is_integer())
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(number * step for number in range(first, last + 1))
