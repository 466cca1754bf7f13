"""Made-up qualities of codes with a structure that is known: what a strategy should find, and how fast.

Every number follows from a seed; nothing is stored.
"""

import hashlib
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np

from spnas_core.encoding import Architecture
from spnas_core.networks import stage_placements
from spnas_core.space import SearchSpace
from spnas_search.strategies.sampling import Sampler

Landscape = Literal["none", "bits", "order", "additive"]

HALF = 40.0
"""Of ``order``: the sum of values at which quality is one half; the demonstration's start has some 20."""
RANGE = 1 / 40
"""Of ``additive``: the most that one block adds or takes."""


def bits(code: Architecture, seed: int) -> float:
    """Return the share of positions at which the serial code is that of ``hidden_code``, in [0, 1].

    Positions are those of the text, ``-`` included; the longer text has the places that count. Example: ``11-21`` and
    ``11-1-2`` share three characters of six.
    """
    one, other = code.serial_code, hidden_code(seed)
    return sum(mine == its for mine, its in zip(one, other, strict=False)) / max(len(one), len(other))


@lru_cache(maxsize=64)
def hidden_code(seed: int) -> str:
    """Return the serial code that ``bits`` hides: 8 to 16 blocks in 4 stages.

    It is one that swap and expand reach from the demonstration's start, ``11-21-21-21``, so that searches that rewrite
    codes can find it, too.
    """
    space = SearchSpace(min_blocks=8, max_blocks=16, min_stages=4, max_stages=4)
    sampler = Sampler(Architecture.parse("b@8_11-21-21-21"), space)
    return sampler.draw(np.random.default_rng(seed)).child.serial_code


def order(code: Architecture, seed: int) -> float:
    """Return a quality in [0, 1) that respects the partial order of the screen ``partial-order``.

    It is ``x / (x + 40)`` of ``x = Σ value(stage) · (1 + log2 planes)`` over the blocks, with hidden values in (0, 1]:
    removing or narrowing a block never helps.
    """
    total = 0.0
    for number, stage in enumerate(stage_placements(code)):
        value = 1 - chance(seed, "order", number)
        total += value * sum(1 + math.log2(block.planes) for block in stage.blocks)
    return total / (total + HALF)


def additive(code: Architecture, seed: int) -> float:
    """Return one half and the sum of ``additive_value`` over the blocks: linear, so long codes may leave [0, 1]."""
    return 0.5 + sum(additive_value(seed, number, digit) for number, stage in enumerate(code.stages) for digit in stage)


def additive_value(seed: int, stage: int, digit: str) -> float:
    """Return what a block of a digit adds in a stage, counted from 0: a hidden value in [-1/40, 1/40)."""
    return RANGE * (2 * chance(seed, "additive", stage, digit) - 1)


def chance(seed: int, *key: object) -> float:
    """Return a number in [0, 1) that follows from a seed and what it is for, the same in every process."""
    text = repr((seed, *key)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest()) / 2**32


LANDSCAPES: dict[str, Callable[[Architecture, int], float]] = {"bits": bits, "order": order, "additive": additive}
"""By name, the quality of a code under a seed."""
