"""Expand: insert a block that is an exact identity at first."""

from collections.abc import Sequence
from dataclasses import dataclass

from spnas_core.encoding import Architecture
from spnas_core.morphisms._base import Rewrite, Step


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
        found = []
        first = 0
        blocks = len(architecture.digits)
        for number, stage in enumerate(architecture.stages, 1):
            for position in range(1, len(stage) + 1):
                grown = f"{stage[:position]}1{stage[position:]}"
                stages = (*architecture.stages[: number - 1], grown, *architecture.stages[number:])
                at = first + position
                block_map = (*range(at), None, *range(at, blocks))
                step = Step(self.name, f"block {position + 1} of stage {number} inserted", 1e-5)
                found.append(Rewrite(architecture, architecture.with_stages(stages), block_map, (step,)))
            first += len(stage)
        return found
