"""The ``spnas`` command: a thin layer over documented calls."""

from spnas_search.cli.main import main

__all__ = ["main"]
