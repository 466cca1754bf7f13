"""A Pareto front that is kept up to date point by point."""

from bisect import bisect_left
from collections.abc import Iterable

Point = tuple[float, float, int]
"""(cost, minus merit, candidate): ascending order is cheapest first, then better first, then older first."""


class Front:
    """Points that no other point dominates.

    One point dominates another where its cost is lower or equal and its merit higher or equal, one of them
    strictly. Equal points stay side by side.
    """

    def __init__(self, points: Iterable[Point]) -> None:
        self._points: list[Point] = []
        for point in sorted(points):
            # In ascending order nothing that comes later can push out what is in.
            if not self._dominated(point, len(self._points)):
                self._points.append(point)

    @property
    def candidates(self) -> tuple[int, ...]:
        """Candidates on the front, cheapest first."""
        return tuple(candidate for _, _, candidate in self._points)

    def __contains__(self, point: Point) -> bool:
        position = bisect_left(self._points, point)
        return position < len(self._points) and self._points[position] == point

    def add(self, point: Point) -> None:
        """Take a point in, and drop those that it dominates."""
        position = bisect_left(self._points, point)
        if self._dominated(point, position):
            return
        cost, loss, _ = point
        start = position
        while start < len(self._points) and self._points[start][:2] == (cost, loss):
            start += 1
        end = start
        while end < len(self._points) and self._points[end][1] >= loss:
            end += 1
        del self._points[start:end]
        self._points.insert(position, point)

    def _dominated(self, point: Point, position: int) -> bool:
        """Whether a point is dominated; merit rises along the front, so the last point before it decides."""
        if position == 0:
            return False
        cost, loss, _ = self._points[position - 1]
        return loss <= point[1] and (cost, loss) != point[:2]
