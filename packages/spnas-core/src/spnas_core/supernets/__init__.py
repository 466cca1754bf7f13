"""Networks whose weights are shared by their parts: which codes these are, drawing one, and computing it."""

from spnas_core.supernets.mixed import MixedBackbone
from spnas_core.supernets.network import Supernet
from spnas_core.supernets.parts import PartOf, Parts, part_of, why_no_part
from spnas_core.supernets.sharing import share_tensors

__all__ = ["MixedBackbone", "PartOf", "Parts", "Supernet", "part_of", "share_tensors", "why_no_part"]
