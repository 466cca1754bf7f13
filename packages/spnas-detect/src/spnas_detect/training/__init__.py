"""Training and scoring of one detector."""

from spnas_detect.training.averaging import AveragedWeights
from spnas_detect.training.checkpoint import load_checkpoint, read_state, save_checkpoint, snapshot
from spnas_detect.training.checkpoint_writing import CheckpointWriter
from spnas_detect.training.freezing import Frozen, check_freeze_at, freeze, freeze_inherited
from spnas_detect.training.loop import score
from spnas_detect.training.memory import OutOfMemoryError, explained_memory, smaller_parts
from spnas_detect.training.norms import FEW_IMAGES, convert_norms, is_affine, sees_batches
from spnas_detect.training.plateau import Scored, Standing, plateau, standing
from spnas_detect.training.pretraining import Classifier, PretrainingResult, pretrain
from spnas_detect.training.schedule import check_drops, learning_rate_factor
from spnas_detect.training.settings import PretrainingSettings, TrainingSettings
from spnas_detect.training.trainer import Trainer, part_size
from spnas_detect.training.watch import StepRecord
from spnas_detect.training.weights import load_weights, save_weights

__all__ = [
    "FEW_IMAGES",
    "AveragedWeights",
    "CheckpointWriter",
    "Classifier",
    "Frozen",
    "OutOfMemoryError",
    "PretrainingResult",
    "PretrainingSettings",
    "Scored",
    "Standing",
    "StepRecord",
    "Trainer",
    "TrainingSettings",
    "check_drops",
    "check_freeze_at",
    "convert_norms",
    "explained_memory",
    "freeze",
    "freeze_inherited",
    "is_affine",
    "learning_rate_factor",
    "load_checkpoint",
    "load_weights",
    "part_size",
    "plateau",
    "pretrain",
    "read_state",
    "save_checkpoint",
    "save_weights",
    "score",
    "sees_batches",
    "smaller_parts",
    "snapshot",
    "standing",
]
