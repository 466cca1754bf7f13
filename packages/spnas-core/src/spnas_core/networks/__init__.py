"""Backbones built from architectures."""

from spnas_core.networks.backbone import Backbone
from spnas_core.networks.building import build_backbone
from spnas_core.networks.features import FeatureInfo, StageInfo
from spnas_core.networks.layout import BlockPlacement, StagePlacement, block_placements, stage_placements
from spnas_core.networks.rows import Statistics
from spnas_core.networks.units import Unit, units

__all__ = [
    "Backbone",
    "BlockPlacement",
    "FeatureInfo",
    "StageInfo",
    "StagePlacement",
    "Statistics",
    "Unit",
    "block_placements",
    "build_backbone",
    "stage_placements",
    "units",
]
