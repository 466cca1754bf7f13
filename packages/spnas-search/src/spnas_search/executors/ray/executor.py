"""Evaluations as Ray tasks: handing out, listening, trying again, ending."""

import contextlib
import hashlib
import pickle
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from spnas_core.errors import ConfigError
from spnas_core.tasks import EvaluationRequest, Progress, Report, Task, data_fingerprint
from spnas_search.executors._base import CANCELLED, Outcome
from spnas_search.executors.evaluation import reason_of
from spnas_search.executors.mistakes import same_mistake
from spnas_search.executors.ray.attempts import Attempt, Connection, Waiting
from spnas_search.executors.ray.cluster import Cluster
from spnas_search.executors.ray.losses import Loss, elsewhere, failure, room, too_small
from spnas_search.executors.ray.mailbox import Mail
from spnas_search.executors.ray.node import Answer, Order
from spnas_search.executors.ray.node_task import TaskOrder
from spnas_search.executors.ray.parcels import Content, LostContentError, Outbox, deliver
from spnas_search.executors.ray.settings import RaySettings

_TICK_SECONDS = 0.5
_GOODBYE_SECONDS = 5.0
_ALIKE = "every node needs the packages, and the code, of the machine that searches: install the same there"


class RayExecutor:
    """Evaluations on the nodes of a Ray cluster; the package says what travels, and how.

    A context manager: Ray is imported and the cluster connected, or started, when it is entered. When it ends, whatever
    still runs there is cancelled, the run's folders on the nodes are removed, and a cluster that it has started ends.

    Args:
        settings: of the executor's table.
        task: evaluates; must be picklable.
        workers: evaluations that are handed to Ray at a time, 1 or more.
        report: called in this process with each progress.

    Raises:
        ConfigError: no worker, or a task that cannot be pickled.
    """

    def __init__(self, settings: RaySettings, task: Task, workers: int, report: Report) -> None:
        if workers < 1:
            raise ConfigError(f"workers is {workers}: it must be 1 or more")
        try:
            self._task = pickle.dumps(task)
        except Exception as error:
            raise ConfigError(
                f"the task cannot be sent to other machines ({reason_of(error)}): make it picklable, or use the inline "
                "executor"
            ) from error
        from spnas_search.installed import installed_code, installed_versions

        self.workers = workers
        self._settings = settings
        self._report = report
        self._order = TaskOrder(hashlib.blake2b(self._task, digest_size=16).hexdigest(), data_fingerprint(task))
        self._installed = installed_versions(), installed_code()
        self._name = uuid.uuid4().hex
        self._waiting: deque[Waiting] = deque()
        self._running: list[Attempt] = []
        self._answers: deque[Outcome] = deque()
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        cluster = Cluster(self._settings)
        try:
            self._connection = self._connected(cluster)
        except BaseException:
            cluster.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            self._end_all(connection)
            _sweep(connection)
            connection.mail.close()
        except connection.cluster.ray.exceptions.RayError:
            pass  # the cluster is gone, and with it what ran there
        finally:
            connection.cluster.close()

    @property
    def places(self) -> int:
        """How many evaluations the nodes that are alive have room for: 1 or more, and no more than ``workers``."""
        connection = self._entered()
        return max(1, min(self.workers, room(connection.cluster.nodes(), connection.wanted)))

    def submit(self, request: EvaluationRequest) -> None:
        """Hand a request to Ray, or let it wait; see ``Executor``.

        Raises:
            ValueError: one for the same candidate is not answered yet.
        """
        if any(request.candidate == other.candidate for other in self._unanswered()):
            raise ValueError(f"candidate {request.candidate} is being evaluated already")
        self._waiting.append(Waiting(request))
        self._hand_out(self._entered())

    def outcomes(self) -> Iterator[Outcome]:
        """Evaluate on the cluster; see ``Executor``.

        Raises:
            SpnasError: an evaluation met a user's mistake, a node is not set up as this machine is, or none is large
                enough.
        """
        while True:
            while self._answers:
                yield self._answers.popleft()
            if not self._waiting and not self._running:
                return
            connection = self._entered()
            try:
                self._hand_out(connection)
                self._look(connection)
            except BaseException:
                # Ctrl-C, or a user's mistake: nobody will fetch what still runs.
                self._end_all(connection)
                raise

    def cancel(self, candidate: int) -> bool:
        """Take a request back, or end the worker that has it; see ``Executor``."""
        for waiting in self._waiting:
            if waiting.request.candidate == candidate:
                self._waiting.remove(waiting)
                self._answers.append(Outcome(waiting.request, None, CANCELLED))
                return True
        for attempt in self._running:
            if attempt.request.candidate == candidate:
                self._drop(self._entered(), attempt)
                self._answers.append(Outcome(attempt.request, None, CANCELLED, "", attempt.seconds))
                return True
        return False

    def _entered(self) -> Connection:
        if self._connection is None:
            raise RuntimeError("the Ray executor is a context manager: enter it first")
        return self._connection

    def _connected(self, cluster: Cluster) -> Connection:
        ray, settings = cluster.ray, self._settings
        gpus = settings.gpus
        if gpus == "auto":
            gpus = 1.0 if any(node.resources.get("GPU", 0) >= 1 for node in cluster.nodes()) else 0.0
        wanted: dict[str, float] = {"CPU": settings.cpus}
        options: dict[str, Any] = {"num_cpus": settings.cpus, "max_retries": 0, "num_returns": 2}
        if gpus:
            wanted["GPU"] = options["num_gpus"] = gpus
        if settings.memory is not None:
            wanted["memory"] = options["memory"] = int(settings.memory * 2**30)
        evaluate = ray.remote(**options)(_entry())
        mail = Mail(ray, cluster.home)
        return Connection(cluster, mail, Outbox(ray), ray.put(self._task), evaluate, wanted, {}, time.monotonic())

    def _unanswered(self) -> Iterator[EvaluationRequest]:
        yield from (waiting.request for waiting in self._waiting)
        yield from (attempt.request for attempt in self._running)
        yield from (outcome.request for outcome in self._answers)

    def _hand_out(self, connection: Connection) -> None:
        while self._waiting and len(self._running) < self.workers:
            if not self._running:
                connection.idle_since = time.monotonic()
            waiting = self._waiting[0]
            self._running.append(self._handed(connection, waiting))
            self._waiting.popleft()

    def _handed(self, connection: Connection, waiting: Waiting) -> Attempt:
        request, references, checksum = waiting.request, [connection.task], None
        if request.parent_weights is not None:
            checksum, content = connection.outbox.send(request.parent_weights)
            references.append(content)
        versions, code = self._installed
        order = Order(
            request,
            len(waiting.losses) + 1,
            checksum,
            self._order,
            self._name,
            self._settings.node_folder,
            connection.wanted.get("GPU", 0.0),
            versions,
            code,
        )
        evaluate = connection.evaluate
        if waiting.losses and (node := elsewhere(connection.cluster.nodes(), waiting.losses, connection.wanted)):
            evaluate = evaluate.options(scheduling_strategy=_at(node))
        self._report(Progress(request.candidate, 0, 1, "waiting for a place in the cluster"))
        reference = evaluate.remote(pickle.dumps(order), references, connection.mail.actor)
        handed = time.monotonic() if waiting.handed is None else waiting.handed
        return Attempt(request, waiting.losses, reference, handed)

    def _look(self, connection: Connection) -> None:
        """Wait a moment for letters, answers, losses and time-outs, and take the outcomes among them."""
        ray = connection.cluster.ray
        answers = [attempt.reference[0] for attempt in self._running]
        ray.wait([*answers, connection.mail.waiting], num_returns=1, timeout=self._patience())
        ready, _ = ray.wait(answers, num_returns=len(answers), timeout=0)
        self._read(connection, everything=bool(ready))
        for attempt in [attempt for attempt in self._running if attempt.reference[0] in ready]:
            self._running.remove(attempt)
            self._take(connection, attempt)
        for attempt in [attempt for attempt in self._running if self._is_late(attempt)]:
            self._drop(connection, attempt)
            reason = f"no result within {self._settings.timeout:g} s"
            self._answers.append(Outcome(attempt.request, None, reason, "", attempt.seconds, is_own=True))
        self._check_places(connection)

    def _read(self, connection: Connection, *, everything: bool) -> None:
        for kind, candidate, number, what in connection.mail.take(everything=everything):
            found = (one for one in self._running if (one.request.candidate, one.number) == (candidate, number))
            attempt = next(found, None)
            if attempt is None:
                continue  # of an attempt that was given up
            match kind:
                case "came":
                    attempt.began = what
                    connection.folders[what.node] = what.folder
                case "taken":
                    attempt.taken = time.monotonic()
                case _:
                    self._report(what)

    def _take(self, connection: Connection, attempt: Attempt) -> None:
        """Turn what Ray has of an attempt into an outcome, or let it be tried again."""
        ray = connection.cluster.ray
        data: bytes | str
        content: Content | None
        try:
            data, content = ray.get(attempt.reference)
        except ray.exceptions.RayTaskError as error:  # our own code in the worker, which expects everything else
            reason = f"the worker failed: {' '.join(str(error.cause or error).split())}"
            self._answers.append(Outcome(attempt.request, None, reason, str(error), attempt.seconds))
            return
        except ray.exceptions.RayError as error:
            self._lose(attempt, type(error).__name__)
            return
        if isinstance(data, str):
            raise ConfigError(f"{data}; {_ALIKE}")
        answer: Answer = pickle.loads(data)  # noqa: S301 - from our own worker
        match answer.kind:
            case "foreign":
                raise ConfigError(f"{answer.payload}; {_ALIKE}")
            case "mistake":
                raise same_mistake(*answer.payload)
            case "lost":
                self._lose(attempt, answer.payload)
                return
        if content is not None and attempt.request.weights is not None:
            try:
                deliver(content, answer.checksum or "", attempt.request.weights)
            except LostContentError as error:
                self._lose(attempt, str(error))
                return
        self._answers.append(replace(answer.payload, request=attempt.request, seconds=attempt.seconds))

    def _lose(self, attempt: Attempt, how: str) -> None:
        began = attempt.began
        loss = Loss(how) if began is None else Loss(how, began.node, began.host)
        losses = (*attempt.losses, loss)
        if (reason := failure(losses, self._settings.retries)) is not None:
            self._answers.append(Outcome(attempt.request, None, reason, "", attempt.seconds))
        else:
            self._waiting.appendleft(Waiting(attempt.request, losses, attempt.handed))

    def _is_late(self, attempt: Attempt) -> bool:
        limit = self._settings.timeout
        return limit is not None and attempt.taken is not None and time.monotonic() - attempt.taken > limit

    def _patience(self) -> float:
        if self._settings.timeout is None:
            return _TICK_SECONDS
        now = time.monotonic()
        left = (self._settings.timeout - now + one.taken for one in self._running if one.taken is not None)
        return max(0.0, min([_TICK_SECONDS, *left]))

    def _check_places(self, connection: Connection) -> None:
        """End the run where nothing has begun for long, and no node is large enough.

        Raises:
            ConfigError: what is asked for, and what the nodes have.
        """
        now = time.monotonic()
        if not self._running or any(attempt.began is not None for attempt in self._running):
            connection.idle_since = now
        elif now - connection.idle_since > self._settings.patience:
            connection.idle_since = now
            if (small := too_small(connection.cluster.nodes(), connection.wanted)) is not None:
                raise ConfigError(small)

    def _drop(self, connection: Connection, attempt: Attempt) -> None:
        """End an attempt, begun or not; whatever comes of it is nobody's."""
        self._running.remove(attempt)
        with contextlib.suppress(connection.cluster.ray.exceptions.RayError):
            connection.cluster.ray.cancel(attempt.reference[0], force=True)

    def _end_all(self, connection: Connection) -> None:
        self._waiting.clear()
        self._answers.clear()
        ended = [attempt.reference[0] for attempt in self._running]
        while self._running:
            self._drop(connection, self._running[-1])
        if ended:
            connection.cluster.ray.wait(ended, num_returns=len(ended), timeout=_GOODBYE_SECONDS)


def _entry() -> Callable[..., Any]:
    """Make what Ray calls: inside of a function, so that it is sent by value, to nodes that may lack our packages."""

    def evaluate(data: bytes, references: list[Any], mailbox: Any) -> Any:
        try:
            from spnas_search.executors.ray.node import work
        except Exception as error:  # noqa: BLE001 - importing runs whatever is installed there
            import socket

            return f"node {socket.gethostname()}: {type(error).__name__}: {error}", None
        return work(data, references, mailbox)

    return evaluate


def _at(node: str) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=True)


def _sweep(connection: Connection) -> None:
    """Remove the run's folders from the nodes, in a moment; what is left there goes when the next run comes."""

    def remove(folder: str) -> None:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)

    ray = connection.cluster.ray
    alive = {node.id for node in connection.cluster.nodes()}
    swept = [
        ray.remote(num_cpus=0, max_retries=0)(remove).options(scheduling_strategy=_at(node)).remote(str(folder))
        for node, folder in connection.folders.items()
        if node in alive
    ]
    if swept:
        ray.wait(swept, num_returns=len(swept), timeout=_GOODBYE_SECONDS)
