"""Architectures as immutable values and as short texts."""

from spnas_core.encoding.architecture import DEFAULT_BASE, DEFAULT_STEM, Architecture

__all__ = ["DEFAULT_BASE", "DEFAULT_STEM", "Architecture"]
