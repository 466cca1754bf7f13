"""The table of tensor copies that makes a child out of its parent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from spnas_core.blocks import block_spec
from spnas_core.inheritance.initialisation import DIRAC, HE_NORMAL, ONES, ZEROS, Init
from spnas_core.morphisms import Rewrite
from spnas_core.networks.layout import block_placements

Shapes = Mapping[str, torch.Size]
InitRule = Callable[[str, torch.Size], Init]


@dataclass(frozen=True)
class TensorCopy:
    """One child tensor that takes its values from one parent tensor.

    Attributes:
        target: name in the child.
        source: name in the parent.
        overlap: shapes differ; only the leading part that both have is copied, over a filled tensor.
    """

    target: str
    source: str
    overlap: bool = False


@dataclass(frozen=True)
class TensorFill:
    """One child tensor that starts from first values."""

    target: str
    init: Init


@dataclass(frozen=True)
class InheritancePlan:
    """Everything that happens to a child's tensors, and what of the parent finds no heir.

    Attributes:
        copies: tensors that inherit; targets are all different.
        fills: tensors that start anew (those of overlapping copies too).
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


def plan_inheritance(rewrite: Rewrite, child_shapes: Shapes, parent_shapes: Shapes) -> InheritancePlan:
    """Plan the inheritance of a backbone; it follows from the block map alone, whatever the morphisms were.

    - A child tensor whose block has a parent block inherits the same-named tensor of that block.
    - A block that needs a projection its parent did not have gets a pass-through one: Dirac 1×1, norm to calibrate.
    - A new block starts as its shortcut: the last norm of its residual branch has γ = β = 0.
    - A projection that the child does not need is dropped, and listed.

    Args:
        rewrite: parent, child and block map.
        child_shapes: shapes of the child's tensors by name.
        parent_shapes: shapes of the parent's tensors by name; names that are missing are filled anew.
    """
    silent_norm = block_spec(rewrite.child.block).silent_norm
    projecting = {
        placement.index for placement in block_placements(rewrite.child) if placement.layers[-1].name == "projection"
    }
    copies: list[TensorCopy] = []
    fills: list[TensorFill] = []
    for name, shape in child_shapes.items():
        source = _source_name(name, rewrite.block_map)
        if source is not None and parent_shapes.get(source) == shape:
            copies.append(TensorCopy(name, source))
        else:
            fills.append(TensorFill(name, _new_tensor_init(name, shape, rewrite, silent_norm)))
    used = {copy.source for copy in copies}
    pass_through = tuple(
        fill.target.removesuffix(".weight")
        for fill in fills
        if fill.target.endswith("projection.bn.weight") and _block_of(fill.target) in projecting
    )
    # A network that inherits nothing at all is a fresh one: silent residuals and pass-throughs are for heirs.
    if not copies:
        fresh = tuple(TensorFill(n, standard_init(n, s)) for n, s in child_shapes.items())
        return InheritancePlan(fills=fresh, dropped=tuple(parent_shapes))
    return InheritancePlan(
        tuple(copies), tuple(fills), tuple(name for name in parent_shapes if name not in used), pass_through
    )


def _block_of(name: str) -> int | None:
    parts = name.split(".")
    return int(parts[1]) if parts[0] == "blocks" else None


def _source_name(name: str, block_map: tuple[int | None, ...]) -> str | None:
    block = _block_of(name)
    if block is None:
        return name
    source = block_map[block]
    return None if source is None else f"blocks.{source}." + name.split(".", 2)[2]


def _new_tensor_init(name: str, shape: torch.Size, rewrite: Rewrite, silent_norm: str) -> Init:
    block = _block_of(name)
    if block is not None:
        inner = name.split(".", 2)[2]
        if inner == "projection.conv.weight" and _passes_through(shape):
            return DIRAC
        if rewrite.block_map[block] is None and inner in {f"{silent_norm}.weight", f"{silent_norm}.bias"}:
            return ZEROS
    return standard_init(name, shape)


def _passes_through(shape: torch.Size) -> bool:
    return shape[0] == shape[1]
