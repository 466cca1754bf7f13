"""Expand: insert a block that is an exact identity at first."""

from collections.abc import Sequence
from dataclasses import dataclass

from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError
from spnas_core.morphisms._base import Applications, Rewrite, Step


@dataclass(frozen=True)
class Expand:
    """Makes a stage one block deeper.

    The new block keeps the channels and has stride 1, so its shortcut is the identity, and its residual branch starts
    silent: outputs do not change.
    """

    name: str = "expand"
    summary: str = "insert an identity block inside a stage; outputs change by at most 1e-5"

    def options(self, architecture: Architecture) -> Sequence[Rewrite]:
        """Every position inside every stage, behind its first block."""
        sites = [
            (number, position)
            for number, stage in enumerate(architecture.stages)
            for position in range(1, len(stage) + 1)
        ]
        return Applications(sites, lambda site: self.insert(architecture, *site))

    def insert(self, architecture: Architecture, stage: int, position: int) -> Rewrite:
        """Insert one block.

        Args:
            architecture: the parent.
            stage: from 0.
            position: of the new block inside the stage, from 1: the first block stays.

        Raises:
            CodeError: no such stage or position.
        """
        stages = architecture.stages
        if not (0 <= stage < len(stages) and 1 <= position <= len(stages[stage])):
            raise CodeError(
                f"no block can be inserted at position {position} of stage {stage} of {architecture}: stages are "
                "counted from 0, and a new block stands at position 1 or later, behind at least one other"
            )
        grown = f"{stages[stage][:position]}1{stages[stage][position:]}"
        child = architecture.with_stages((*stages[:stage], grown, *stages[stage + 1 :]))
        at = (0, *architecture.borders)[stage] + position
        block_map = (*range(at), None, *range(at, len(architecture.digits)))
        step = Step(self.name, f"block {position + 1} of stage {stage + 1} inserted", 1e-5)
        return Rewrite(architecture, child, block_map, (step,))
