"""Where every unit of a child comes from: derived from a rewrite's block map and its two parallel codes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spnas_core.encoding import Architecture
from spnas_core.networks.layout import BlockPlacement, block_placements, stage_placements
from spnas_core.networks.units import Unit, main

if TYPE_CHECKING:
    from spnas_core.morphisms._base import Rewrite


@dataclass(frozen=True)
class Origin:
    """Where a unit's tensors come from.

    Attributes:
        sources: units of the parent; a tensor is taken from the first that has it. Empty for a new unit.
        shares: unit of the child itself whose weights it uses, so that it has running statistics only; None where it
            has weights of its own.
    """

    sources: tuple[Unit, ...]
    shares: Unit | None = None

    @property
    def is_new(self) -> bool:
        """Whether there is nothing to inherit from."""
        return not self.sources


def unit_origins(rewrite: "Rewrite") -> Mapping[Unit, Origin]:
    """Find the origin of every unit of the child, in the order of ``units(child)``.

    - The stem comes from the stem, a block of the main path from where the block map says.
    - A block of a row descends from the same block as its neighbour on the main path: from the row's own copy of that
      block where the parent had that row beside it, otherwise from the main path's. So a row that is added starts as a
      copy, and one whose stage gets a block from a stage without that row copies it.
    - A fusion comes from the parent's of the same stage and row. A new one that shares its weights with row 1 begins
      with the running statistics of that one.
    """
    parent, child = rewrite.parent, rewrite.child
    blocks = block_placements(parent)
    found = {Unit("stem"): Origin((Unit("stem"),))}
    for index, source in enumerate(rewrite.block_map):
        found[main(index)] = Origin(() if source is None else (main(source),))
    for stage in stage_placements(child):
        for row in range(1, stage.rows + 1):
            for block in stage.blocks:
                source = rewrite.block_map[block.index]
                sources = () if source is None else _row_sources(parent, blocks[source], row)
                shares = main(block.index) if child.shares_rows else None
                found[Unit("row", (stage.number, row, block.position))] = Origin(sources, shares)
            found[Unit("fusion", (stage.number, row))] = _fusion_origin(rewrite, stage.number, row)
    return found


def rows_beside(architecture: Architecture, stage: int) -> int:
    """Return how many rows run beside a stage, counted from 1; none beside a stage that does not exist."""
    return architecture.rows[stage - 1] if stage <= len(architecture.rows) else 0


def _row_sources(parent: Architecture, block: BlockPlacement, row: int) -> tuple[Unit, ...]:
    has_row = rows_beside(parent, block.stage) >= row
    own = (Unit("row", (block.stage, row, block.position)),) if has_row else ()
    return (*own, main(block.index))


def _fusion_origin(rewrite: "Rewrite", stage: int, row: int) -> Origin:
    before, shares = rows_beside(rewrite.parent, stage), rewrite.child.shares_rows and row > 1
    sources = [Unit("fusion", (stage, row))] if before >= row else []
    if before and (shares or (sources and rewrite.parent.shares_rows)):
        sources.append(Unit("fusion", (stage, 1)))
    return Origin(tuple(dict.fromkeys(sources)), Unit("fusion", (stage, 1)) if shares else None)
