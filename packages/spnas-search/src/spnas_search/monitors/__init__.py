"""Who is told what a search does: nobody, lines of text, or a live view."""

from spnas_search.monitors._base import Monitor, Silent

__all__ = ["Monitor", "Silent"]
