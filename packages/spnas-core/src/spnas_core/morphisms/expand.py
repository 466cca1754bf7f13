"""Expand: insert a block that is an exact identity at first."""

from collections.abc import Sequence
from dataclasses import dataclass

from spnas_core.encoding import Architecture
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
        stages, starts = architecture.stages, (0, *architecture.borders)

        def apply(site: tuple[int, int]) -> Rewrite:
            i, position = site
            grown = f"{stages[i][:position]}1{stages[i][position:]}"
            child = architecture.with_stages((*stages[:i], grown, *stages[i + 1 :]))
            at = starts[i] + position
            block_map = (*range(at), None, *range(at, len(architecture.digits)))
            step = Step(self.name, f"block {position + 1} of stage {i + 1} inserted", 1e-5)
            return Rewrite(architecture, child, block_map, (step,))

        sites = [(i, position) for i, stage in enumerate(stages) for position in range(1, len(stage) + 1)]
        return Applications(sites, apply)
