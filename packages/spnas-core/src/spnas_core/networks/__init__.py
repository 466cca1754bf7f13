"""Backbones built from architectures."""

from spnas_core.networks.building import build_backbone
from spnas_core.networks.features import FeatureInfo, StageInfo
from spnas_core.networks.layout import BlockPlacement, block_placements
from spnas_core.networks.serial import SerialBackbone

__all__ = ["BlockPlacement", "FeatureInfo", "SerialBackbone", "StageInfo", "block_placements", "build_backbone"]
