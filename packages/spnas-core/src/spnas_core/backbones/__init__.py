"""Backbones that are no code: networks of other libraries and of plugins by name, and compositions of codes."""

from spnas_core.backbones._base import BackboneProvider
from spnas_core.backbones.building import AnyBackbone, blank_network, fresh_network
from spnas_core.backbones.composite import CompositeBackbone
from spnas_core.backbones.fixed import FixedBackbone
from spnas_core.backbones.network import (
    AnyNetwork,
    CompositeNetwork,
    FixedNetwork,
    TridentNetwork,
    Unchanged,
    unchanged,
    without_neck,
)
from spnas_core.backbones.reading import read_network, read_reference
from spnas_core.backbones.trident import TridentBackbone

__all__ = [
    "AnyBackbone",
    "AnyNetwork",
    "BackboneProvider",
    "CompositeBackbone",
    "CompositeNetwork",
    "FixedBackbone",
    "FixedNetwork",
    "TridentBackbone",
    "TridentNetwork",
    "Unchanged",
    "blank_network",
    "fresh_network",
    "read_network",
    "read_reference",
    "unchanged",
    "without_neck",
]
