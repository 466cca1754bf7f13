"""Bounds on architectures, each violation explained."""

from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, Self

from spnas_core.blocks.registry import canonical_block_name
from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.encoding.validation import oversize
from spnas_core.errors import SpaceError
from spnas_core.space.clashes import clashes

Sampling = Literal["grown", "any"]
"""What is drawn at random from a space; see ``SearchSpace.sampling``."""


class Bound(Protocol):
    """A further bound, of whatever is not counted from the code alone, such as measured latency.

    One that takes time to ask says so by a true attribute ``is_measured``.
    """

    def violation(self, architecture: Architecture) -> str | None:
        """Explain how the architecture breaks the bound; None where it keeps it."""


@dataclass(frozen=True)
class SearchSpace:
    """The bounds of a search; the defaults are the paper's.

    Attributes:
        min_blocks: fewest residual blocks.
        max_blocks: most residual blocks.
        min_stages: fewest stages.
        max_stages: most stages.
        max_rows: most parallel rows beside one stage.
        block_types: allowed block types; empty allows every registered one.
        image_size: (width, height) in pixels at which costs are counted.
        max_parameters: of the backbone; None for no bound.
        max_multiply_adds: of the backbone for one image; None for no bound.
        max_activation_bytes: of the backbone for one image; None for no bound.
        bounds: further ones; they are asked about what keeps all others.
        sampling: what is drawn at random: ``grown`` from the start by swap, expand and add stage, so that all its
            blocks and doublings stay, or ``any`` code inside the bounds, of the start's block type, base and stem. It
            bounds nothing.

    Raises:
        SpaceError: a lower bound above its upper bound, or more stages than there may be blocks.
    """

    min_blocks: int = 8
    max_blocks: int = 60
    min_stages: int = 5
    max_stages: int = 7
    max_rows: int = 3
    block_types: tuple[str, ...] = ()
    image_size: tuple[int, int] = (224, 224)
    max_parameters: int | None = None
    max_multiply_adds: int | None = None
    max_activation_bytes: int | None = None
    bounds: tuple[Bound, ...] = field(default=(), compare=False)
    sampling: Sampling = "grown"

    def __post_init__(self) -> None:
        object.__setattr__(self, "block_types", tuple(map(canonical_block_name, self.block_types)))
        for noun, low, high in (
            ("blocks", self.min_blocks, self.max_blocks),
            ("stages", self.min_stages, self.max_stages),
        ):
            if low > high:
                raise SpaceError(f"min_{noun} {low} is above max_{noun} {high}: the space would be empty")
        if self.min_stages > self.max_blocks:
            raise SpaceError(
                f"min_stages {self.min_stages} is above max_blocks {self.max_blocks}, and every stage has a block: the "
                "space would be empty"
            )

    @property
    def quick(self) -> Self:
        """The same without what takes time to ask: for codes that lead to others, and are not to be proposed."""
        return replace(self, bounds=tuple(bound for bound in self.bounds if not getattr(bound, "is_measured", False)))

    def limits(self) -> dict[str, int | None]:
        """The bounds on cost, by the cost's name; None for no bound."""
        return {
            "parameters": self.max_parameters,
            "multiply_adds": self.max_multiply_adds,
            "activation_bytes": self.max_activation_bytes,
        }

    def violations(self, architecture: Architecture) -> tuple[str, ...]:
        """Explain every bound that the architecture breaks; empty where it lies inside the space."""
        found = []
        blocks, stages = len(architecture.digits), len(architecture.stages)
        for noun, count, low, high in (
            ("blocks", blocks, self.min_blocks, self.max_blocks),
            ("stages", stages, self.min_stages, self.max_stages),
        ):
            if not low <= count <= high:
                bound = f"min_{noun} = {low}" if count < low else f"max_{noun} = {high}"
                found.append(f"{count} {noun} where {bound}")
        found.extend(
            f"{rows} rows beside stage {stage} where max_rows = {self.max_rows}"
            for stage, rows in enumerate(architecture.rows, 1)
            if rows > self.max_rows
        )
        if (larger := oversize(architecture)) is not None:
            found.append(larger)
        if self.block_types and architecture.block not in self.block_types:
            found.append(f"block type {architecture.block!r} where block_types = {', '.join(self.block_types)}")
        limits = self.limits()
        if any(limit is not None for limit in limits.values()):
            cost = backbone_cost(architecture, *self.image_size).as_dict()
            found.extend(
                f"{cost[name]:,.0f} {name} where max_{name} = {limit:,}"
                for name, limit in limits.items()
                if limit is not None and cost[name] > limit
            )
        if not found:
            found.extend(said for bound in self.bounds if (said := bound.violation(architecture)) is not None)
        return tuple(found)

    def __contains__(self, architecture: Architecture) -> bool:
        return not self.violations(architecture)

    def check(self, architecture: Architecture) -> None:
        """Refuse an architecture outside the space.

        Raises:
            SpaceError: naming every violated bound, and those that no architecture of its kind could keep.
        """
        found = self.violations(architecture)
        if found:
            said = "; ".join((*found, *clashes(self, architecture)))
            raise SpaceError(f"{architecture} lies outside the search space: {said}")
