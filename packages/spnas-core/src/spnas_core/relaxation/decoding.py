"""From decisions back to codes: the most probable ways through the trellis.

Viterbi's algorithm finds the way of the largest product of probabilities, which a greedy walk may miss (Liu et al.,
"Auto-DeepLab", CVPR 2019, section 4.2). Its nodes are (block, stage, blocks kept so far), so that bounds on the number
of blocks are a part of what is found. The next best ways are those of a search that is led by what each node can still
come to at best (Hart, Nilsson & Raphael's A*, 1968), of which it needs no list at any node.
"""

import heapq
import math
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from spnas_core.encoding import Architecture
from spnas_core.relaxation.decisions import DOWN, KEEP, SKIP, STAY, Choice, Decisions
from spnas_core.relaxation.mixtures import Logits, probabilities
from spnas_core.space import SearchSpace

MOST = 4096
"""Choices that are looked at, at most, until enough codes lie in the space."""
MOST_OF_EACH = 256
"""Choices of each number of blocks that are looked at where those hold too few."""
ALIKE = 12
"""Decimals of a logarithm behind which two choices are equally probable: sums differ by the order of their terms."""


def best_choices(
    decisions: Decisions, logits: Logits, count: int, blocks: range | None = None
) -> list[tuple[float, Choice]]:
    """Return the most probable choices with their probabilities, best first.

    Args:
        decisions: about the parts of a start.
        logits: of the decisions.
        count: of the choices; fewer where there are no more.
        blocks: numbers of blocks that a choice may keep; None for any.
    """
    return list(islice(_Trellis(decisions, logits).choices(blocks), count))


def best_codes(decisions: Decisions, logits: Logits, space: SearchSpace, count: int) -> list[Architecture]:
    """Return different codes of the space, those of the most probable choices first.

    Bounds on blocks are kept by whatever is looked at. All others are asked of the most probable 4,096 choices; where
    these hold too few codes of the space, such as under a bound on cost that all of them break, of the most probable
    256 with each number of blocks, too.

    Args:
        decisions: about the parts of a start.
        logits: of the decisions.
        space: bounds.
        count: of the codes; fewer where what is looked at holds no more.
    """
    trellis, sieve = _Trellis(decisions, logits), _Sieve(decisions, space)
    blocks = range(space.min_blocks, min(space.max_blocks, len(decisions.blocks)) + 1)
    sieve.take(islice(trellis.choices(blocks), MOST), count)
    if len(sieve.found) < count and sieve.looked_at >= MOST:
        for number in blocks:
            sieve.take(islice(trellis.choices(range(number, number + 1)), MOST_OF_EACH), count)
    return sorted(sieve.found, key=lambda code: -sieve.found[code])[:count]


class _Sieve:
    """Codes that lie in a space, with the probabilities of their most probable choices; no code is asked about twice.

    Attributes:
        found: those that do.
        looked_at: how many choices have been taken.
    """

    def __init__(self, decisions: Decisions, space: SearchSpace) -> None:
        self._decisions = decisions
        self._space = space
        self._known: dict[Architecture, bool] = {}
        self.found: dict[Architecture, float] = {}
        self.looked_at = 0

    def take(self, choices: Iterable[tuple[float, Choice]], count: int) -> None:
        """Take choices until so many codes of theirs lie in the space: no more are measured than wanted."""
        wanted = set[Architecture]()
        for chance, choice in choices:
            self.looked_at += 1
            code = self._decisions.code(choice)
            if code not in self._known:
                self._known[code] = code in self._space
            if self._known[code]:
                self.found.setdefault(code, chance)
                wanted.add(code)
            if len(wanted) >= count:
                return


class _Trellis:
    """The logarithms of all decisions' probabilities, and the ways through them."""

    def __init__(self, decisions: Decisions, logits: Logits) -> None:
        odds = probabilities(decisions, Logits(logits.keep.double(), logits.move.double()))
        least = np.finfo(np.float64).smallest_subnormal  # of what is legal, whatever its logits are
        self._decisions = decisions
        self._keep, self._move = (
            np.log(np.maximum(found.detach().cpu().numpy(), least)) for found in (odds.keep, odds.move)
        )

    def choices(self, blocks: range | None = None) -> Iterator[tuple[float, Choice]]:
        """Yield choices with their probabilities, the most probable first, as long as there are any.

        Of equal ones that of earlier borders comes first, then the one with fewer blocks in front.

        Args:
            blocks: numbers of blocks that a choice may keep; None for any.
        """
        count, stages = len(self._decisions.blocks), self._decisions.stages
        left = self._left(range(1, count + 1) if blocks is None else blocks)
        queue: list[_Entry] = []

        def enter(chance: float, kept: tuple[bool, ...], begins: tuple[int, ...]) -> None:
            hope = chance + float(left[len(kept) - 1, len(begins), sum(kept)])
            if hope > -math.inf:
                earliest = (*begins, *range(len(kept), len(kept) + stages - 1 - len(begins)))
                heapq.heappush(queue, (-round(hope, ALIKE), earliest, kept, begins, chance))

        enter(0.0, (True,), ())
        while queue:
            _, _, kept, begins, chance = heapq.heappop(queue)
            place, stage = len(kept), len(begins)
            if place == count:
                yield math.exp(chance), Choice(kept, begins)
                continue
            stays, goes = (chance + float(self._move[place - 1, stage, step]) for step in (STAY, DOWN))
            if self._decisions.legal[place - 1, stage, STAY]:
                enter(stays + float(self._keep[place, KEEP]), (*kept, True), begins)
                if self._decisions.is_optional[place]:
                    enter(stays + float(self._keep[place, SKIP]), (*kept, False), begins)
            if self._decisions.legal[place - 1, stage, DOWN]:
                enter(goes, (*kept, True), (*begins, place))

    def _left(self, blocks: range) -> NDArray[np.float64]:
        """[blocks, stages, kept] logarithm of the most probable way on from a node; -inf where none ends as allowed."""
        count, stages = len(self._decisions.blocks), self._decisions.stages
        left = np.full((count, stages, count + 2), -np.inf)
        left[-1, -1, [number for number in blocks if 0 < number <= count]] = 0
        for place in range(count - 2, -1, -1):
            stay, down = (self._decisions.legal[place, :, step] for step in (STAY, DOWN))
            longer = left[place + 1, :, 1:]
            left[place, stay, :-1] = self._keep[place + 1, KEEP] + longer[stay]
            if self._decisions.is_optional[place + 1]:
                skips = self._keep[place + 1, SKIP] + left[place + 1, stay]
                left[place, stay] = np.maximum(left[place, stay], skips)
            left[place, stay] += self._move[place, stay, STAY, None]
            following = np.flatnonzero(down)
            goes = self._move[place, down, DOWN, None] + longer[following + 1]
            left[place, down, :-1] = np.maximum(left[place, down, :-1], goes)
        return left


_Entry = tuple[float, tuple[int, ...], tuple[bool, ...], tuple[int, ...], float]
"""Less the logarithm of what a way can come to at best, its earliest borders, its blocks, its borders, and its own."""
