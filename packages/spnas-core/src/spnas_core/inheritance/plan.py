"""The table of tensor copies that makes a child out of its parent."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from spnas_core.blocks import PROJECTION, block_spec
from spnas_core.inheritance.channels import ChannelMaps
from spnas_core.inheritance.initialisation import DIRAC, HE_NORMAL, ONES, OWN, ZEROS, Init
from spnas_core.inheritance.routes import Route
from spnas_core.morphisms import Rewrite
from spnas_core.networks.layout import block_placements
from spnas_core.networks.units import Unit, split_name

Shapes = Mapping[str, torch.Size]
InitRule = Callable[[str, torch.Size], Init]
FUSING = "conv.weight"
"""The convolution of a fusion, inside of it."""


@dataclass(frozen=True)
class TensorCopy:
    """One child tensor that takes its values from one parent tensor.

    Attributes:
        target: name in the child.
        source: name in the parent.
        overlap: shapes differ; only the part that both have is copied, over a filled tensor: the leading channels, and
            of a kernel the middle, around which a larger one has zeros.
        route: shapes differ, and every channel of the child continues one of the parent's; None for a plain copy.
        rows: pairs of a row of the child's and the row of the parent's that it is, of tensors that differ in their
            first dimension alone; all other rows are those of a filled tensor. None copies all.
    """

    target: str
    source: str
    overlap: bool = False
    route: Route | None = None
    rows: tuple[tuple[int, int], ...] | None = None

    @property
    def is_partial(self) -> bool:
        """Whether some of the child's tensor starts anew, so that a fill is needed too."""
        return self.overlap or self.rows is not None


@dataclass(frozen=True)
class TensorFill:
    """One child tensor that starts from first values.

    Attributes:
        target: name in the child.
        init: the values.
        route: of a 1×1 convolution that passes its input through, where its channels differ from its input's.
    """

    target: str
    init: Init
    route: Route | None = None


@dataclass(frozen=True)
class InheritancePlan:
    """Everything that happens to a child's tensors, and what of the parent finds no heir.

    Attributes:
        copies: tensors that inherit; targets are all different.
        fills: tensors that start anew (those of partial copies too).
        dropped: parent tensors that nothing inherits.
        pass_through_norms: new norm layers that are to let their input through: see ``calibrate_pass_through``.
    """

    copies: tuple[TensorCopy, ...] = ()
    fills: tuple[TensorFill, ...] = ()
    dropped: tuple[str, ...] = ()
    pass_through_norms: tuple[str, ...] = field(default=())

    def prefixed(self, prefix: str) -> "InheritancePlan":
        """Return the same plan for a module that stands under a name, for example ``backbone.``."""
        return InheritancePlan(
            tuple(replace(c, target=prefix + c.target, source=prefix + c.source) for c in self.copies),
            tuple(replace(f, target=prefix + f.target) for f in self.fills),
            tuple(prefix + name for name in self.dropped),
            tuple(prefix + name for name in self.pass_through_norms),
        )

    def __add__(self, other: "InheritancePlan") -> "InheritancePlan":
        return InheritancePlan(
            self.copies + other.copies,
            self.fills + other.fills,
            self.dropped + other.dropped,
            self.pass_through_norms + other.pass_through_norms,
        )


def tensor_shapes(module: nn.Module) -> dict[str, torch.Size]:
    """Shapes of all parameters and buffers of a module, on any device."""
    return {name: tensor.shape for name, tensor in module.state_dict(keep_vars=True).items()}


def standard_init(name: str, shape: torch.Size) -> Init:
    """First values of a fresh residual network, as torchvision starts its ResNets."""
    if len(shape) == 4:
        return HE_NORMAL
    return ONES if name.endswith(("weight", "running_var")) else ZEROS


def fresh_plan(module: nn.Module, init: InitRule = standard_init) -> InheritancePlan:
    """Plan a module that inherits nothing."""
    return InheritancePlan(
        fills=tuple(TensorFill(name, init(name, shape)) for name, shape in tensor_shapes(module).items())
    )


def plan_inheritance(
    rewrite: Rewrite, child_shapes: Shapes, parent_shapes: Shapes, maps: ChannelMaps | None = None
) -> InheritancePlan:
    """Plan the inheritance of a backbone; it follows from the origins of its units, whatever the morphisms were.

    - A tensor of a unit with a source inherits the same-named tensor of it; where channels differ, through their maps.
    - A block that needs a projection its source did not have gets a pass-through one: a 1×1 convolution that gives each
      channel to those that continue it, and a norm to calibrate.
    - A new block starts as its shortcut: the last norm of its residual branch has γ = β = 0. One that has none, and so
      could pass nothing on, starts as a fresh block.
    - A fusion whose convolution starts anew adds nothing: its norm has γ = β = 0 and fresh statistics. So do a new one,
      and one that would read or give channels which continue none of those of its source.
    - What the child does not need, such as a projection, is dropped and listed.

    Args:
        rewrite: parent, child and block map.
        child_shapes: shapes of the child's tensors by name.
        parent_shapes: shapes of the parent's tensors by name; names that are missing are filled anew.
        maps: of the rewrite's channels; by default those of seed 0.
    """
    planner = _Planner(rewrite, child_shapes, parent_shapes, maps or ChannelMaps(rewrite))
    steps = [planner.step(name, shape) for name, shape in child_shapes.items()]
    copies = tuple(step for step in steps if isinstance(step, TensorCopy))
    # A network that inherits nothing at all is a fresh one: silent residuals and pass-throughs are for heirs.
    if not copies:
        fresh = tuple(TensorFill(n, standard_init(n, s)) for n, s in child_shapes.items())
        return InheritancePlan(fills=fresh, dropped=tuple(parent_shapes))
    fills = tuple(step for step in steps if isinstance(step, TensorFill))
    used = {copy.source for copy in copies}
    dropped = tuple(name for name in parent_shapes if name not in used)
    return InheritancePlan(copies, fills, dropped, planner.pass_through_norms(fills))


