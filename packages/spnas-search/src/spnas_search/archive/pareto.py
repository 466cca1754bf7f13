"""The Pareto front of merit against a cost."""

from collections.abc import Iterable

Point = tuple[float, float, int]
"""(cost, minus merit, candidate): ascending order is cheapest first, then better first, then older first."""


def front(points: Iterable[Point]) -> tuple[int, ...]:
    """Return the candidates that no other dominates, cheapest first.

    One point dominates another where its cost is lower or equal and its merit higher or equal, one of them strictly.
    Equal points stay side by side.
    """
    found: list[Point] = []
    for point in sorted(points):
        # In ascending order nothing that comes later can push out what is in, and the last one in is the best so far.
        if not found or point[1] < found[-1][1] or point[:2] == found[-1][:2]:
            found.append(point)
    return tuple(candidate for _, _, candidate in found)
