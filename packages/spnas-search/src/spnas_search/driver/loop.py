"""From proposal to archive: commit, evaluate, keep the weights, record, clean up."""

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from spnas_core.errors import EvaluationError, SpnasError, WeightsError
from spnas_core.plugins import BrokenPlugin, notify
from spnas_core.tasks import Evaluation, EvaluationRequest
from spnas_search.archive import ENDING, Candidate
from spnas_search.archive.intake import plain_result
from spnas_search.driver.failures import TRIES, beyond_hope, failing_alike
from spnas_search.driver.rounds import next_beside, next_round, why_ended
from spnas_search.driver.weights import needed_weights
from spnas_search.executors import Executor, Outcome, evaluate_all, places
from spnas_search.monitors import Monitor
from spnas_search.run import COMPLETE, ENDED, Run
from spnas_search.run.latency import LATENCY
from spnas_search.strategies import Phases

_WITHOUT_WEIGHTS = frozenset({"final", "replicate"})
"""Kinds whose weights nobody inherits."""


class SearchStoppedError(SpnasError):
    """The search cannot go on before somebody has mended something; everything that it needs again stays proposed.

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
    listeners, tried = _Listeners(monitor), set[int]()
    with run.make_executor(monitor.progress) as executor:
        listeners.tell("spnas_run_started", run=run)
        if resumed := run.archive.pending():
            monitor.round_started(run.archive.phase, resumed)
        while True:
            candidates = run.archive.pending()
            if not candidates:
                _check_start(run)
                decided = next_round(run.archive, run.settings.run, run.strategy, out_of_time=run.out_of_time())
                if (decided is None or decided.phase in ENDING) and not run.archive.recall(ENDED):
                    run.archive.remember(ENDED, _why_ended(run))
                if run.archive.recall(COMPLETE) != (complete := "yes" if decided is None else "no"):
                    run.archive.remember(COMPLETE, complete)
                if decided is None:
                    break
                if decided.phase not in ENDING and run.archive.recall(ENDED):  # and was given more since
                    run.archive.forget(ENDED)
                threads = run.threads(executor)
                candidates = run.archive.commit_round(decided.proposals, threads=threads, phase=decided.phase)
                monitor.round_started(decided.phase, candidates)
            _evaluate(run, executor, candidates, monitor, listeners, tried)
            _stop_if_beyond_hope(run, tried)
            run.weights.keep_only(needed_weights(run))
        listeners.tell("spnas_run_finished", run=run)


def _why_ended(run: Run) -> str:
    said, strategy = why_ended(run.archive, run.settings.run, run.strategy, out_of_time=run.out_of_time()), run.strategy
    idle = strategy.wrapped.idle(run.archive) if isinstance(strategy.wrapped, Phases) and run.archive.children else ()
    return "; ".join((said, *(f"the {name} phase has no candidate" for name in idle)))


class _Listeners:
    """Plugins that listen: one that fails is named, once for each thing it says, and the search goes on."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._said: set[BrokenPlugin] = set()

    def tell(self, event: str, **facts: Any) -> None:
        for failed in notify(event, **facts):
            if failed not in self._said:
                self._said.add(failed)
                self._monitor.message(f"plugin {failed.name} of {failed.distribution} failed in {failed.reason}")


def _check_start(run: Run) -> None:
    """Refuse to go on from a start that has no score: nothing could be compared with it."""
    if not len(run.archive) or (start := run.archive.start).status != "done":
        return
    if run.archive.score(start) == -math.inf:
        raise SearchStoppedError(
            f"the start's {run.objective.name} is undefined: choose an objective that the data can measure"
        )
    for weighed in run.archive.tradeoffs:
        if weighed.is_metric and not math.isfinite(start.metrics.get(weighed.name, math.nan)):
            raise SearchStoppedError(
                f"the start's {weighed.name} is undefined, so nothing can be weighed by it: leave it out of pareto, or "
                "choose data that can measure it"
            )


def _evaluate(
    run: Run,
    executor: Executor,
    candidates: Sequence[Candidate],
    monitor: Monitor,
    listeners: _Listeners,
    tried: set[int],
) -> None:
    """Evaluate candidates, and in an asynchronous search what begins beside them; note which in ``tried``."""
    for candidate in candidates:
        if candidate.source is not None:
            _restore_weights(run, executor, run.archive[candidate.source], monitor)
    requests = [_request(run, candidate) for candidate in candidates]
    beside = _Beside(run, executor, monitor, tried)
    since = time.monotonic()
    for outcome in evaluate_all(executor, requests, beside.requests):
        now = time.monotonic()
        ended = _record(run, outcome, now - since)
        tried.add(ended.id)
        since = now
        monitor.candidate_finished(ended)
        if broken := ended.receipt.get("broken_promise"):
            monitor.message(f"{ended.kind} {ended.id} ({'; '.join(map(str, ended.rewrite.steps))}): {broken}")
        listeners.tell("spnas_candidate_finished", run=run, candidate=ended)
        if ended.status == "failed":
            _stop_if_all_fail_alike(run, outcome)


