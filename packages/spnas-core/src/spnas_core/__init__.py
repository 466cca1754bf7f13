"""Backbones as codes: encoding, networks, morphisms with weight inheritance, exact cost, search space, plugin hooks."""

from typing import TYPE_CHECKING

from spnas_core.lazily import lazy_attributes

if TYPE_CHECKING:
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

__getattr__ = lazy_attributes(
    __name__,
    {
        "Architecture": "spnas_core.encoding",
        "Backbone": "spnas_core.networks",
        "Cost": "spnas_core.cost",
        "Receipt": "spnas_core.inheritance",
        "Rewrite": "spnas_core.morphisms",
        "SearchSpace": "spnas_core.space",
        "SpnasError": "spnas_core.errors",
        "backbone_cost": "spnas_core.cost",
        "build_backbone": "spnas_core.networks",
        "hookimpl": "spnas_core.hookspecs",
        "materialise": "spnas_core.inheritance",
    },
)
