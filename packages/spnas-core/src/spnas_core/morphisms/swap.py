"""Swap: move a stage border along the unchanged block sequence."""

from collections.abc import Sequence
from dataclasses import dataclass

from spnas_core.encoding import Architecture
from spnas_core.morphisms._base import Rewrite, Step


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
        block_map = tuple(range(len(digits)))
        found = []
        for i, border in enumerate(borders):
            low = borders[i - 1] if i else 0
            high = borders[i + 1] if i + 1 < len(borders) else len(digits)
            for shift in range(-self.max_step, self.max_step + 1):
                if shift and low < border + shift < high:
                    moved = (*borders[:i], border + shift, *borders[i + 1 :])
                    child = Architecture.from_borders(architecture, digits, moved)
                    side = "right" if shift > 0 else "left"
                    detail = f"border {i + 1}|{i + 2} moved {side} by {abs(shift)}"
                    found.append(Rewrite(architecture, child, block_map, (Step(self.name, detail, None),)))
        return found
