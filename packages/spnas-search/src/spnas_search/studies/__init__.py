"""Studies: tables of independent trainings that grow over many sessions, and what they say.

``Job`` names a training that is wanted; ``fill`` evaluates those that a ``Study`` lacks. The signal study asks whether
a score at given settings is worth anything for comparing architectures.
"""

from spnas_search.studies.filling import Listener, StudyStoppedError, fill
from spnas_search.studies.jobs import Job
from spnas_search.studies.keys import TrainingKey
from spnas_search.studies.signal import Arm, SignalPlan, SignalSettings, plan_signal
from spnas_search.studies.signal_results import SignalResults, measure
from spnas_search.studies.signal_study import (
    SignalStudy,
    read_signal_results,
    resume_signal_study,
    start_signal_study,
    write_signal_report,
)
from spnas_search.studies.study import Study, build_task, read_study, resume_study, start_study
from spnas_search.studies.trainings import Training

__all__ = [
    "Arm",
    "Job",
    "Listener",
    "SignalPlan",
    "SignalResults",
    "SignalSettings",
    "SignalStudy",
    "Study",
    "StudyStoppedError",
    "Training",
    "TrainingKey",
    "build_task",
    "fill",
    "measure",
    "plan_signal",
    "read_signal_results",
    "read_study",
    "resume_signal_study",
    "resume_study",
    "start_signal_study",
    "start_study",
    "write_signal_report",
]
