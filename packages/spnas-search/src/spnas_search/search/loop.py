"""From proposal to archive: commit, evaluate, keep the weights, record, clean up."""

import math
import os
import time
from collections.abc import Sequence

from spnas_core.errors import SpnasError
from spnas_core.plugins import plugin_manager
from spnas_core.tasks import EvaluationRequest
from spnas_search.archive import Candidate
from spnas_search.executors import Executor, Outcome, executor_factory
from spnas_search.monitors import Monitor
from spnas_search.run import Run
from spnas_search.search.rounds import next_round
from spnas_search.settings import ExecutorSettings

FIRST_EVALUATIONS = 3
"""The search stops where this many evaluations in a row, from the first child on, fail for the same reason."""


class SearchStoppedError(SpnasError):
    """The search cannot go on: the start has failed, or every first candidate fails alike.

    Attributes:
        trace: traceback of the evaluation; empty where the evaluation left none.
    """

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace


def run_search(run: Run, monitor: Monitor) -> None:
    """Search until the run is complete; a run that was interrupted goes on where it stands.

    Args:
        run: opened for writing; its task is prepared.
        monitor: is told what happens.

    Raises:
        SearchStoppedError: nothing can come of going on.
        SpnasError: an evaluation met a user's mistake.
    """
    hook = plugin_manager().hook
    workers, cores = _resources(run.settings.run.executor, run.round_size)
    factory = executor_factory(run.settings.run.executor.name)
    with factory(
        task=run.task, workers=workers, timeout=run.settings.run.executor.timeout, report=monitor.progress
    ) as executor:
        hook.spnas_run_started(run=run)
        while True:
            candidates = run.archive.pending()
            if not candidates:
                _check_start(run)
                decided = next_round(
                    run.archive,
                    run.settings.run,
                    run.strategy,
                    control_epochs=run.control_epochs,
                    out_of_time=run.out_of_time(),
                )
                if decided is None:
                    break
                candidates = run.archive.commit_round(decided.proposals, threads=max(1, cores // workers))
                monitor.round_started(decided.phase, candidates)
            _evaluate(run, executor, candidates, monitor)
            run.weights.keep_only(run.needed_weights())
        hook.spnas_run_finished(run=run)


def _check_start(run: Run) -> None:
    """Refuse to go on from a start that has no score: nothing could be compared with it."""
    if len(run.archive) and run.archive.start.status == "done" and run.archive.score(run.archive.start) == -math.inf:
        raise SearchStoppedError(
            f"the start's {run.objective.name} is undefined: choose an objective that the data can measure"
        )


def _resources(settings: ExecutorSettings, round_size: int) -> tuple[int, int]:
    """Return (evaluations at a time, CPU cores to share among them)."""
    import torch

    cores = len(os.sched_getaffinity(0)) if settings.cores == "auto" else settings.cores
    if settings.workers != "auto":
        return settings.workers, cores
    return (torch.cuda.device_count() or min(cores, round_size)), cores


def _evaluate(run: Run, executor: Executor, candidates: Sequence[Candidate], monitor: Monitor) -> None:
    ready: list[Candidate] = []
    for candidate in candidates:
        if candidate.parent is None or _restore_weights(run, executor, run.archive[candidate.parent], monitor):
            ready.append(candidate)
        else:
            reason = f"its parent {candidate.parent} has no weights"
            _announce(run, run.archive.fail(candidate.id, reason), monitor)
    begin = time.monotonic()
    for outcome in executor.run([_request(run, candidate) for candidate in ready]):
        _record(run, outcome, monitor)
    run.spend(time.monotonic() - begin)


def _request(run: Run, candidate: Candidate) -> EvaluationRequest:
    parent = run.init_weights if candidate.parent is None else run.weights.path(candidate.parent)
    keeps_weights = candidate.kind != "final"
    return EvaluationRequest(
        candidate.id,
        candidate.rewrite,
        parent,
        run.weights.temporary(candidate.id) if keeps_weights else None,
        candidate.epochs,
        candidate.seed,
        candidate.threads,
        candidate.split,
    )


def _record(run: Run, outcome: Outcome, monitor: Monitor) -> None:
    """Commit an outcome: first the weights file, complete and hashed, then the row that names its checksum."""
    number, written = outcome.request.candidate, outcome.request.weights
    if outcome.evaluation is None:
        if written is not None:
            run.weights.discard(written)
        _stop_if_hopeless(run, outcome)
        _announce(run, run.archive.fail(number, outcome.reason, outcome.seconds), monitor)
        return
    checksum = None if written is None else run.weights.commit(written, number)
    _announce(run, run.archive.finish(number, outcome.evaluation, checksum), monitor)


def _announce(run: Run, candidate: Candidate, monitor: Monitor) -> None:
    monitor.candidate_finished(candidate)
    plugin_manager().hook.spnas_candidate_finished(run=run, candidate=candidate)


def _stop_if_hopeless(run: Run, outcome: Outcome) -> None:
    """Stop before a set-up mistake eats the budget. The candidate stays proposed, so that resuming tries again."""
    candidate = run.archive[outcome.request.candidate]
    if candidate.kind == "start":
        raise SearchStoppedError(f"the start {candidate.architecture} failed: {outcome.reason}", outcome.trace)
    first = [c for c in run.archive if c.kind == "child" and c.status != "proposed"]
    alike = all(c.status == "failed" and c.reason == outcome.reason for c in first)
    if candidate.kind == "child" and alike and len(first) == FIRST_EVALUATIONS - 1:
        raise SearchStoppedError(f"the first {FIRST_EVALUATIONS} children all failed: {outcome.reason}", outcome.trace)


def _restore_weights(run: Run, executor: Executor, candidate: Candidate, monitor: Monitor) -> bool:
    """See to it that a candidate's weights can be inherited.

    A file that is missing or damaged is made again from the same seed; its recorded scores stay.
    """
    if candidate.checksum is None:
        return False
    if run.weights.verify(candidate.id, candidate.checksum):
        return True
    if candidate.parent is not None and not _restore_weights(run, executor, run.archive[candidate.parent], monitor):
        return False
    monitor.message(f"weights of candidate {candidate.id} are missing or damaged: evaluating it again")
    for outcome in executor.run([_request(run, candidate)]):
        if outcome.evaluation is None or outcome.request.weights is None:
            monitor.message(f"candidate {candidate.id} could not be evaluated again: {outcome.reason}")
            return False
        run.archive.replace_weights(candidate.id, run.weights.commit(outcome.request.weights, candidate.id))
    return True
