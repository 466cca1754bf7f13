"""The search space: which architectures a search may propose."""

from spnas_core.space.search_space import Bound, Sampling, SearchSpace

__all__ = ["Bound", "Sampling", "SearchSpace"]
