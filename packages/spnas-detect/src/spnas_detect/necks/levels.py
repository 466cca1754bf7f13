"""Which of the parent's levels a child's level takes its weights from."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from spnas_core.backbones import Unchanged
from spnas_core.encoding import Architecture
from spnas_core.morphisms import Rewrite

CONVOLUTIONS = ("0.weight", "conv.weight")
"""The weight of a lateral's convolution, in torchvision's naming and in ours."""


@dataclass(frozen=True)
class LevelMap:
    """Which stages the levels of a child's and of a parent's neck read, both finest first.

    Attributes:
        rewrite: from parent to child.
        child: stages, from 0, one per level of the child; where levels are pooled from the last stage, that stands once
            more for each of them.
        parent: likewise, of the parent.
    """

    rewrite: Rewrite | Unchanged
    child: tuple[int, ...]
    parent: tuple[int, ...]

    @classmethod
    def of_all_stages(cls, rewrite: Rewrite | Unchanged) -> "LevelMap":
        """Of necks that read every stage."""
        return cls(rewrite, tuple(range(rewrite.child.stage_count)), tuple(range(rewrite.parent.stage_count)))

    def nearest(self, level: int) -> int:
        """The parent's level (from 0) of the same stride as a child's, or the nearest, of two the coarser.

        A stage has the stride of its number; whatever is pooled from it, that of the next ones. A parent without levels
        has nothing to take, so it does not matter which.

        What stands behind the laterals belongs to a level whatever the backbone does, so it is inherited by level; an
        added level starts as a copy of its neighbour.
        """
        return self._nearest_to(_position(self.child, level), range(len(self.parent)))

    def laterals(self, level: int) -> Sequence[int]:
        """The parent's levels whose laterals a child level's lateral may start from, the best first."""
        source = source_stages(self.rewrite, self.parent)[self.child[level]]
        nearest = self.nearest(level)
        if source is None:
            return [nearest]
        same = [place for place, stage in enumerate(self.parent) if stage == source]
        return list(dict.fromkeys((self._nearest_to(_position(self.child, level), same), nearest)))

    def _nearest_to(self, position: int, among: Sequence[int]) -> int:
        """The one of the parent's levels that is nearest to a position."""
        return min(among, key=lambda level: (abs(_position(self.parent, level) - position), -level), default=0)


def _position(stages: Sequence[int], level: int) -> int:
    """The stage, from 0, of a level's stride: what is pooled from the last stage goes on from there."""
    return stages[level] + stages[:level].count(stages[level])


def source_stages(rewrite: Rewrite | Unchanged, among: Collection[int] | None = None) -> tuple[int | None, ...]:
    """Find, per child stage, the parent stage (both from 0) whose output lives in the same channels.

    Shortcuts carry channels unchanged through a run of ``1`` blocks, so all outputs between two doublings speak one
    language: a lateral connection trained on one of them reads the others. Of the parent stages that end in the
    same run as the child stage's last block, the one that ends nearest is taken, of equally near ones the later.

    Example: 11-21 → 112-1 moves a border right. The child's first stage ends with what was the first block of the
    parent's second stage, so both of the child's laterals come from the parent's second.

    Args:
        rewrite: from parent to child.
        among: the parent's stages that are considered; None for all.
    """
    if isinstance(rewrite, Unchanged):
        stages = range(rewrite.child.stage_count)
        return tuple(stage if among is None or stage in among else None for stage in stages)
    parent_runs = _runs(rewrite.parent)
    ends = _stage_ends(rewrite.parent)
    found: list[int | None] = []
    for end in _stage_ends(rewrite.child):
        # A new block starts as its shortcut: its output is that of the nearest inherited block before it.
        origin = next((rewrite.block_map[i] for i in range(end, -1, -1) if rewrite.block_map[i] is not None), None)
        if origin is None:
            found.append(None)
            continue
        same_run = [
            stage
            for stage, last in enumerate(ends)
            if parent_runs[last] == parent_runs[origin] and (among is None or stage in among)
        ]
        found.append(min(same_run, key=lambda stage: (abs(ends[stage] - origin), -stage), default=None))
    return tuple(found)


def _runs(architecture: Architecture) -> list[int]:
    """Number of doublings up to and including each block."""
    runs, doublings = [], 0
    for digit in architecture.digits:
        doublings += digit == "2"
        runs.append(doublings)
    return runs


def _stage_ends(architecture: Architecture) -> list[int]:
    return [border - 1 for border in (*architecture.borders, len(architecture.digits))]


def level_read(name: str, laterals: str) -> int | None:
    """The level that a tensor reads if it is the convolution of a lateral.

    Args:
        name: of the tensor, as ``<laterals>.<level>.….weight``.
        laterals: where the laterals stand in the neck.
    """
    kind, _, rest = name.partition(".")
    level, _, leaf = rest.partition(".")
    return int(level) if kind == laterals and leaf in CONVOLUTIONS else None
