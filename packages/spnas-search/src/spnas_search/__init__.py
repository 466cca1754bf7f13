"""Backbone search for object detection: strategies, archive, executors, search loop, and the ``spnas`` command."""

from spnas_search.api import search
from spnas_search.run import Run, read_archive
from spnas_search.search import NoVerdict, Verdict, outcome

__all__ = ["NoVerdict", "Run", "Verdict", "outcome", "read_archive", "search"]
