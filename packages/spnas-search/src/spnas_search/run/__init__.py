"""A run: its folder, how it is started and gone on with, and what it must not differ in."""

from spnas_search.run.folder import CONFIG, RunFolder
from spnas_search.run.identity import COMPLETE, ENDED
from spnas_search.run.opening import (
    checked_task,
    read_archive,
    read_run_settings,
    read_values,
    resume_run,
    start_run,
)
from spnas_search.run.run import Run

__all__ = [
    "COMPLETE",
    "CONFIG",
    "ENDED",
    "Run",
    "RunFolder",
    "checked_task",
    "read_archive",
    "read_run_settings",
    "read_values",
    "resume_run",
    "start_run",
]
