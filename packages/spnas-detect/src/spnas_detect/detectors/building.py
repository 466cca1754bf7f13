"""From a rewrite and the parent's weights to a detector that inherits them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from spnas_core.backbones import AnyNetwork, Unchanged, blank_network
from spnas_core.backbones.building import fresh_values
from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError, EvaluationError
from spnas_core.inheritance import (
    ChannelMap,
    ChannelMaps,
    InheritancePlan,
    Receipt,
    Route,
    TensorCopy,
    TensorFill,
    fill_module,
    norm_scales,
    plan_by_name,
    plan_inheritance,
    write_receipt,
)
from spnas_core.inheritance.plan import Shapes, tensor_shapes
from spnas_core.morphisms import Rewrite
from spnas_core.networks import FeatureInfo
from spnas_core.supernets import Supernet
from spnas_detect.detectors._base import Detector, detector_factory
from spnas_detect.detectors.classes import ClassMap
from spnas_detect.detectors.held import made_detector, made_neck
from spnas_detect.detectors.levels import known_neck_stages, neck_stages, read_stages, stage_names
from spnas_detect.detectors.pyramid import levels_beyond
from spnas_detect.detectors.settings import DetectorSettings
from spnas_detect.heads.extra_levels import MERGED, ExtraLevels, merged_features
from spnas_detect.memory import explained_allocation
from spnas_detect.necks import LevelMap, Neck, neck_name, neck_of

BACKBONE, NECK, EXTRA = "backbone.", "neck.", "extra."
POOLED = "box_head.fc6.weight"
"""The layer that reads pooled regions."""
NARROWER = "take a narrower backbone, or lower detector.head_channels, detector.neck_channels or detector.pooled_size"
Named = TypeVar("Named")


def build_detector(
    rewrite: Rewrite | Unchanged,
    classes: int,
    settings: DetectorSettings,
    parent_tensors: Mapping[str, Tensor],
    *,
    generator: torch.Generator,
    seed: int = 0,
    device: torch.device | str = "cpu",
    parent_stages: Sequence[int] | None = None,
    class_map: ClassMap | None = None,
    shares: bool = False,
) -> tuple[nn.Module, InheritancePlan, Receipt]:
    """Build the detector of a child architecture.

    Backbone tensors inherit through the origins of their units, a neck's laterals follow their features and the
    channels of these, everything else inherits by name. Where shapes differ otherwise the overlapping part is copied; a
    neck of another kind than the parent's starts anew. A network that is no code inherits by name, too, and what starts
    anew in it has the first values that its library gives it.

    Args:
        rewrite: parent, child and block map; or a network that cannot be rewritten.
        classes: number of classes, background not counted.
        settings: of neck and heads.
        parent_tensors: the parent detector's tensors by name; what is missing starts anew.
        generator: source of first values.
        seed: of the channel maps; see ``ChannelMaps``.
        device: where the weights shall live.
        parent_stages: stages, from 0, that the levels of the parent's neck come from (see ``neck_stages``); None for
            those that the settings name.
        class_map: which of the parent's classes the child's are; None for the first ones, in order.
        shares: whether the backbone is to be one whose parts share its weights; see ``Supernet``.

    Returns:
        The detector (it fulfils ``Detector``), the plan that was executed, and the receipt.

    Raises:
        ConfigError: the child lacks a stage that the settings name, or the detector makes none of the levels that the
            neck shall merge.
        EvaluationError: the weights do not fit in memory.
    """
    names = stage_names(read_stages(settings.levels, rewrite.child))
    if parent_stages is None:
        parent_stages = known_neck_stages(settings.levels, settings.extra_levels, rewrite.parent)
    child = rewrite.child
    backbone = Supernet(child, names) if shares and isinstance(child, Architecture) else blank_network(child, names)
    with torch.device("meta"):
        neck = make_neck(child, backbone.feature_info, settings)
        factory = detector_factory(settings.detector)
        module = made_detector(settings.detector, factory, backbone, neck, classes, settings)
    if settings.extra_levels in MERGED and levels_beyond(module) is None:
        raise ConfigError(
            f"detector {settings.detector!r} makes no extra levels, and detector.extra_levels is "
            f"{settings.extra_levels!r}, of which the neck merges them: set it to 'none', or take another detector"
        )
    parent_shapes = {name: tensor.shape for name, tensor in parent_tensors.items()}
    maps, own = None, None
    if isinstance(rewrite, Unchanged):
        own = {BACKBONE + name: tensor for name, tensor in fresh_values(rewrite.child, generator).items()}
    else:
        maps = detector_maps(rewrite, seed, parent_tensors)
    levels = LevelMap(rewrite, neck_stages(settings, child), tuple(parent_stages))
    plan = plan_detector(levels, cast("Detector", module), tensor_shapes(module), parent_shapes, maps, class_map)
    with explained_allocation(torch.device(device), EvaluationError, lambda: ("the detector's weights", NARROWER)):
        fill_module(module, plan, parent_tensors, generator=generator, device=device, own=own)
    return module, plan, write_receipt(module, plan)


def check_neck(settings: DetectorSettings, network: AnyNetwork) -> None:
    """Refuse a network whose code names a neck that is none, or one for other levels than it has.

    Raises:
        PluginError: no plugin registers the neck.
        ConfigError: the neck's text cannot be read, or does not fit the levels.
    """
    backbone = blank_network(network, stage_names(read_stages(settings.levels, network)))
    with torch.device("meta"):
        make_neck(network, backbone.feature_info, settings)


def make_neck(network: AnyNetwork, features: FeatureInfo, settings: DetectorSettings) -> nn.Module:
    """Make the neck that a network's code names, or else the settings.

    Args:
        network: whose features it reads.
        features: that the backbone gives.
        settings: of the detector.

    Raises:
        PluginError: no plugin registers the neck, or one registers what is no neck.
        ConfigError: the neck's text cannot be read, or does not fit the levels.
    """
    family = neck_name(network, settings.neck).partition(":")[0]
    factory, read = neck_of(network, settings.neck), merged_features(features, settings.extra_levels)
    return made_neck(family, factory, read, settings.neck_channels, settings.neck_repeats)


def detector_maps(rewrite: Rewrite, seed: int, parent_tensors: Mapping[str, Tensor]) -> ChannelMaps:
    """Return the channel maps of a rewrite whose parent is the backbone of a detector."""
    return ChannelMaps(rewrite, seed, norm_scales(_under(BACKBONE, parent_tensors)))


def plan_detector(
    levels: LevelMap,
    detector: Detector,
    child_shapes: Shapes,
    parent_shapes: Shapes,
    maps: ChannelMaps | None,
    class_map: ClassMap | None = None,
) -> InheritancePlan:
    """Plan the inheritance of a whole detector."""
    of_child, of_parent = _under(BACKBONE, child_shapes), _under(BACKBONE, parent_shapes)
    if isinstance(levels.rewrite, Unchanged):
        backbone_plan = plan_by_name(of_child, of_parent)
    else:
        backbone_plan = plan_inheritance(levels.rewrite, of_child, of_parent, maps)
    backbone_plan = backbone_plan.prefixed(BACKBONE)
    copies: list[TensorCopy] = []
    fills: list[TensorFill] = []
    for name, shape in child_shapes.items():
        if name.startswith(BACKBONE):
            continue
        prefix = next((prefix for prefix in (NECK, EXTRA) if name.startswith(prefix)), None)
        part = None if prefix is None else getattr(detector, prefix.removesuffix("."), None)
        if prefix is not None and (prefix == NECK or isinstance(part, ExtraLevels)):
            reader = cast("Neck", part)
            inner = name.removeprefix(prefix)
            copy = _neck_copy(prefix, inner, shape, reader, levels, child_shapes, parent_shapes, maps)
            init = reader.initial(inner)
        else:
            copy, init = _head_copy(name, shape, detector, parent_shapes, class_map), detector.initial(name, shape)
        if copy is not None:
            copies.append(copy)
        if copy is None or copy.is_partial:
            fills.append(TensorFill(name, init))
    used = {copy.source for copy in copies}
    dropped = tuple(name for name in parent_shapes if not name.startswith(BACKBONE) and name not in used)
    return backbone_plan + InheritancePlan(tuple(copies), tuple(fills), dropped)


def _under(prefix: str, named: Mapping[str, Named]) -> dict[str, Named]:
    return {name.removeprefix(prefix): item for name, item in named.items() if name.startswith(prefix)}


def _head_copy(
    name: str, shape: torch.Size, detector: Detector, parent_shapes: Shapes, class_map: ClassMap | None
) -> TensorCopy | None:
    """A head's tensor by name, and the rows of its classes by theirs."""
    class_rows = getattr(detector, "class_rows", None)  # a plugin's detector need not tell
    if parent_shapes.get(name) != shape and _is_pooled_otherwise(name, detector, parent_shapes):
        return None
    layout = None if class_map is None or class_rows is None else class_rows(name)
    if layout is None or class_map is None:
        return _best_copy(name, shape, [name], parent_shapes)
    before = parent_shapes.get(name)
    if before is None or before[1:] != shape[1:]:
        return None
    rows = class_map.row_pairs(layout, before[0])
    return TensorCopy(name, name, rows=rows) if rows else None


