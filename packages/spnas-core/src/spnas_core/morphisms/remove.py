"""Remove: leave a block out; what a search needs that also goes down."""

from collections.abc import Sequence
from dataclasses import dataclass

from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError
from spnas_core.morphisms._base import Applications, Rewrite, Step


@dataclass(frozen=True)
class Remove:
    """Makes a stage one block shallower.

    A ``1`` goes that is not the only block of its stage; the first block of all stays, since it alone reads the stem.
    Where the first block of a stage goes, the next one halves the resolution in its place.
    """

    name: str = "remove"
    summary: str = "leave out a block 1; no promise, the change is measured"

    def options(self, architecture: Architecture) -> Sequence[Rewrite]:
        """Every ``1`` of every stage of two and more blocks, but for the first block of all."""
        sites = [
            (number, position)
            for number, stage in enumerate(architecture.stages)
            for position, digit in enumerate(stage)
            if digit == "1" and len(stage) > 1 and (number or position)
        ]
        return Applications(sites, lambda site: self.drop(architecture, *site))

    def drop(self, architecture: Architecture, stage: int, position: int) -> Rewrite:
        """Leave one block out.

        Args:
            architecture: the parent.
            stage: from 0.
            position: of the block inside the stage, from 0.

        Raises:
            CodeError: there is no such block, it doubles the channels, it is the only one of its stage, or the first
                of all.
        """
        stages = architecture.stages
        is_there = 0 <= stage < len(stages) and 0 <= position < len(stages[stage])
        if not is_there or stages[stage][position] != "1" or len(stages[stage]) < 2 or not (stage or position):
            raise CodeError(
                f"block {position} of stage {stage} of {architecture}, both counted from 0, cannot be left out: it "
                "must be a 1 that is neither the only block of its stage nor the first of all"
            )
        shorter = stages[stage][:position] + stages[stage][position + 1 :]
        child = architecture.with_stages((*stages[:stage], shorter, *stages[stage + 1 :]))
        at = (0, *architecture.borders)[stage] + position
        block_map = (*range(at), *range(at + 1, len(architecture.digits)))
        step = Step(self.name, f"block {position + 1} of stage {stage + 1} left out", None)
        return Rewrite(architecture, child, block_map, (step,))
