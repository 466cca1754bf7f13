"""Backbone search for object detection: strategies, archive, executors, search loop, and the ``spnas`` command."""

from spnas_search.api import search
from spnas_search.run import Run, read_archive
from spnas_search.search import Comparison, compare

__all__ = ["Comparison", "Run", "compare", "read_archive", "search"]