def _is_pooled_otherwise(name: str, detector: Detector, parent_shapes: Shapes) -> bool:
    """Whether a layer read other cells of a pooled region, as far as its columns, channels times cells, tell."""
    size = getattr(getattr(detector, "settings", None), "pooled_size", None)
    if not name.endswith(POOLED) or name not in parent_shapes or not isinstance(size, int):
        return False
    return parent_shapes[name][1] % size**2 != 0


def _neck_copy(
    prefix: str,
    inner: str,
    shape: torch.Size,
    neck: Neck,
    levels: LevelMap,
    child_shapes: Shapes,
    parent_shapes: Shapes,
    maps: ChannelMaps | None,
) -> TensorCopy | None:
    """A neck's tensor from where the neck says; what reads a stage follows the channels of that stage.

    Bias and norm of such a convolution are taken from the source that its weight is taken from.
    """
    sources = [prefix + source for source in neck.source_names(inner, levels)]
    if neck.reads(inner) is not None:
        return _lateral_copy(prefix, inner, shape, sources, neck, levels, parent_shapes, maps)
    lateral = _lateral_around(inner, neck, _under(prefix, child_shapes)) if len(sources) > 1 else None
    if lateral is not None:
        weights = [prefix + source for source in neck.source_names(lateral, levels)]
        wanted = child_shapes[prefix + lateral]
        copy = _lateral_copy(prefix, lateral, wanted, weights, neck, levels, parent_shapes, maps)
        if copy is not None and len(weights) == len(sources):
            sources.insert(0, sources[weights.index(copy.source)])
    return _best_copy(prefix + inner, shape, sources, parent_shapes)


