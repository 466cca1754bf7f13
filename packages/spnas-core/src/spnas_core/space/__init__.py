"""The search space: which architectures a search may propose."""

from spnas_core.space.search_space import SearchSpace

__all__ = ["SearchSpace"]
