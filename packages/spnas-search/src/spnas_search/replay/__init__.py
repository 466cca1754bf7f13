"""Searches over trainings that were done before: a table of them, and a task that answers from it."""

from spnas_search.replay.table import ReplayTable, read_table
from spnas_search.replay.task import ReplaySettings, ReplayTask

__all__ = ["ReplaySettings", "ReplayTable", "ReplayTask", "read_table"]
