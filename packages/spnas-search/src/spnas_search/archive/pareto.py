"""Pareto fronts: what no other candidate beats in merit and in everything that is weighed against it."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Point = tuple[Sequence[float], int]
"""What is weighed, each lower for better, and the candidate. Points sort by their values in order, then by age."""


def front(points: Iterable[Point]) -> tuple[int, ...]:
    """Return the candidates that no other dominates, in ascending order of their values.

    One point dominates another where no value is higher and one is lower. Equal points stay side by side.

    Args:
        points: all with the same number of values, none of them NaN.
    """
    ordered = sorted((tuple(values), candidate) for values, candidate in points)
    if ordered and len(ordered[0][0]) == 2:
        return _front_of_pairs(ordered)
    kept: NDArray[np.float64] = np.empty((0, 0))
    found: list[int] = []
    for values, candidate in ordered:
        # In ascending order nothing that comes later can push out what is in.
        point = np.array(values)
        if found and _is_dominated(kept[: len(found)], point):
            continue
        if len(found) == len(kept):
            kept = np.concatenate([kept.reshape(-1, len(point)), np.empty((len(kept) + 16, len(point)))])
        kept[len(found)] = point
        found.append(candidate)
    return tuple(found)


def _front_of_pairs(ordered: Iterable[tuple[tuple[float, ...], int]]) -> tuple[int, ...]:
    """Do the same for two values, where the last one in is the best so far."""
    found: list[tuple[tuple[float, ...], int]] = []
    for values, candidate in ordered:
        if not found or values[1] < found[-1][0][1] or values == found[-1][0]:
            found.append((values, candidate))
    return tuple(candidate for _, candidate in found)


def fronts(points: Iterable[Point], wanted: int) -> tuple[tuple[int, ...], ...]:
    """Return the front, then the front of the rest, and so on, until they hold as many candidates as are wanted.

    That is non-dominated sorting, as in NSGA-II (Deb et al. 2002).
    """
    left, found, held = list(points), [], 0
    while left and held < wanted:
        found.append(front(left))
        held += len(found[-1])
        taken = set(found[-1])
        left = [point for point in left if point[1] not in taken]
    return tuple(found)


def _is_dominated(others: NDArray[np.float64], point: NDArray[np.float64]) -> bool:
    return bool(((others <= point).all(axis=1) & (others < point).any(axis=1)).any())
