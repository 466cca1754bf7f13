"""The contract between a search and whatever trains and scores its candidates."""

from spnas_core.tasks.candidates import ResolvedCandidate
from spnas_core.tasks.protocols import (
    Evaluation,
    EvaluationRequest,
    Fidelity,
    MetricSpec,
    Progress,
    Report,
    Task,
    TaskPlugin,
    data_fingerprint,
)

__all__ = [
    "Evaluation",
    "EvaluationRequest",
    "Fidelity",
    "MetricSpec",
    "Progress",
    "Report",
    "ResolvedCandidate",
    "Task",
    "TaskPlugin",
    "data_fingerprint",
]
