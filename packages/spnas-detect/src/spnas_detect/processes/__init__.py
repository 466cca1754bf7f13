"""Several processes that work together: starting them, and what they tell each other. Quick to import."""

from spnas_detect.processes.group import ALONE, Processes, is_first_process, joined_processes, started_by_torchrun
from spnas_detect.processes.launcher import launch

__all__ = ["ALONE", "Processes", "is_first_process", "joined_processes", "launch", "started_by_torchrun"]
