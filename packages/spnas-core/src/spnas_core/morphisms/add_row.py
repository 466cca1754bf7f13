"""Add row: one more branch beside a stage."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError
from spnas_core.morphisms._base import Applications, Rewrite, Step
from spnas_core.morphisms.origins import rows_beside


@dataclass(frozen=True)
class AddRow:
    """Lets one more row run beside a stage: a copy of the stage's blocks, and a fusion that adds nothing at first.

    Outputs do not change while no row of the next stage changes what it continues from. Where the rows share the main
    path's weights, they share the fusion too, so only the first row of a stage begins silently.

    Attributes:
        shares: whether the first rows of an architecture share the main path's weights; later ones do as these do.
    """

    shares: bool = False
    name: str = "add-row"
    summary: str = "one more row beside a stage; outputs change by at most 1e-5 while no later row changes its source"

    def options(self, architecture: Architecture) -> Sequence[Rewrite]:
        """One per stage."""
        return Applications(range(1, len(architecture.stages) + 1), lambda stage: self.add(architecture, stage))

    def add(self, architecture: Architecture, stage: int) -> Rewrite:
        """Add a row.

        Args:
            architecture: the parent.
            stage: from 1.

        Raises:
            CodeError: no such stage.
        """
        if not 1 <= stage <= len(architecture.stages):
            raise CodeError(f"no row can be added beside stage {stage} of {architecture}: stages are counted from 1")
        before = architecture.rows or (0,) * len(architecture.stages)
        row = before[stage - 1] + 1
        rows = (*before[: stage - 1], row, *before[stage:])
        shares = architecture.shares_rows if architecture.rows else self.shares
        child = replace(architecture, rows=rows, shares_rows=shares)
        is_silent = not (shares and row > 1) and rows_beside(architecture, stage + 1) < row
        step = Step(self.name, f"row {row} beside stage {stage}", 1e-5 if is_silent else None)
        return Rewrite(architecture, child, tuple(range(len(child.digits))), (step,))
