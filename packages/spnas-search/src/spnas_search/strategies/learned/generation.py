"""Writing whole codes from left to right, token by token, inside the bounds of a space; whoever chooses the tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.morphisms import Rewrite, align, copied_branches
from spnas_core.space import SearchSpace
from spnas_search.archive import Archive, Candidate
from spnas_search.strategies.mutation import finds
from spnas_search.strategies.sampling import most_doublings

TOKENS = ("1", "2", "-", "end")
"""What a code is written with: the kinds of blocks, the border of a stage, and the end."""
DIGITS = TOKENS[:-2]
BORDER, END = len(DIGITS), len(DIGITS) + 1
"""Places of the last two among the tokens."""

Masks = NDArray[np.bool_]
Stages = tuple[str, ...]
"""An unfinished code: its stages so far, of which the last one may still be empty."""
BEGINNING: Stages = ("",)
Chooser = Callable[[Sequence[Stages], Masks], Sequence[int]]
"""Chooses the next token of each of several codes, given [n, tokens] which ones are legal."""


class Choice(NamedTuple):
    """One token of a code.

    Attributes:
        before: the code that it was added to.
        legal: per token, whether it might have been chosen.
        token: its place among ``TOKENS``.
    """

    before: Stages
    legal: tuple[bool, ...]
    token: int


@dataclass(frozen=True)
class Grammar:
    """Which token may follow which, so that what is written lies inside a space.

    A token is legal where some way to go on keeps the bounds on blocks and stages. Where neither parameters nor
    multiply-adds are bounded, it has no more doublings than its stages may have (``most_doublings``), as what is drawn
    from the space: by chance alone nearly half of all blocks would double. Costs only grow with further blocks, so a
    token whose code is too dear already is none; a code may still turn out to have no end that it can pay for, or
    to break a bound that is measured, and must then be written again.

    Example: with 3 to 4 blocks in 2 stages, ``11`` may go on with ``1`` or ``2``, or end its stage; ``111`` must end
    its stage, since the second one needs the fourth block. ``22`` may not go on with ``2``, unless cost is bounded:
    that would take a third stage.

    Attributes:
        like: block type, base channels, stem and neck of all that is written; written codes have no rows.
        space: bounds of the search.
    """

    like: Architecture
    space: SearchSpace

    def legal(self, stages: Stages) -> tuple[bool, ...]:
        """Say of each token whether it may come next; of none where the code cannot be finished."""
        return _legal(self, stages)

    def architecture(self, stages: Stages) -> Architecture:
        """Return the network of a finished code."""
        return Architecture(self.like.block, stages, self.like.base, self.like.stem, neck=self.like.neck)

    def choices(self, architecture: Architecture) -> tuple[Choice, ...] | None:
        """Return how a network was written, token by token; None where this grammar does not write it."""
        if architecture.rows or architecture != self.architecture(architecture.stages):
            return None
        text = [TOKENS.index(letter) for letter in architecture.serial_code] + [END]
        found: list[Choice] = []
        stages = BEGINNING
        for token in text:
            legal = self.legal(stages)
            if not legal[token]:
                return None
            found.append(Choice(stages, legal, token))
            stages = extended(stages, token)
        return tuple(found)

    def write(self, count: int, choose: Chooser) -> list[Architecture | None]:
        """Write several codes at once.

        Args:
            count: codes to write.
            choose: gives the next token of each; for codes that have ended only ``end`` is legal.

        Returns:
            A network each; None for a code that could not be finished.
        """
        codes: list[Stages] = [BEGINNING] * count
        written: list[Architecture | None] = [None] * count
        open_ones = set(range(count))
        ended = tuple(token == END for token in range(len(TOKENS)))
        while open_ones:
            masks = [self.legal(code) if number in open_ones else ended for number, code in enumerate(codes)]
            for number in sorted(open_ones):
                if not any(masks[number]):
                    open_ones.remove(number)
                    masks[number] = ended
            tokens = choose(codes, np.array(masks, np.bool_))
            for number in sorted(open_ones):
                if tokens[number] == END:
                    written[number] = self.architecture(codes[number])
                    open_ones.remove(number)
                else:
                    codes[number] = extended(codes[number], tokens[number])
        return written

    def affords(self, stages: Stages) -> bool:
        """Whether a code, unfinished or not, keeps the bounds on cost."""
        limits = {name: limit for name, limit in self.space.limits().items() if limit is not None}
        if not limits:
            return True
        cost = backbone_cost(self.architecture(stages), *self.space.image_size).as_dict()
        return all(cost[name] <= limit for name, limit in limits.items())


def extended(stages: Stages, token: int) -> Stages:
    """Add a token, which is not the end, to an unfinished code."""
    return (*stages, "") if token == BORDER else (*stages[:-1], stages[-1] + TOKENS[token])


@lru_cache(maxsize=1 << 16)
def _legal(grammar: Grammar, stages: Stages) -> tuple[bool, ...]:
    space, blocks, count = grammar.space, sum(map(len, stages)), len(stages)
    digits = [_has_room(space, longer := extended(stages, one)) and grammar.affords(longer) for one in range(BORDER)]
    if not stages[-1]:
        return (*digits, False, False)
    missing = _missing(space, stages)
    may_begin = count < space.max_stages and blocks + max(1, missing) <= space.max_blocks
    may_end = blocks >= space.min_blocks and not missing
    return (*digits, may_begin and grammar.affords((*stages, DIGITS[0])), may_end)


def _has_room(space: SearchSpace, stages: Stages) -> bool:
    """Whether a code with all stages that it still needs has no more blocks, and no more stages, than it may have."""
    missing = _missing(space, stages)  # each of them takes a block
    return sum(map(len, stages)) + missing <= space.max_blocks and len(stages) + missing <= space.max_stages


def _missing(space: SearchSpace, stages: Stages) -> int:
    """How many stages a code still needs: there are fewest of them, and doublings need some unless cost is bounded."""
    least = space.min_stages
    if space.max_parameters is None and space.max_multiply_adds is None:
        doublings = sum(stage.count("2") for stage in stages)
        while most_doublings(least) < doublings:
            least += 1
    return max(0, least - len(stages))


def draw_written(
    count: int,
    draw: Callable[[int], Architecture | None],
    archive: Archive,
    space: SearchSpace,
    max_redraws: int,
) -> list[Architecture]:
    """Draw codes until a round of them is new and inside the space.

    Args:
        count: codes wanted.
        draw: writes one, given how many the round has already; None where that could not be finished.
        archive: knows what has been proposed before.
        space: bounds of the search.
        max_redraws: tries for each code.

    Returns:
        Different codes; fewer than ``count`` where no new one was found.
    """
    drawn: dict[Architecture, None] = {}
    for place in range(count):
        for _ in range(max_redraws):
            child = draw(place)
            if child is None or child in drawn or archive.contains(child) or child not in space:
                continue
            drawn[child] = None
            break
        else:
            break
    return list(drawn)


def reaches_written(start: Architecture, space: SearchSpace, max_redraws: int) -> bool:
    """Whether some codes that are written by chance lie inside the space, and are not the start; see ``finds``.

    Args:
        start: of the search.
        space: bounds of the search.
        max_redraws: tries for each code.
    """
    grammar = Grammar(start, space.quick)

    def draw(rng: np.random.Generator) -> Architecture:
        return grammar.write(1, lambda _, masks: [int(rng.choice(np.flatnonzero(masks[0])))])[0] or start

    return finds(draw, start, space, max_redraws)


def parents_of(archive: Archive, count: int) -> tuple[Candidate, ...]:
    """Return whose weights written codes inherit: the best so many, best first, and the start where it is done."""
    best = archive.best(count)
    start = archive.start
    return best if start.status != "done" or start in best else (*best, start)


def continued(child: Architecture, parents: Sequence[Candidate]) -> tuple[Candidate, Rewrite]:
    """Let a code inherit from the candidate whose residual branches it shares most of, the first among equals."""
    found = [(parent, align(parent.architecture, child)) for parent in parents]
    return max(found, key=lambda one: copied_branches(one[1]))
