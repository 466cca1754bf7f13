"""Necks and detectors held to their contracts: a plugin's that is not what it must be is named in one line."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from spnas_core.backbones import AnyBackbone
from spnas_core.errors import ConfigError, PluginError
from spnas_core.networks import FeatureInfo
from spnas_core.plugins import asked, is_built_in, owner
from spnas_detect.detectors.settings import DetectorSettings
from spnas_detect.heads.results import listed
from spnas_detect.necks import NeckFactory

if TYPE_CHECKING:
    from spnas_detect.detectors._base import DetectorFactory

NECK_PARTS = ("out_channels", "initial", "source_names", "reads")
DETECTOR_PARTS = ("backbone", "neck", "losses", "detect", "initial")
_FINEST = 64
"""Pixels a side of the finest level on which a neck is tried."""


def made_neck(name: str, factory: NeckFactory, features: FeatureInfo, channels: int, repeats: int | None) -> nn.Module:
    """Have a neck made; a plugin's is tried on features that have shapes alone.

    Args:
        name: under which it is registered, without a text behind a colon.
        factory: that makes it.
        features: that it reads.
        channels: of every level.
        repeats: see ``NeckFactory``.

    Raises:
        PluginError: a plugin's factory raised, or what it made is no ``Neck`` or does not give its levels.
        ConfigError: of the factory's own.
    """
    if is_built_in("necks", name):
        return factory(features, channels, repeats)
    who = owner("necks", name)
    neck = asked(who, "being made", lambda: factory(features, channels, repeats), passes=(ConfigError,))
    _check_parts(who, neck, NECK_PARTS)
    if neck.out_channels != channels:
        raise PluginError(f"{who} has out_channels = {neck.out_channels!r}, and {channels} were asked for")
    _check_levels(who, neck, features, channels)
    return neck


def _check_levels(who: str, neck: nn.Module, features: FeatureInfo, channels: int) -> None:
    reductions = features.reduction()
    sides = [max(1, _FINEST * reductions[0] // reduction) for reduction in reductions]
    with torch.device("meta"), torch.no_grad():
        given = OrderedDict(
            (name, torch.empty(2, count, side, side))
            for name, count, side in zip(features.names(), features.channels(), sides, strict=True)
        )
        expected = {name: (2, channels, *level.shape[2:]) for name, level in given.items()}
        found = asked(who, "forward", lambda: neck.to("meta")(given))
    if not isinstance(found, Mapping) or not all(isinstance(level, Tensor) for level in found.values()):
        raise PluginError(f"{who} gives {type(found).__name__}: it must be a dict of Tensors, a level each")
    kinds = {level.dtype for level in found.values()} - {torch.float32}
    if kinds:
        raise PluginError(f"{who} gives {', '.join(sorted(map(str, kinds)))} for torch.float32: it must keep the type")
    shapes = {name: tuple(level.shape) for name, level in found.items()}
    if list(shapes.items()) != list(expected.items()):
        raise PluginError(f"{who} gives levels {listed(shapes)}: they must be {listed(expected)}, in that order")


def made_detector(
    name: str,
    factory: "DetectorFactory",
    backbone: AnyBackbone,
    neck: nn.Module,
    classes: int,
    settings: DetectorSettings,
) -> nn.Module:
    """Have a detector made.

    Args:
        name: under which it is registered.
        factory: that makes it.
        backbone: and the others, see ``DetectorFactory``.
        neck: of the detector.
        classes: number of classes.
        settings: of neck and heads.

    Raises:
        PluginError: a plugin's factory raised, or what it made is no ``Detector``.
        ConfigError: of the factory's own.
    """
    if is_built_in("detectors", name):
        return factory(backbone, neck, classes, settings)
    who = owner("detectors", name)
    made = asked(who, "being made", lambda: factory(backbone, neck, classes, settings), passes=(ConfigError,))
    _check_parts(who, made, DETECTOR_PARTS)
    for part, wanted in (("backbone", backbone), ("neck", neck)):
        if getattr(made, part) is not wanted:
            raise PluginError(f"{who} has another {part} than it was given: keep that as its child {part!r}")
    return made


def _check_parts(who: str, made: object, parts: Sequence[str]) -> None:
    if not isinstance(made, nn.Module):
        raise PluginError(f"{who} makes {type(made).__name__}: it must be an nn.Module")
    lacking = [part for part in parts if not hasattr(made, part)]
    if lacking:
        raise PluginError(f"{who} makes {type(made).__name__} without {', '.join(lacking)}")
