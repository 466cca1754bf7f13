"""A screen that refuses what a trained network already rules out.

Li, Zhou, Pan & Feng, "Partial Order Pruning: for Best Speed/Accuracy Trade-off in Neural Architecture Search", CVPR
2019.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from spnas_core.configuration import Few, Table
from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.networks import stage_placements
from spnas_core.space import SearchSpace
from spnas_search.archive import Archive, Candidate, Proposal


class PartialOrderScreenSettings(Table):
    """The ``[screen]`` table of the partial order.

    Attributes:
        name: the screen's name.
        draws: rounds of children that are drawn for one that is trained.
        margin: standard errors of a difference by which a network must be better to rule out what lies below another.
    """

    name: Literal["partial-order"] = "partial-order"
    draws: Few = Field(4, ge=1)
    margin: float = Field(2.0, ge=0)


class PartialOrderScreen:
    """Prefers children that nothing rules out.

    A code precedes another if it comes from it by removing blocks inside stages, or by narrowing them; it is then
    assumed to be no better. A child is ruled out where it precedes a trained network w, and a trained network z is no
    dearer than the child (in any cost of ``pareto``) and no worse than w, by ``margin`` standard errors of the
    difference of their leads: the child cannot be better than w, so not than z, and is no cheaper. Where ``pareto`` has
    what does not follow from a code, a latency or another metric, a child may always be better in that, and nothing is
    ruled out.

    Args:
        settings: the ``[screen]`` table.
        space: bounds of the search; knows the image size at which costs are counted.
    """

    def __init__(self, settings: PartialOrderScreenSettings, space: SearchSpace) -> None:
        self.settings = settings
        self.space = space

    def preferences(self, archive: Archive, proposals: Sequence[Proposal]) -> Sequence[float]:
        """Return 1 for each child that nothing rules out, and 0 for the others."""
        if not {one.name for one in archive.tradeoffs} <= self._costs(archive.start.architecture).keys():
            return [1.0] * len(proposals)
        trained = archive.best(len(archive))
        costs = {one.id: self._costs(one.architecture) for one in trained}
        return [float(not self._ruled_out(archive, one.rewrite.child, trained, costs)) for one in proposals]

    def _ruled_out(
        self,
        archive: Archive,
        child: Architecture,
        trained: Sequence[Candidate],
        costs: Mapping[int, Mapping[str, float]],
    ) -> bool:
        names, own = [one.name for one in archive.tradeoffs], self._costs(child)
        cheaper = [one for one in trained if all(costs[one.id][name] <= own[name] for name in names)]
        above = [one for one in trained if precedes(child, one.architecture)]
        return any(self._is_better(archive, one, other) for one in cheaper for other in above if one is not other)

    def _is_better(self, archive: Archive, one: Candidate, other: Candidate) -> bool:
        first, second = archive.lead(one), archive.lead(other)
        if first is None or second is None or first < second:
            return False
        error = archive.difference_error(one, other)
        return not math.isnan(error) and first - second >= self.settings.margin * error

    def _costs(self, architecture: Architecture) -> dict[str, float]:
        return backbone_cost(architecture, *self.space.image_size).as_dict()


def precedes(one: Architecture, other: Architecture) -> bool:
    """Whether a code comes from another by removing or narrowing blocks: then it costs no more.

    Both have one block type, stem and number of stages and rows; in each stage every block of the one stands for a
    different block of the other, in order, that is at least as wide. Blocks are matched from the end of the stage.

    Example: ``1-2-2`` precedes ``11-2-21`` and ``1-2-2`` itself, and not ``1-21-1``, whose last stage is narrower.
    """
    if (one.block, one.stem, one.rows, one.shares_rows) != (other.block, other.stem, other.rows, other.shares_rows):
        return False
    if len(one.stages) != len(other.stages) or one.base > other.base:
        return False
    widths = [[[block.planes for block in stage.blocks] for stage in stage_placements(code)] for code in (one, other)]
    return all(_injects(*stages) for stages in zip(*widths, strict=True))


def _injects(small: Sequence[int], large: Sequence[int]) -> bool:
    """Whether each number stands for a later one of the others that is at least as large, matched from the end."""
    place = len(large)
    for width in reversed(small):
        place -= 1
        while place >= 0 and large[place] < width:
            place -= 1
        if place < 0:
            return False
    return True
