"""What of a detector is not trained: the first stages, and norms, where these were inherited."""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from spnas_core.backbones import AnyBackbone, AnyNetwork
from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError, WeightsError
from spnas_core.inheritance import InheritancePlan
from spnas_core.supernets import Supernet
from spnas_detect.detectors.pyramid import levels_beyond, pyramid
from spnas_detect.heads.extra_levels import ExtraLevels
from spnas_detect.training.norms import FrozenNorm, NormKind, convert_norms

STATISTICS = ("running_mean", "running_var")

PROBE = 64
"""Least pixels of a side of the image that shows which parameters a detector's levels come from."""


@dataclass(frozen=True)
class Frozen:
    """Names of what is not trained.

    Attributes:
        norms: layers whose statistics stay as they are.
        parameters: that stay as they are; those of the norms among them.
    """

    norms: tuple[str, ...]
    parameters: tuple[str, ...]

    @classmethod
    def of(cls, module: nn.Module) -> "Frozen":
        """Read it off a module."""
        return cls(
            tuple(name for name, layer in module.named_modules() if isinstance(layer, FrozenNorm)),
            tuple(name for name, parameter in module.named_parameters() if not parameter.requires_grad),
        )

    def described(self, module: nn.Module) -> str:
        """Say in words how much of a module it is."""
        count = sum(module.get_parameter(name).numel() for name in self.parameters)
        return f"{count:,} parameters and the statistics of {len(self.norms)} norms are not trained"


def freeze_inherited(detector: nn.Module, plan: InheritancePlan, norm: NormKind, freeze_at: int | None) -> Frozen:
    """Convert a new detector's norms, and freeze what the settings say, as far as it was inherited.

    What starts anew is trained wherever it stands: a new block in a frozen stage, the norms of a neck that the parent
    did not have. Statistics of its own would never become those of its input. Whatever of backbone, neck and extra
    levels no level that the heads read comes from, such as the stages behind the last one, or a merge of a neck's cell
    that no other reads, is not trained either: it has no gradient. Of a supernet it is, on parts whose stages end
    elsewhere.

    Args:
        detector: as ``build_detector`` has made it; changed in place.
        plan: that it was made by.
        norm: kind of norm; with ``frozen`` those norms stay whose statistics were inherited, the others are batch norm.
        freeze_at: 1 freezes the stem, 2 the first stage too, …; None and 0 nothing.

    Returns:
        What is frozen.
    """
    inherited = {copy.target for copy in plan.copies if not copy.is_partial}
    backbone = cast("AnyBackbone", detector.backbone)
    architecture = backbone.architecture
    first = _first_parts(architecture, freeze_at or 0) if isinstance(architecture, Architecture) else ()
    layers = {name for name, layer in detector.named_modules() if isinstance(layer, nn.BatchNorm2d)}
    known = {name for name in layers if all(f"{name}.{leaf}" in inherited for leaf in STATISTICS)}
    norms = known if norm == "frozen" else {name for name in known if f"{name}.".startswith(first)}
    unused = frozenset() if isinstance(backbone, Supernet) else _unused_parameters(detector)
    parameters = [
        name
        for name, _ in detector.named_parameters()
        if (name.startswith(first) and name in inherited) or name in unused
    ]
    return freeze(detector, norm, Frozen(tuple(sorted(norms)), tuple(parameters)))


def freeze(detector: nn.Module, norm: NormKind, frozen: Frozen) -> Frozen:
    """Convert a detector's norms, and freeze what was frozen in another of the same layers.

    Returns:
        What is frozen now: with ``group`` norms have no statistics to keep.

    Raises:
        WeightsError: the detector has no such layer or parameter.
    """
    known = {name for name, _ in detector.named_modules()} | {name for name, _ in detector.named_parameters()}
    for name in (*frozen.norms, *frozen.parameters):
        if name not in known:
            raise WeightsError(f"{name!r} is said to be frozen, and there is no such part of the detector")
    convert_norms(detector, norm, frozen=frozen.norms)
    for name in frozen.parameters:
        detector.get_parameter(name).requires_grad_(False)
    return Frozen.of(detector)


def check_freeze_at(freeze_at: int | None, architecture: AnyNetwork, *, inherits: bool) -> None:
    """Refuse to freeze what is not there.

    Raises:
        ConfigError: more stages than the architecture has, or fresh weights.
    """
    if freeze_at and not isinstance(architecture, Architecture):
        raise ConfigError(
            f"training.freeze_at is {freeze_at}, and nothing says which tensors of {architecture} are of which stage: "
            "set it to 0"
        )
    stages = architecture.stage_count
    if freeze_at is not None and freeze_at > stages + 1:
        raise ConfigError(
            f"training.freeze_at is {freeze_at}, and {architecture} has {stages} stages: at most {stages + 1} (the "
            "stem, and all stages) can be frozen"
        )
    if freeze_at and not inherits:
        raise ConfigError(
            f"training.freeze_at is {freeze_at}, and all weights are fresh: name weights to start from with --init, or "
            "set it to 0"
        )


def _first_parts(architecture: Architecture, freeze_at: int) -> tuple[str, ...]:
    """Prefixes of the names of what stands before the first trained stage."""
    if freeze_at < 1:
        return ()
    stages = range(1, min(freeze_at - 1, len(architecture.stages)) + 1)
    return ("backbone.stem.", *_parts_of(architecture, stages))


def _unused_parameters(detector: nn.Module) -> frozenset[str]:
    """Names of the parameters of backbone, neck and extra levels that nothing comes from that the heads read.

    Heads that do not say what they read (``Detector``) may read the backbone's features, too.
    """
    children = {name: child for name, child in detector.named_children() if name in {"backbone", "neck"}}
    if (extra := levels_beyond(detector)) is not None:
        children["extra"] = extra
    twin = nn.ModuleDict(deepcopy(children)).eval()  # a look at it changes neither statistics nor random states
    backbone = cast("AnyBackbone", twin["backbone"])
    side = max(PROBE, *backbone.feature_info.reduction())
    image = torch.zeros(1, 3, side, side, device=next(twin.parameters()).device)
    with torch.enable_grad():
        coarser = cast("ExtraLevels", twin["extra"]) if "extra" in twin else None
        read = pyramid(backbone, twin["neck"], image, coarser)
        if not getattr(detector, "reads_levels_alone", False):
            read += backbone(image).values()
    used = _sources(read)
    return frozenset(name for name, parameter in twin.named_parameters() if id(parameter) not in used)


def _sources(outputs: Iterable[Tensor]) -> frozenset[int]:
    """Identities of the tensors that gradients of some outputs would reach."""
    waiting = [output.grad_fn for output in outputs if output.grad_fn is not None]
    met = set(waiting)
    while waiting:
        following = {node for node, _ in waiting.pop().next_functions if node is not None}
        waiting += following - met
        met |= following
    return frozenset(id(node.variable) for node in met if hasattr(node, "variable"))


def _parts_of(architecture: Architecture, stages: range) -> tuple[str, ...]:
    """Prefixes of the names of the blocks, rows and fusions of stages that are counted from 1."""
    ends = [0, *architecture.borders, len(architecture.digits)]
    names = [f"blocks.{block}" for stage in stages for block in range(ends[stage - 1], ends[stage])]
    names += [f"{part}.{stage}" for part in ("rows", "fusions") for stage in stages]
    return tuple(f"backbone.{name}." for name in names)
