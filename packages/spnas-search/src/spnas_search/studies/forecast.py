"""What a study computes: epochs in all, and an estimate of the time that is left."""

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.optimize import nnls

from spnas_search.studies.jobs import Job
from spnas_search.studies.trainings import Training

FEWEST = 3
"""Trainings before there is an estimate."""


def total_epochs(jobs: Iterable[Job]) -> int:
    """Epochs of training of all jobs."""
    return sum(job.fidelity.epochs for job in jobs)


def seconds_left(done: Iterable[Training], missing: Sequence[Job], workers: int) -> float | None:
    """Estimate how long the missing jobs will take.

    A training takes so many seconds and so many more per epoch, both at least 0, fitted to those that are done by least
    squares; codes are taken as equally expensive.

    Args:
        done: trainings that are in.
        missing: jobs.
        workers: trainings at a time.

    Returns:
        Seconds on the wall; None before ``FEWEST`` trainings are in.
    """
    known = [(training.trained_epochs, training.seconds) for training in done if not training.has_failed]
    if len(known) < FEWEST:
        return None
    epochs, seconds = np.array(known, float).T
    (fixed, per_epoch), _ = nnls(np.stack([np.ones_like(epochs), epochs], axis=1), seconds)
    return float(fixed * len(missing) + per_epoch * total_epochs(missing)) / workers
