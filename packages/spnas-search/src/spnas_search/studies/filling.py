"""From wanted jobs to results: evaluate what is missing, in order of descent, and enter each outcome as it comes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from spnas_core.errors import ConfigError, EvaluationError, SpnasError, WeightsError
from spnas_core.tasks import EvaluationRequest, Progress
from spnas_search.archive.intake import plain_evaluation, plain_reason, without_numbers
from spnas_search.executors import Executor, Outcome, evaluate_all
from spnas_search.studies.jobs import Batch, Job, Schedule
from spnas_search.studies.keys import TrainingKey
from spnas_search.studies.study import Study
from spnas_search.studies.trainings import Training

BATCH = 16
"""Jobs that are handed out together, or two per worker where that is more. When a batch ends, workers wait for its last
job; in return few weights files lie around at a time: about two per job of a batch, and those of warm starts."""


class Listener(Protocol):
    """Is told what a study does."""

    def message(self, text: str) -> None:
        """Something that people should know."""

    def progress(self, progress: Progress) -> None:
        """A training got further; ``candidate`` is the job's position among the wanted ones."""

    def finished(self, training: Training) -> None:
        """A training has ended, and stands in the file."""


class StudyStoppedError(SpnasError):
    """The study cannot go on before somebody has mended something.

    Attributes:
        trace: traceback of the training; empty where it left none.
    """

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace


def fill(
    study: Study, jobs: Sequence[Job], listener: Listener, *, retry_failed: bool = False, batch: int | None = None
) -> None:
    """Evaluate every wanted job that has no result yet.

    A job that fails is entered with its reason, and jobs that inherit from it are left out. Weights files are there as
    long as a missing job inherits them; one that is gone, or is not what was written, is made again by evaluating its
    job once more, from the same seed, and its recorded scores stay.

    Args:
        study: opened for writing.
        jobs: wanted; parents must be among them.
        listener: is told what happens.
        retry_failed: whether jobs that have failed earlier are tried once more.
        batch: jobs that are handed out together, 1 or more; None is ``BATCH``, or two per worker.

    Raises:
        ConfigError: the jobs contradict one another, or the results that are there.
        StudyStoppedError: as many jobs in a row as the setting ``alike_failures`` says failed for the same reason, or
            weights could not be made again.
        MachineError: the machine lacks what every training needs.
    """
    schedule = Schedule(jobs)
    _check_same(study, schedule)
    filling = _Filling(study, schedule, listener, retry_failed=retry_failed)
    with study.make_executor(listener.progress) as executor:
        most = batch or max(BATCH, 2 * executor.workers)
        while found := filling.next_batch(most):
            filling.evaluate(found, executor)


def _check_same(study: Study, schedule: Schedule) -> None:
    for key, job in schedule.jobs.items():
        found = study.results.trainings.get(key)
        if found is not None and found.digest != job.digest:
            raise ConfigError(
                f"{study.folder} holds another training called {key}: it was made by another plan; start another study "
                "with --out elsewhere"
            )


