"""Trainings of their own, each in a folder: the calls behind ``spnas train``."""

from spnas_detect.jobs.checks import check_settings
from spnas_detect.jobs.folder import TrainFolder, flattened, read_scores
from spnas_detect.jobs.monitor import Monitor, Silent, Speed
from spnas_detect.jobs.session import TrainingResult, train
from spnas_detect.jobs.settings import TrainSettings

__all__ = [
    "Monitor",
    "Silent",
    "Speed",
    "TrainFolder",
    "TrainSettings",
    "TrainingResult",
    "check_settings",
    "flattened",
    "read_scores",
    "train",
]
