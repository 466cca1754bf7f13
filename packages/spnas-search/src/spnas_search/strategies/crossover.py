"""One code out of two."""

import itertools

import numpy as np

from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError


def cross(one: Architecture, other: Architecture, rng: np.random.Generator) -> Architecture:
    """Draw a child of two codes.

    With even odds it has the first stages of one and the last of the other, or the blocks of one with the borders of
    the other. Borders are scaled to the number of blocks, each to the nearest place that leaves every stage a block.
    Block type, base, stem and neck are those of ``one``; rows are left out where the number of stages changes.

    Args:
        one: gives the first stages, or the blocks.
        other: gives the last stages, or the borders.
        rng: the source of chance.

    Example: ``11-21-21`` and ``1-2-11-21``: cut behind the first stage ``11-2-11-21``; blocks of the first under the
    borders of the second ``1-1-21-21``.
    """
    stages = _cut(one, other, rng) if rng.random() < 1 / 2 else _bordered(one, other)
    rows = one.rows if len(stages) == len(one.stages) else ()
    try:
        return Architecture(one.block, stages, one.base, one.stem, rows, one.shares_rows and bool(rows), one.neck)
    except CodeError:  # a block type that its base cannot double so often
        return one


def _cut(one: Architecture, other: Architecture, rng: np.random.Generator) -> tuple[str, ...]:
    places = min(len(one.stages), len(other.stages))
    if places < 2:
        return one.stages
    place = int(rng.integers(1, places))
    return one.stages[:place] + other.stages[place:]


def _bordered(one: Architecture, other: Architecture) -> tuple[str, ...]:
    blocks = len(one.digits)
    count = min(len(other.stages), blocks)
    borders: list[int] = []
    for number, border in enumerate(other.borders[: count - 1]):
        wanted = round(border * blocks / len(other.digits))
        least = borders[-1] + 1 if borders else 1
        borders.append(min(max(wanted, least), blocks - (count - 1 - number)))
    edges = [0, *borders, blocks]
    return tuple(one.digits[begin:end] for begin, end in itertools.pairwise(edges))
