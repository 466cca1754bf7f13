"""Trainings of their own, each in a folder: the calls behind ``spnas train``."""

from spnas_detect.jobs.folder import TrainFolder, read_scores
from spnas_detect.jobs.monitor import Monitor, Silent, Speed
from spnas_detect.jobs.session import TrainingResult, train
from spnas_detect.jobs.settings import TrainSettings

__all__ = ["Monitor", "Silent", "Speed", "TrainFolder", "TrainSettings", "TrainingResult", "read_scores", "train"]
