"""The contract of a morphism, and what it returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, Protocol, TypeVar, overload, runtime_checkable

from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError
from spnas_core.morphisms.origins import Origin, unit_origins
from spnas_core.networks.layout import block_placements
from spnas_core.networks.units import Unit

Site = TypeVar("Site")


@dataclass(frozen=True)
class Step:
    """One applied morphism, for people and for the archive.

    Attributes:
        morphism: its registered name.
        detail: what it did, for example ``border 2|3 moved right by 1``.
        promise: largest change of the existing outputs in evaluation mode that the morphism promises of networks with
            batch norm, relative, ‖child − parent‖ / ‖parent‖ per level; None where it promises nothing and the change
            is measured. Of those with norms that are not affine see ``Rewrite.promise_with``.
    """

    morphism: str
    detail: str
    promise: float | None

    def __str__(self) -> str:
        return f"{self.morphism}: {self.detail}"


@dataclass(frozen=True)
class Rewrite:
    """A child architecture together with the origin of its blocks, from which that of all its parts follows.

    Attributes:
        parent: the architecture that was rewritten.
        child: the result.
        block_map: per child block, the index of the parent block whose weights it inherits, or None for a new block.
        steps: the morphisms applied, in order; empty for the identity.
    """

    parent: Architecture
    child: Architecture
    block_map: tuple[int | None, ...]
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        entries, blocks = len(self.block_map), len(self.child.digits)
        if entries != blocks:
            raise CodeError(f"the block map has {entries} entries for the {blocks} blocks of {self.child}")
        blocks = len(self.parent.digits)
        sources = [source for source in self.block_map if source is not None]
        if sources and not 0 <= min(sources) <= max(sources) < blocks:
            index, source = next((i, s) for i, s in enumerate(self.block_map) if s is not None and not 0 <= s < blocks)
            raise CodeError(
                f"block {index} of {self.child} maps to block {source} of {self.parent}, which has {blocks}"
            )

    def then(self, following: "Rewrite") -> "Rewrite":
        """Compose: this rewrite first, ``following`` on its child.

        Raises:
            CodeError: ``following`` does not start from this rewrite's child.
        """
        if following.parent != self.child:
            raise CodeError(f"cannot follow a rewrite to {self.child} by one that starts from {following.parent}")
        block_map = tuple(None if middle is None else self.block_map[middle] for middle in following.block_map)
        return Rewrite(self.parent, following.child, block_map, self.steps + following.steps)

    @cached_property
    def origins(self) -> Mapping[Unit, Origin]:
        """Where every unit of the child comes from; see ``unit_origins``."""
        return unit_origins(self)

    @property
    def promise(self) -> float | None:
        """Largest promised relative change of existing outputs over all steps; None if one of them promises nothing."""
        promises = [step.promise for step in self.steps]
        return None if None in promises else sum(promise for promise in promises if promise is not None)

    def promise_with(self, *, affine_norms: bool) -> float | None:
        """Return what is promised of networks with some kind of norm.

        A norm that is affine in evaluation mode, as batch norm is, gives each copy of a channel what it gave the
        channel, and can pass its input through. Group norm does neither: there only those rewrites promise something
        that leave the layers of all existing blocks as they are, and add no projection between them.

        Args:
            affine_norms: whether the networks' norms are affine in evaluation mode.
        """
        return self.promise if affine_norms or self._keeps_layers else None

    @property
    def _keeps_layers(self) -> bool:
        """Whether up to the parent's last stage blocks have the layers of their sources, and new ones no projection."""
        parents = block_placements(self.parent)
        return all(
            child.projection is None if source is None else child.layers == parents[source].layers
            for child, source in zip(block_placements(self.child), self.block_map, strict=True)
            if child.stage <= len(self.parent.stages)
        )


def identity(architecture: Architecture) -> Rewrite:
    """Return the rewrite that changes nothing: what a control is trained from."""
    return Rewrite(architecture, architecture, tuple(range(len(architecture.digits))))


class Applications(Sequence[Rewrite], Generic[Site]):
    """A sequence that makes each rewrite when it is first asked for: of a hundred options a search looks at one.

    Args:
        sites: where the morphism applies, one entry per rewrite.
        apply: makes the rewrite of one site.
    """

    def __init__(self, sites: Sequence[Site], apply: Callable[[Site], Rewrite]) -> None:
        self._sites = sites
        self._apply = apply
        self._made: dict[int, Rewrite] = {}

    def __len__(self) -> int:
        return len(self._sites)

    @overload
    def __getitem__(self, index: int) -> Rewrite: ...
    @overload
    def __getitem__(self, index: slice) -> "Applications[Site]": ...
    def __getitem__(self, index: int | slice) -> "Rewrite | Applications[Site]":
        if isinstance(index, slice):
            return Applications(self._sites[index], self._apply)
        made = self._made.get(index)
        if made is None:
            made = self._made[index] = self._apply(self._sites[index])
        return made


class Morphism(Protocol):
    """A kind of rewrite. Morphisms are values: everything random is left to the caller, who draws from the options."""

    @property
    def name(self) -> str:
        """The name in settings and in the archive."""

    @property
    def summary(self) -> str:
        """One line for listings."""

    def __hash__(self) -> int:
        """Values of equal hash and settings have equal options."""

    def options(self, architecture: Architecture) -> Sequence[Rewrite]:
        """All single applications to an architecture, in a fixed order, the same whenever it is asked.

        Bounds of a search space are not its matter.
        """


@runtime_checkable
class DescribingMorphism(Protocol):
    """A morphism that tells learned policies its options apart, beyond the blocks that change."""

    @property
    def feature_count(self) -> int:
        """Numbers that describe an option."""

    def features(self, rewrite: Rewrite) -> Sequence[float]:
        """Describe one of its options: ``feature_count`` numbers, about 1 in size."""