class _Beside:
    """What an asynchronous search begins while other evaluations are under way: nothing in a search by rounds."""

    def __init__(self, run: Run, executor: Executor, monitor: Monitor, tried: Collection[int]) -> None:
        self._run = run
        self._tried = tried
        self._executor = executor
        self._monitor = monitor
        self._waits = not run.settings.run.asynchronous

    def requests(self) -> list[EvaluationRequest]:
        """Decide and commit until every worker has work.

        A child whose parent's weights are damaged stays proposed, and no other begins: when all have ended, the loop
        makes these weights again before it goes on.
        """
        run, found = self._run, list[EvaluationRequest]()
        if self._waits or run.archive.phase != "search":
            return found
        _stop_if_beyond_hope(run, self._tried)
        run.weights.keep_only(needed_weights(run))
        most, settings = places(self._executor), run.settings.run
        while (free := most - len(run.archive.pending())) > 0 and not self._waits:
            decided = next_beside(run.archive, settings, run.strategy, free, out_of_time=run.out_of_time())
            if decided is None:
                break
            threads = run.threads(self._executor)
            candidates = run.archive.commit_round(decided.proposals, threads=threads, phase=decided.phase)
            self._monitor.round_started(decided.phase, candidates)
            ready = [one for one in candidates if one.source is None or _has_weights(run, run.archive[one.source])]
            found += [_request(run, candidate) for candidate in ready]
            self._waits = len(ready) < len(candidates)
        return found


def _request(run: Run, candidate: Candidate) -> EvaluationRequest:
    """Say what to inherit: another candidate's weights, those that the run was given, or none.

    The start and the verdict's warm starts begin with the weights that the run was given; from scratch is without.
    """
    rewrite, inherited = run.archive.rewrite_from_source(candidate), None
    if candidate.source is not None:
        inherited = run.weights.path(candidate.source)
    elif candidate.kind in {"start", "warm"}:
        rewrite, inherited = run.start_rewrite(), run.start_weights()
    return EvaluationRequest(
        candidate.id,
        rewrite,
        inherited,
        None if candidate.kind in _WITHOUT_WEIGHTS else run.weights.temporary(candidate.id),
        candidate.fidelity,
        candidate.seed,
        candidate.threads,
        candidate.split,
        candidate.pretraining,
        run.sharing if candidate.kind == "start" else None,
    )


def _record(run: Run, outcome: Outcome, elapsed: float) -> Candidate:
    """Commit an outcome: first the weights file, complete and hashed, then the row that names its checksum."""
    number, written = outcome.request.candidate, outcome.request.weights
    reason = outcome.reason
    if outcome.evaluation is not None:
        try:
            evaluation = plain_result(_with_latency(run, number, outcome.evaluation), run.archive.objective.name)
            checksum = None if written is None else run.weights.commit(written, number)
            return run.archive.finish(number, evaluation, checksum, elapsed=elapsed)
        except (EvaluationError, WeightsError) as error:  # the task's doing, so the candidate's failure
            reason = str(error)
    if written is not None:
        run.weights.discard(written)
    candidate = run.archive[number]
    if candidate.kind == "start":
        raise SearchStoppedError(f"the start {candidate.architecture} failed: {reason}", outcome.trace)
    return run.archive.fail(number, reason, outcome.seconds, elapsed=elapsed)


def _with_latency(run: Run, number: int, evaluation: Evaluation) -> Evaluation:
    """Add the measured latency to the cost of a start or child, where the run measures it."""
    candidate = run.archive[number]
    if run.meter is None or not candidate.is_node:
        return evaluation
    return replace(evaluation, cost={**evaluation.cost, LATENCY: run.meter.of(candidate.architecture).median})


def _stop_if_all_fail_alike(run: Run, outcome: Outcome) -> None:
    """Stop before a full disk or a set-up mistake eats the budget; what failed is proposed again.

    Once a child has a result, the set-up is no mistake: what fails by what its candidate is, such as one that does not
    fit in memory, is a result as good as a score.
    """
    if outcome.is_own and any(child.status == "done" for child in run.archive.of_kind("child")):
        return
    streak = failing_alike(run.archive)
    if len(streak) < run.settings.run.alike_failures:
        return
    if any(candidate.phase not in ENDING for candidate in streak):
        run.archive.forget(ENDED)  # first: if we are killed in between, the next round that ends remembers it again
    run.archive.withdraw([candidate.id for candidate in streak])
    raise SearchStoppedError(
        f"{len(streak)} evaluations in a row failed alike: {streak[-1].reason}; mend that and go on with --resume, or, "
        f"where it is the candidates' own fault, raise alike_failures in {run.files.config} (they stay proposed)",
        outcome.trace,
    )


def _stop_if_beyond_hope(run: Run, tried: Collection[int]) -> None:
    """Stop where a control or final, without which nothing can be compared, has failed again and again."""
    candidate = beyond_hope(run.archive, tried)
    if candidate is None:
        return
    reason = candidate.reason or f"its {run.objective.name} is undefined"
    raise SearchStoppedError(
        f"the {candidate.kind} of candidate {candidate.subject} ({candidate.architecture}) failed {TRIES} times in a "
        f"row: {reason}; without it nothing can be compared: mend that, and go on with --resume, which tries again"
    )


def _has_weights(run: Run, candidate: Candidate) -> bool:
    return candidate.checksum is not None and run.weights.verify(candidate.id, candidate.checksum)


def _restore_weights(run: Run, executor: Executor, candidate: Candidate, monitor: Monitor) -> None:
    """See to it that a candidate's weights can be inherited.

    A file that is missing or damaged is made again from the same seed; its recorded scores stay.

    Raises:
        SearchStoppedError: that failed.
    """
    if _has_weights(run, candidate):
        return
    if candidate.source is not None:
        _restore_weights(run, executor, run.archive[candidate.source], monitor)
    monitor.message(f"weights of candidate {candidate.id} are missing or damaged: evaluating it again")
    for outcome in evaluate_all(executor, [_request(run, candidate)]):
        if outcome.evaluation is None or outcome.request.weights is None:
            raise SearchStoppedError(
                f"the weights of candidate {candidate.id} are lost, and making them again failed: {outcome.reason}",
                outcome.trace,
            )
        run.archive.replace_weights(candidate.id, run.weights.commit(outcome.request.weights, candidate.id))
