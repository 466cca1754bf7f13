"""Add stage: append one more stage of one block."""

from collections.abc import Sequence
from dataclasses import dataclass

from spnas_core.encoding import Architecture
from spnas_core.morphisms._base import Rewrite, Step


@dataclass(frozen=True)
class AddStage:
    """Appends ``-1``: a coarser level that starts as a strided pass-through of the last one."""

    name: str = "add-stage"
    summary: str = "append a stage of one block; existing outputs do not change at all"

    def options(self, architecture: Architecture) -> Sequence[Rewrite]:
        """One option: there is one end."""
        child = architecture.with_stages((*architecture.stages, "1"))
        step = Step(self.name, f"stage {len(child.stages)} appended", 0.0)
        return [Rewrite(architecture, child, (*range(len(architecture.digits)), None), (step,))]
