"""Architectures as immutable values and as short texts."""

from spnas_core.encoding.architecture import DEFAULT_BASE, DEFAULT_STEM, Architecture
from spnas_core.encoding.scaling import scale

__all__ = ["DEFAULT_BASE", "DEFAULT_STEM", "Architecture", "scale"]
