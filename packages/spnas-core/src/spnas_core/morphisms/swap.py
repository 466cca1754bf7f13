"""Swap: move a stage border along the unchanged block sequence."""

from collections.abc import Sequence
from dataclasses import dataclass

from spnas_core.encoding import Architecture
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
        digits, borders = architecture.digits, architecture.borders

        def apply(site: tuple[int, int]) -> Rewrite:
            i, shift = site
            moved = (*borders[:i], borders[i] + shift, *borders[i + 1 :])
            side = "right" if shift > 0 else "left"
            step = Step(self.name, f"border {i + 1}|{i + 2} moved {side} by {abs(shift)}", None)
            child = Architecture.from_borders(architecture, digits, moved)
            return Rewrite(architecture, child, tuple(range(len(digits))), (step,))

        edges = (0, *borders, len(digits))
        shifts = [shift for shift in range(-self.max_step, self.max_step + 1) if shift]
        sites = [
            (i, shift)
            for i, (low, border, high) in enumerate(zip(edges, borders, edges[2:], strict=False))
            for shift in shifts
            if low < border + shift < high
        ]
        return Applications(sites, apply)
