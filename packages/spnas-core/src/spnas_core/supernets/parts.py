"""The parts of an architecture: the codes whose networks stand inside its own, and drawing one of them.

Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling", ECCV 2020, draw one choice per
block; here a part leaves blocks ``1`` out and moves stage borders.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError, SpaceError
from spnas_core.morphisms import Rewrite, align
from spnas_core.networks.layout import stage_placements
from spnas_core.space import SearchSpace

TRIES = 10_000
"""Draws of which one must keep the bounds."""
PROBES = 1000
"""Draws that tell before a training how many of them do."""
FEWEST = 5
"""How many of these must: then of ``TRIES`` draws none does with a chance of 10^-21."""


def why_no_part(start: Architecture, code: Architecture) -> str | None:
    """Say why a code is no part of an architecture; None where it is one.

    A part has the start's block type, base, stem, neck, number of stages and doublings, and between two doublings no
    more blocks than it; so each of its blocks is one of the start's, and only strides differ. Its stages end where
    channels are as many as at the end of one of the start's stages, so that whatever reads a stage is there, too.
    Neither has rows.
    """
    if start.rows or code.rows:
        return "rows are shared by no part: leave them out"
    for noun, one, other in (
        ("block type", start.block, code.block),
        ("base", start.base, code.base),
        ("stem", start.stem, code.stem),
        ("number of stages", start.stage_count, code.stage_count),
        ("neck", start.neck, code.neck),
    ):
        if one != other:
            return f"its {noun} is {other} and that of {start} {one}"
    ours, theirs = _runs(start), _runs(code)
    if start.digits[0] != code.digits[0] or len(ours) != len(theirs):
        return f"its channels double elsewhere than those of {start}"
    if any(run > most for most, run in zip(ours, theirs, strict=True)):
        return f"it has more blocks between two doublings than {start}"
    if not _end_streams(code) <= _end_streams(start):
        return f"one of its stages ends where channels are as many as at the end of no stage of {start}"
    return None


def part_of(start: Architecture, code: Architecture) -> Rewrite:
    """Return which blocks of the start a part consists of: those that ``align`` finds, so that it has one meaning.

    Raises:
        CodeError: it is no part.
    """
    if (why := why_no_part(start, code)) is not None:
        raise CodeError(f"{code} is no part of {start}: {why}")
    return align(start, code)


@dataclass(frozen=True)
class PartOf:
    """The bound of a space whose codes are all parts of one architecture; see ``SearchSpace.bounds``."""

    start: Architecture

    def violation(self, architecture: Architecture) -> str | None:
        """Explain why an architecture is no part."""
        why = why_no_part(self.start, architecture)
        return None if why is None else f"no part of the start: {why}"


_OUTSIDE = (
    "that were drawn lie inside the search space: widen its bounds, or take a start of which more parts keep them"
)


@dataclass(frozen=True)
class Parts:
    """Draws parts of a start.

    Three steps, each uniform over what the bounds allow: the number of blocks; how many of them stand in each run
    between doublings; the borders. A part outside the bounds is drawn again.

    Example: ``b_11-21`` has 3 parts of 4 blocks, since the border stands at one of 3 places, and 4 of 3 blocks:
    ``121`` and ``112``, each with the border at one of 2. Where there must be 3 blocks or more, each of the former has
    odds of 1/6, each of the latter of 1/8.

    Attributes:
        start: the whole.
        space: bounds of the search.
    """

    start: Architecture
    space: SearchSpace

    @cached_property
    def blocks(self) -> range:
        """Numbers of blocks that may be drawn; empty where the start has too few."""
        doublings = len(_runs(self.start)) - 1
        least = max(self.space.min_blocks, 1 + doublings, self.start.stage_count)
        return range(least, min(self.space.max_blocks, len(self.start.digits)) + 1)

    def draw(self, rng: np.random.Generator) -> Architecture:
        """Draw a part inside the bounds.

        Raises:
            SpaceError: 10,000 draws find none.
        """
        for _ in range(TRIES if self.blocks else 0):
            if (part := self._found(rng)) is not None:
                return part
        raise SpaceError(f"none of {TRIES:,} parts of {self.start} {_OUTSIDE}")

    def check(self) -> None:
        """Refuse bounds that no part keeps but the start, or that so few keep that hardly any is drawn.

        What is drawn is the same each time.

        Raises:
            SpaceError: it says which.
        """
        if not self.blocks:
            raise SpaceError(
                f"no part of {self.start} has {self.space.min_blocks} to {self.space.max_blocks} blocks: widen these "
                "bounds, or begin with another start"
            )
        rng = np.random.default_rng(0)
        kept = [part for _ in range(PROBES) if (part := self._found(rng)) is not None]
        if kept and set(kept) == {self.start}:
            raise SpaceError(
                f"{self.start} has no part inside the search space but itself: begin with more blocks 1, or widen the "
                "bounds"
            )
        if len(kept) < FEWEST:
            few = f"only {len(kept)}" if kept else "none"
            raise SpaceError(f"{few} of {PROBES:,} parts of {self.start} {_OUTSIDE}")

    def at_step(self, seed: int, step: int) -> Architecture:
        """Draw the part of a training step: the same in every process."""
        return self.draw(np.random.default_rng([seed, _PATHS, step]))

    def _found(self, rng: np.random.Generator) -> Architecture | None:
        """Draw a part; None where it lies outside the bounds."""
        part = self._drawn(rng)
        return part if _end_streams(part) <= _end_streams(self.start) and part in self.space else None

    def _drawn(self, rng: np.random.Generator) -> Architecture:
        count = self.blocks[int(rng.integers(len(self.blocks)))]
        most = _runs(self.start)
        wanted = count - 1 - (len(most) - 1)
        kept: list[int] = []
        for place, top in enumerate(most):
            rest = most[place + 1 :]
            ways = np.array([_ways(rest, wanted - taken) for taken in range(min(top, wanted) + 1)], float)
            kept.append(int(rng.choice(len(ways), p=ways / ways.sum())))
            wanted -= kept[-1]
        digits = self.start.digits[0] + "2".join("1" * run for run in kept)
        borders = np.sort(rng.choice(count - 1, self.start.stage_count - 1, replace=False)) + 1
        return Architecture.from_borders(self.start, digits, tuple(borders.tolist()))


_PATHS = 6
"""The stream of a seed that parts are drawn from; loaders have 0 to 5."""


@lru_cache(maxsize=4096)
def _ways(most: tuple[int, ...], total: int) -> int:
    """In how many ways so many blocks stand in runs of at most so many each."""
    if total < 0:
        return 0
    if not most:
        return int(total == 0)
    return sum(_ways(most[1:], total - taken) for taken in range(min(most[0], total) + 1))


@lru_cache(maxsize=4096)
def _runs(architecture: Architecture) -> tuple[int, ...]:
    """Blocks ``1`` between doublings, the first block of all left out: it stays."""
    return tuple(map(len, architecture.digits[1:].split("2")))


@lru_cache(maxsize=4096)
def _end_streams(architecture: Architecture) -> frozenset[int]:
    """Runs of equal channels in which stages end."""
    return frozenset(stage.blocks[-1].out_stream for stage in stage_placements(architecture))
