"""Training and scoring of one detector."""

from spnas_detect.training.loop import Trainer, score
from spnas_detect.training.schedule import learning_rate_factor
from spnas_detect.training.settings import TrainingSettings
from spnas_detect.training.weights import load_weights, save_weights

__all__ = ["Trainer", "TrainingSettings", "learning_rate_factor", "load_weights", "save_weights", "score"]