class _Filling:
    """One session of a study."""

    def __init__(self, study: Study, schedule: Schedule, listener: Listener, *, retry_failed: bool) -> None:
        self._study = study
        self._schedule = schedule
        self._listener = listener
        self._results = study.results.trainings
        self._positions = {key: position for position, key in enumerate(schedule.jobs)}
        self._forgiven = {key for key, training in self._results.items() if training.has_failed and retry_failed}
        self._streak: list[str] = []

    def next_batch(self, most: int) -> Batch | None:
        """Remove the weights that nothing needs any more, and say what to do next; None at the end."""
        jobs = self._schedule.jobs
        done = {key for key in jobs if key in self._results and not self._results[key].has_failed}
        failed = {key for key in jobs if key in self._results} - done - self._forgiven
        weights = {key for key in done if self._has_weights(key)}
        needed = self._schedule.needed(self._schedule.missing(done, failed), weights)
        self._study.weights.keep_only(key.number for key in needed)
        batch = self._schedule.next_batch(done, failed, weights & needed, most)
        return batch if batch.jobs else None

    def _has_weights(self, key: TrainingKey) -> bool:
        """Whether the weights of a training are there, and what was written; without a checksum they are believed."""
        weights, checksum = self._study.weights, self._results[key].checksum
        return weights.verify(key.number, checksum) if checksum else weights.path(key.number).exists()

    def evaluate(self, batch: Batch, executor: Executor) -> None:
        """Evaluate the jobs of a batch side by side, and enter each outcome as it comes."""
        for key in batch.again:
            how = "altered" if self._study.weights.path(key.number).exists() else "missing"
            self._listener.message(f"the weights of {key} are {how}: it is evaluated again")
        by_position = {self._positions[job.key]: job for job in batch.jobs}
        for outcome in evaluate_all(executor, list(self._requests(batch))):
            job = by_position[outcome.request.candidate]
            training = self._training(job, outcome)
            self._forgiven.discard(job.key)
            if job.key not in batch.again:
                self._study.results.append(training)
                self._listener.finished(training)
                self._stop_if_all_fail_alike(training, outcome)
            elif training.has_failed:
                raise StudyStoppedError(
                    f"the weights of {job.key} are lost, and making them again failed: {training.reason}", outcome.trace
                )
            elif training.checksum != self._results[job.key].checksum:
                self._study.results.append(replace(self._results[job.key], checksum=training.checksum))

    def _requests(self, batch: Batch) -> Iterator[EvaluationRequest]:
        weights = self._study.weights
        for job in batch.jobs:
            key = job.key
            yield EvaluationRequest(
                self._positions[key],
                job.rewrite,
                None if job.parent is None else weights.path(job.parent.number),
                weights.temporary(key.number) if key in batch.writing else None,
                job.fidelity,
                key.seed(self._study.seed),
                self._threads(key),
                job.split,
            )

    def _threads(self, key: TrainingKey) -> int:
        """Threads of a training: those of its first time, since its weights depend on them in the last bits."""
        known = self._results.get(key)
        return self._study.resources.threads if known is None or known.has_failed else known.threads

    def _training(self, job: Job, outcome: Outcome) -> Training:
        """Keep the weights, complete and durable, before anything names them, and make the outcome a line."""
        request, reason = outcome.request, outcome.reason
        known = (job.key, job.digest, request.seed, request.threads, outcome.seconds, job.fidelity.epochs)
        if outcome.evaluation is not None:
            try:
                found, checksum = plain_evaluation(outcome.evaluation), ""
                if request.weights is not None:
                    checksum = self._study.weights.commit(request.weights, job.key.number)
                partial = _partial(found.receipt)
                return Training(*known, found.metrics, found.cost, partial=partial, checksum=checksum)
            except (EvaluationError, WeightsError) as error:  # the task's doing, so the training's failure
                reason = str(error)
        if request.weights is not None:
            self._study.weights.discard(request.weights)
        return Training(*known, reason=plain_reason(reason) or "failed without a reason")

    def _stop_if_all_fail_alike(self, training: Training, outcome: Outcome) -> None:
        """Stop before a set-up mistake fails them all; once one has a result, a code may fail by what it is."""
        self._streak = [*self._streak, training.reason] if training.has_failed else []
        most = self._study.settings.run.alike_failures
        if outcome.is_own and any(not one.has_failed for one in self._study.results.trainings.values()):
            return
        if len(self._streak) >= most and len(set(map(without_numbers, self._streak[-most:]))) == 1:
            raise StudyStoppedError(
                f"{most} trainings in a row failed alike: {training.reason}; mend that and go on with --resume "
                "--retry-failed, or, where it is their own fault, raise alike_failures",
                outcome.trace,
            )


def _partial(receipt: Mapping[str, object]) -> dict[int, Mapping[str, float]]:
    """Read partial scores off a receipt."""
    found = receipt.get("partial_scores")
    return {int(epoch): metrics for epoch, metrics in found.items()} if isinstance(found, Mapping) else {}
