"""Backbones as codes: encoding, networks, morphisms with weight inheritance, exact cost, search space, plugin hooks."""

from spnas_core.cost import Cost, backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.errors import SpnasError
from spnas_core.hookspecs import hookimpl
from spnas_core.inheritance import Receipt, materialise
from spnas_core.morphisms import Rewrite
from spnas_core.networks import Backbone, build_backbone
from spnas_core.space import SearchSpace

__version__ = "0.1.0"

__all__ = [
    "Architecture",
    "Backbone",
    "Cost",
    "Receipt",
    "Rewrite",
    "SearchSpace",
    "SpnasError",
    "backbone_cost",
    "build_backbone",
    "hookimpl",
    "materialise",
]