def _lateral_copy(
    prefix: str,
    inner: str,
    shape: torch.Size,
    sources: list[str],
    neck: Neck,
    levels: LevelMap,
    parent_shapes: Shapes,
    maps: ChannelMaps | None,
) -> TensorCopy | None:
    """A tensor that reads a stage, from the first source whose channels that stage continues, else from any."""
    level = neck.reads(inner)
    if level is None or maps is None:
        return _best_copy(prefix + inner, shape, sources, parent_shapes)
    stage = levels.child[level]
    for source in (source for source in sources if source in parent_shapes):
        before = neck.reads(source.removeprefix(prefix))
        inputs = None if before is None else maps.stage_output(stage, levels.parent[before])
        if inputs is not None and parent_shapes[source] == torch.Size((shape[0], inputs.count, *shape[2:])):
            route = Route(ChannelMap.identity(shape[0]), inputs, seed=(maps.seed, stage, *inner.encode()))
            return TensorCopy(prefix + inner, source, route=None if route.is_identity else route)
    return _best_copy(prefix + inner, shape, sources, parent_shapes)


def _lateral_around(inner: str, neck: Neck, names: Iterable[str]) -> str | None:
    """What reads a stage in the module of a tensor, or in the least one around that has such a tensor; not in all."""
    laterals = [name for name in names if neck.reads(name) is not None]
    owner = inner.rpartition(".")[0]
    while owner:
        found = next((name for name in laterals if name.startswith(f"{owner}.")), None)
        if found is not None:
            return found
        owner = owner.rpartition(".")[0]
    return None


def _best_copy(name: str, shape: torch.Size, sources: list[str], parent_shapes: Shapes) -> TensorCopy | None:
    """The first source of the same shape, else the first of the same rank."""
    existing = [source for source in sources if source in parent_shapes]
    for source in existing:
        if parent_shapes[source] == shape:
            return TensorCopy(name, source)
    for source in existing:
        if len(parent_shapes[source]) == len(shape):
            return TensorCopy(name, source, overlap=True)
    return None
