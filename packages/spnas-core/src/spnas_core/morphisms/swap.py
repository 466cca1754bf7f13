"""Swap: move a stage border along the unchanged block sequence."""

from collections.abc import Sequence
from dataclasses import dataclass

from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError
from spnas_core.morphisms._base import Applications, Rewrite, Step


@dataclass(frozen=True)
class Swap:
    """Moves where the resolution drops; the blocks, their channels and their weights stay.

    Attributes:
        max_step: most blocks by which one application moves a border.
    """

    max_step: int = 2
    name: str = "swap"
    summary: str = "move a stage border left or right; no promise, the change is measured"

    def options(self, architecture: Architecture) -> Sequence[Rewrite]:
        """Every border × every shift that leaves no stage empty."""
        edges = (0, *architecture.borders, len(architecture.digits))
        most = min(self.max_step, len(architecture.digits))
        shifts = [shift for shift in range(-most, most + 1) if shift]
        sites = [
            (i, shift)
            for i, (low, border, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False))
            for shift in shifts
            if low < border + shift < high
        ]
        return Applications(sites, lambda site: self.move(architecture, *site))

    def move(self, architecture: Architecture, border: int, shift: int) -> Rewrite:
        """Move one border.

        Args:
            architecture: the parent.
            border: from 0; border i lies between stages i + 1 and i + 2.
            shift: blocks to the right, negative to the left; not 0, and at most ``max_step`` either way.

        Raises:
            CodeError: no such border, a shift that is none or too far, or one that leaves a stage empty.
        """
        borders, blocks = architecture.borders, len(architecture.digits)
        if not (0 <= border < len(borders) and 0 < abs(shift) <= self.max_step):
            raise CodeError(
                f"border {border} of {architecture} cannot move by {shift}: it has {len(borders)} borders, counted "
                f"from 0, and one moves by 1 to {self.max_step} blocks"
            )
        moved = (*borders[:border], borders[border] + shift, *borders[border + 1 :])
        side = "right" if shift > 0 else "left"
        step = Step(self.name, f"border {border + 1}|{border + 2} moved {side} by {abs(shift)}", None)
        child = Architecture.from_borders(architecture, architecture.digits, moved)
        return Rewrite(architecture, child, tuple(range(blocks)), (step,))
