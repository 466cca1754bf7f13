"""Backbone search for object detection: strategies, archive, executors, search loop, and the ``spnas`` command."""

from typing import TYPE_CHECKING

from spnas_core.lazily import lazy_attributes

if TYPE_CHECKING:
    from spnas_search.api import search
    from spnas_search.driver import NoVerdict, Verdict, outcome
    from spnas_search.run import Run, read_archive

__all__ = ["NoVerdict", "Run", "Verdict", "outcome", "read_archive", "search"]

__getattr__ = lazy_attributes(
    __name__,
    {
        "NoVerdict": "spnas_search.driver",
        "Run": "spnas_search.run",
        "Verdict": "spnas_search.driver",
        "outcome": "spnas_search.driver",
        "read_archive": "spnas_search.run",
        "search": "spnas_search.api",
    },
)
