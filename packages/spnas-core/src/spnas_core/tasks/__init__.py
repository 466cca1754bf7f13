"""The contract between a search and whatever trains and scores its candidates."""

from spnas_core.tasks.candidates import ResolvedCandidate
from spnas_core.tasks.making import make_task, objective_of, prepare_task
from spnas_core.tasks.protocols import (
    Evaluation,
    EvaluationRequest,
    Fidelity,
    MetricSpec,
    Pretraining,
    Progress,
    Report,
    Suit,
    Suited,
    Task,
    TaskPlugin,
    bounds_of,
    check_pretraining,
    check_start,
    data_fingerprint,
    is_prepared_here,
    known_epochs,
    pretrains,
    test_images,
)
from spnas_core.tasks.sharing import SharedTraining, check_sharing

__all__ = [
    "Evaluation",
    "EvaluationRequest",
    "Fidelity",
    "MetricSpec",
    "Pretraining",
    "Progress",
    "Report",
    "ResolvedCandidate",
    "SharedTraining",
    "Suit",
    "Suited",
    "Task",
    "TaskPlugin",
    "bounds_of",
    "check_pretraining",
    "check_sharing",
    "check_start",
    "data_fingerprint",
    "is_prepared_here",
    "known_epochs",
    "make_task",
    "objective_of",
    "prepare_task",
    "pretrains",
    "test_images",
]
