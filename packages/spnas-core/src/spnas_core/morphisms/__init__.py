"""Rewrites of architectures that say where every child block comes from."""

from spnas_core.morphisms._base import Applications, DescribingMorphism, Morphism, Rewrite, Step, identity
from spnas_core.morphisms.add_row import AddRow
from spnas_core.morphisms.add_stage import AddStage
from spnas_core.morphisms.align import align, copied_branches
from spnas_core.morphisms.chain import chain
from spnas_core.morphisms.expand import Expand
from spnas_core.morphisms.origins import Origin
from spnas_core.morphisms.registry import morphism, morphisms
from spnas_core.morphisms.remove import Remove
from spnas_core.morphisms.swap import Swap
from spnas_core.morphisms.widen import Halve, Narrow, Widen

__all__ = [
    "AddRow",
    "AddStage",
    "Applications",
    "DescribingMorphism",
    "Expand",
    "Halve",
    "Morphism",
    "Narrow",
    "Origin",
    "Remove",
    "Rewrite",
    "Step",
    "Swap",
    "Widen",
    "align",
    "chain",
    "copied_branches",
    "identity",
    "morphism",
    "morphisms",
]
