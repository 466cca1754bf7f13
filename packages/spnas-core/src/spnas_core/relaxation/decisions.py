"""What is decided where a part of a start is chosen: which blocks stay, and where stages end.

Liu et al., "Auto-DeepLab", CVPR 2019, let a trellis decide at which resolution each layer computes; here its nodes are
(block, stage), and from a block one *stays* in its stage or goes *down* into the next one, which the next block begins.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from spnas_core.encoding import Architecture
from spnas_core.networks.layout import BlockPlacement, block_placements, stage_placements

STAY, DOWN = 0, 1
KEEP, SKIP = 0, 1


@dataclass(frozen=True)
class Choice:
    """One part of a start, as it was decided.

    Attributes:
        kept: per block of the start, whether it stays; a block that begins a stage does.
        begins: per stage but the first, the block of the start that begins it, ascending.
    """

    kept: tuple[bool, ...]
    begins: tuple[int, ...]


@dataclass(frozen=True)
class Decisions:
    """The decisions about the parts of a start.

    Attributes:
        start: the whole, without rows.
        mixes: whether features of different parts are added up: then a stage ends in the run of equal channels in which
            it does in the start, since others have no sum. Otherwise it may end in any run in which a stage does.
    """

    start: Architecture
    mixes: bool = True

    @cached_property
    def blocks(self) -> tuple[BlockPlacement, ...]:
        """Of the start."""
        return block_placements(self.start)

    @property
    def stages(self) -> int:
        """How many there are."""
        return self.start.stage_count

    @cached_property
    def is_optional(self) -> NDArray[np.bool_]:
        """[blocks] whether a block may be left out: a ``1`` behind the first block, where it begins no stage."""
        return np.array([digit == "1" and place > 0 for place, digit in enumerate(self.start.digits)])

    @cached_property
    def legal(self) -> NDArray[np.bool_]:
        """[blocks - 1, stages, 2] whether one may stay or go down behind a block that computes in a stage.

        Entry (i, s) is of block i in stage s, both from 0. Every legal step lies on a way from the first block in the
        first stage to the last block in the last one.
        """
        count, stages = len(self.blocks), self.stages
        ends = [stage.blocks[-1].out_stream for stage in stage_placements(self.start)]
        allowed = np.zeros((count - 1, stages, 2), bool)
        for place, block in enumerate(self.blocks[:-1]):
            for stage in range(stages):
                allowed[place, stage, STAY] = True
                may_end = block.out_stream == ends[stage] if self.mixes else block.out_stream in ends
                allowed[place, stage, DOWN] = may_end and stage + 1 < stages
        reached = np.zeros((count, stages), bool)
        reached[0, 0] = True
        for place in range(count - 1):
            reached[place + 1] |= reached[place] & allowed[place, :, STAY]
            reached[place + 1, 1:] |= (reached[place] & allowed[place, :, DOWN])[:-1]
        leads = np.zeros((count, stages), bool)
        leads[-1, -1] = True
        for place in range(count - 2, -1, -1):
            allowed[place, :, STAY] &= leads[place + 1] & reached[place]
            allowed[place, :-1, DOWN] &= leads[place + 1, 1:] & reached[place, :-1]
            leads[place] = allowed[place].any(-1)
        return allowed

    def code(self, choice: Choice) -> Architecture:
        """Return the architecture of a choice."""
        digits = "".join(digit for digit, kept in zip(self.start.digits, choice.kept, strict=True) if kept)
        borders = tuple(sum(choice.kept[:begin]) for begin in choice.begins)
        return Architecture.from_borders(self.start, digits, borders)

    def whole(self) -> Choice:
        """The start itself."""
        return Choice((True,) * len(self.blocks), self.start.borders)

    def one_hot(self, choice: Choice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return a choice as probabilities of 0 and 1: [blocks, 2] of keeping, [blocks - 1, stages, 2] of steps."""
        keep = np.array([[kept, not kept] for kept in choice.kept], float)
        move = np.zeros(self.legal.shape)
        begins = set(choice.begins)
        stage = 0
        for place in range(len(self.blocks) - 1):
            goes_down = place + 1 in begins
            move[place, stage, DOWN if goes_down else STAY] = 1
            stage += goes_down
        return keep, move