def plan_by_name(child_shapes: Shapes, parent_shapes: Shapes) -> InheritancePlan:
    """Plan a network that cannot be rewritten: same names of the same shape are copied, the rest has its own values."""
    copies = tuple(TensorCopy(name, name) for name, shape in child_shapes.items() if parent_shapes.get(name) == shape)
    known = {copy.target for copy in copies}
    fills = tuple(TensorFill(name, OWN) for name in child_shapes if name not in known)
    return InheritancePlan(copies, fills, tuple(name for name in parent_shapes if name not in known))


class _Planner:
    """Decides what happens to each tensor of a backbone."""

    def __init__(self, rewrite: Rewrite, child_shapes: Shapes, parent_shapes: Shapes, maps: ChannelMaps) -> None:
        self._rewrite, self._child_shapes, self._parent_shapes, self._maps = rewrite, child_shapes, parent_shapes, maps
        self._silent_norm = block_spec(rewrite.child.block).silent_norm
        self._blocks = block_placements(rewrite.child)
        self._first_of_stage = (0, *rewrite.child.borders)

    def step(self, name: str, shape: torch.Size) -> TensorCopy | TensorFill:
        """Plan one tensor."""
        unit, inner = split_name(name)
        copy = None if self._is_silent_fusion(unit) else self._copy(unit, inner, name, shape)
        return copy or self._fill(unit, inner, name, shape)

    def pass_through_norms(self, fills: Sequence[TensorFill]) -> tuple[str, ...]:
        """Name the norms of all projections that are new."""
        new = {fill.target for fill in fills}
        found = []
        for unit in self._rewrite.origins:
            block = self._block(unit)
            layer = None if block is None else self._blocks[block].projection
            # Without a norm the convolution passes through as it is.
            if layer is not None and layer.norm is not None and f"{unit.module}.{layer.module}.weight" in new:
                found.append(f"{unit.module}.{layer.norm}")
        return tuple(found)

    def _copy(self, unit: Unit, inner: str, name: str, shape: torch.Size) -> TensorCopy | None:
        """Take a tensor from the first source that has it; None where none of them does."""
        for source in self._rewrite.origins[unit].sources:
            found = f"{source.module}.{inner}"
            if self._parent_shapes.get(found) == shape:
                return TensorCopy(name, found)
            route = self._route(unit, inner) if found in self._parent_shapes else None
            if route is not None and route.fits(self._parent_shapes[found]):
                return TensorCopy(name, found, route=route)
        return None

    def _is_silent_fusion(self, unit: Unit) -> bool:
        """Whether a unit is a fusion whose convolution, its own or the one that it shares, starts anew.

        Then all of it does: a norm that was trained on other values would say aloud what means nothing yet.
        """
        if unit.kind != "fusion":
            return False
        origin = self._rewrite.origins[unit]
        if origin.is_new or self._maps.fusion_route(unit.at[0], FUSING) is None:
            return True
        owner = origin.shares or unit
        name = f"{owner.module}.{FUSING}"
        return self._copy(owner, FUSING, name, self._child_shapes[name]) is None

    def _block(self, unit: Unit) -> int | None:
        """Index, on the main path, of the block that a unit is or stands beside."""
        match unit.kind, unit.at:
            case "main", (index,):
                return index
            case "row", (stage, _, position):
                return self._first_of_stage[stage - 1] + position
        return None

    def _route(self, unit: Unit, inner: str) -> Route | None:
        if self._rewrite.child.block != self._rewrite.parent.block:
            return None
        if unit.kind == "fusion":
            return self._maps.fusion_route(unit.at[0], inner)
        if unit.kind == "stem":
            return self._maps.stem_route(inner) if self._rewrite.child.stem == self._rewrite.parent.stem else None
        block = self._block(unit)
        before = None if block is None else self._rewrite.block_map[block]
        return None if block is None or before is None else self._maps.block_route(block, before, inner)

    def _fill(self, unit: Unit, inner: str, name: str, shape: torch.Size) -> TensorFill:
        origin, block = self._rewrite.origins[unit], self._block(unit)
        if inner in {"bn.weight", "bn.bias"} and self._is_silent_fusion(unit):
            return TensorFill(name, ZEROS)
        if block is not None and inner == f"{PROJECTION}.conv.weight":
            return self._shortcut(block, name, shape)
        has_shortcut = block is not None and self._blocks[block].shortcut != "none"
        if origin.is_new and has_shortcut and inner in {f"{self._silent_norm}.{leaf}" for leaf in ("weight", "bias")}:
            return TensorFill(name, ZEROS)
        return TensorFill(name, standard_init(name, shape))

    def _shortcut(self, block: int, name: str, shape: torch.Size) -> TensorFill:
        """A projection that the parent's block does not have stands in for its identity, and so does a new block's."""
        route = self._maps.shortcut_route(block, self._rewrite.block_map[block])
        if shape[0] == shape[1] and (route is None or route.is_identity):
            return TensorFill(name, DIRAC)
        return TensorFill(name, standard_init(name, shape) if route is None else DIRAC, route)
