"""Drawing from the whole search space: random codes, whatever has been found.

A space says which codes: those that swap, expand and add stage reach from the start (``Sampler``), or any inside its
bounds (``AnySampler``). Where children are parts of the start, whose weights they share, it is these that are drawn.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from spnas_core.encoding import Architecture
from spnas_core.errors import SpaceError
from spnas_core.morphisms import Rewrite, align, chain, identity
from spnas_core.space import SearchSpace
from spnas_core.supernets import Parts, part_of
from spnas_search.archive import Archive, Inherit
from spnas_search.strategies.mutation import draw_round, finds

PROBES = 100
"""Draws that tell whether so many blocks can keep the cost bounds."""
GROWTH = 1.25
"""Factor between the numbers of blocks that are probed."""


def most_doublings(stages: int) -> int:
    """Return how many blocks of a code may double the channels where nothing else says: as many as it has stages.

    Each doubling is four times the parameters behind it, so that without a bound on cost what is drawn, or written by
    who knows nothing yet, would have any size.
    """
    return stages


@dataclass(frozen=True)
class CodeSampler(ABC):
    """Draws codes: a number of blocks first, uniform over those that there may be.

    Cost bounds are not looked at, but in ``most_blocks``: draws outside them are to be drawn again, which leaves the
    odds of those inside as they are to each other.

    Attributes:
        start: of the search.
        space: bounds of the search.
    """

    start: Architecture
    space: SearchSpace

    @property
    @abstractmethod
    def stages(self) -> range:
        """Numbers of stages that may be drawn; empty where there are none."""

    @property
    @abstractmethod
    def least_blocks(self) -> int:
        """Fewest blocks that may be drawn; each stage that is drawn needs one."""

    @cached_property
    def blocks(self) -> range:
        """Numbers of blocks that may be drawn; empty where there is no code."""
        return range(self.least_blocks, most_blocks(self) + 1) if self.stages else range(0)

    def draw(self, rng: np.random.Generator) -> Rewrite:
        """Draw one code.

        Args:
            rng: source of chance.

        Returns:
            The rewrite from the start; the identity where there is no code.
        """
        if not self.blocks:
            return identity(self.start)
        return self.draw_of(self.blocks[int(rng.integers(len(self.blocks)))], rng)

    @abstractmethod
    def draw_of(self, blocks: int, rng: np.random.Generator) -> Rewrite:
        """Draw a code of so many blocks: one of ``blocks``, or more."""


@dataclass(frozen=True)
class Sampler(CodeSampler):
    """Draws codes that swap, expand and add stage reach from a start.

    These morphisms keep the start's blocks in order, insert blocks ``1`` anywhere but in front, and move stage borders
    freely; each new stage comes with a ``1`` at the end of the sequence. So a code is drawn in four steps, each uniform
    over what the bounds allow:

    1. its number of blocks n, up to ``most_blocks``;
    2. its number of stages k, the start's or more;
    3. how many of the blocks to insert go to each place between doublings: codes with n blocks and k stages differ in
       these numbers and in the borders alone, so they are all alike; which of the equal blocks there are the new ones
       is drawn, too;
    4. the k - 1 borders among the n - 1 places between blocks.

    Example: from ``b_11-21`` with 5 blocks in 2 stages, one block is inserted, before the doubling or behind it, and
    the border stands at one of 4 places: 8 codes with odds of 1/8 each.
    """

    @cached_property
    def stages(self) -> range:
        """Numbers of stages that may be drawn; empty where the start has too many."""
        return range(max(self.space.min_stages, len(self.start.stages)), self.space.max_stages + 1)

    @cached_property
    def least_blocks(self) -> int:
        """Fewest blocks that may be drawn; each new stage needs one."""
        new_stages = self.stages[0] - len(self.start.stages) if self.stages else 0
        return max(self.space.min_blocks, len(self.start.digits) + new_stages)

    def draw_of(self, blocks: int, rng: np.random.Generator) -> Rewrite:
        """Draw a code of so many blocks: one of ``blocks``, or more."""
        inserted = blocks - len(self.start.digits)
        stages = range(self.stages[0], min(self.stages[-1], len(self.start.stages) + inserted) + 1)
        count = stages[int(rng.integers(len(stages)))]
        appended = count - len(self.start.stages)
        block_map = self._block_map(inserted - appended, appended, rng)
        digits = "".join("1" if source is None else self.start.digits[source] for source in block_map)
        borders = np.sort(rng.choice(blocks - 1, count - 1, replace=False)) + 1
        child = Architecture.from_borders(self.start, digits, tuple(borders.tolist()))
        return Rewrite(self.start, child, block_map)

    def _block_map(self, inserted: int, appended: int, rng: np.random.Generator) -> tuple[int | None, ...]:
        """Draw where blocks are inserted; ``appended`` more end the sequence."""
        digits = self.start.digits
        # The first block of the start stays in front, so runs of equal blocks begin behind it.
        runs = digits[1:].split("2")
        counts = _shares(inserted, len(runs), rng)
        block_map: list[int | None] = [0]
        old = 1
        for number, (run, count) in enumerate(zip(runs, counts, strict=True)):
            if number:
                block_map.append(old)
                old += 1
            new = set(rng.choice(len(run) + count, count, replace=False).tolist())
            for at in range(len(run) + count):
                block_map.append(None if at in new else old)
                old += at not in new
        return (*block_map, *[None] * appended)


@dataclass(frozen=True)
class AnySampler(CodeSampler):
    """Draws any code of a start's block type, base channels and stem that has the numbers of a space.

    A code is drawn in four steps, each uniform over what there is:

    1. its number of blocks n, up to ``most_blocks``;
    2. its number of stages k ≤ n;
    3. how many blocks double the channels, 0 to ``most_doublings``, and which;
    4. the k - 1 borders among the n - 1 places between blocks.

    Example: of 2 blocks in 2 stages there are ``1-1`` with odds of 1/3, ``1-2`` and ``2-1`` with 1/6 each, and ``2-2``
    with 1/3.

    It inherits what ``align`` finds; beside a start with rows, stages that have some stay.
    """

    @cached_property
    def stages(self) -> range:
        """Numbers of stages that may be drawn; empty where the start has rows beside more."""
        return range(max(self.space.min_stages, len(self.start.rows)), self.space.max_stages + 1)

    @cached_property
    def least_blocks(self) -> int:
        """Fewest blocks that may be drawn; each stage needs one."""
        return max(self.space.min_blocks, self.stages.start)

    def draw_of(self, blocks: int, rng: np.random.Generator) -> Rewrite:
        """Draw a code of so many blocks: one of ``blocks``, or more."""
        stages = range(self.stages[0], min(self.stages[-1], blocks) + 1)
        count = stages[int(rng.integers(len(stages)))]
        doubled = set(rng.choice(blocks, int(rng.integers(most_doublings(count) + 1)), replace=False).tolist())
        digits = "".join("2" if at in doubled else "1" for at in range(blocks))
        borders = np.sort(rng.choice(blocks - 1, count - 1, replace=False)) + 1
        return align(self.start, Architecture.from_borders(self.start, digits, tuple(borders.tolist())))


def _shares(total: int, parts: int, rng: np.random.Generator) -> list[int]:
    """Split a number into parts of 0 or more, every way alike, by bars between stars."""
    places = total + parts - 1
    bars = np.sort(rng.choice(places, parts - 1, replace=False))
    shares: list[int] = (np.diff(bars, prepend=-1, append=places) - 1).tolist()
    return shares


def sampler_of(start: Architecture, space: SearchSpace) -> CodeSampler:
    """Return what draws the codes that a space wants drawn.

    Args:
        start: of the search.
        space: bounds, and ``sampling``.
    """
    return AnySampler(start, space) if space.sampling == "any" else Sampler(start, space)


@lru_cache(maxsize=64)
def most_blocks(sampler: CodeSampler) -> int:
    """Return the most blocks that a code is drawn with, at most ``max_blocks``.

    Where cost bounds allow far fewer blocks than that, almost every draw would be rejected. So numbers of blocks are
    probed, each 25 % above the one before, up to the first at which none of 100 draws keeps the bounds: with more
    blocks hardly a draw could. The probes are the same each time, and ask for no bound but those on cost: what is
    probed is not measured. Where nothing bounds the cost it is ``max_blocks``.
    """
    space = replace(sampler.space, bounds=())
    if all(bound is None for bound in (space.max_parameters, space.max_multiply_adds, space.max_activation_bytes)):
        return space.max_blocks
    rng = np.random.default_rng(0)
    most = sampler.least_blocks + len(sampler.stages) - 1  # from here on every number of stages can be had
    while most < space.max_blocks and any(sampler.draw_of(most, rng).child in space for _ in range(PROBES)):
        most = int(most * GROWTH) + 1
    return min(most, space.max_blocks)


Draw = Callable[[np.random.Generator], Architecture]
"""Draws a code; whether it keeps bounds on cost is to be seen."""


def drawer(start: Architecture, space: SearchSpace, *, of_parts: bool) -> Draw:
    """Return what draws codes from a whole space.

    Args:
        start: of the search.
        space: bounds.
        of_parts: whether the codes are parts of the start, which share its weights.
    """
    if of_parts:
        return Parts(start, space).draw
    sampler = sampler_of(start, space)
    return lambda rng: sampler.draw(rng).child


def reaches_samples(start: Architecture, space: SearchSpace, max_redraws: int, inherit: Inherit) -> bool:
    """Whether some draws from the whole space find a code inside it that is not the start; see ``finds``.

    Args:
        start: of the search.
        space: bounds of the search.
        max_redraws: tries for each code.
        inherit: what children begin with.
    """
    try:
        draw = drawer(start, space.quick, of_parts=inherit == "supernet")
        return finds(draw, start, space, max_redraws)
    except SpaceError:  # hardly any part keeps the bounds
        return False


def draw_samples(
    count: int,
    archive: Archive,
    space: SearchSpace,
    max_redraws: int,
    rng: np.random.Generator,
) -> list[Rewrite]:
    """Draw codes from the whole space that are new and inside it, independent of all scores.

    Args:
        count: codes wanted.
        archive: knows the start, and what has been proposed before.
        space: bounds of the search.
        max_redraws: tries for each code, those outside the space included.
        rng: source of chance.

    Returns:
        Rewrites from the start to different children; fewer than ``count`` where no new architecture was found, none
        where the start has no weights to inherit from.
    """
    start = archive.start
    if start.status != "done":
        return []
    if archive.inherit == "supernet":
        parts = Parts(start.architecture, space.quick)  # what is measured is asked of what is new alone
        try:
            drawn = draw_round(
                count, lambda: start, lambda whole: part_of(whole, parts.draw(rng)), archive, space, max_redraws
            )
        except SpaceError:  # hardly any part keeps the bounds
            return []
        return [rewrite for _, rewrite in drawn]
    sampler = sampler_of(start.architecture, space)
    drawn = draw_round(count, lambda: start, lambda _: sampler.draw(rng), archive, space, max_redraws)
    return [rewrite if rewrite.steps else chain(rewrite) for _, rewrite in drawn]
