"""What runs in a Ray worker: one attempt at an evaluation, from order to answer."""

import os
import pickle
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from spnas_core.errors import MachineError, SpnasError
from spnas_core.tasks import EvaluationRequest, Progress
from spnas_search.executors.devices import VISIBLE
from spnas_search.executors.evaluation import evaluate, reason_of
from spnas_search.executors.mistakes import sendable_mistake
from spnas_search.executors.ray.mailbox import Postman
from spnas_search.executors.ray.node_folder import NodeFolder
from spnas_search.executors.ray.node_task import ForeignDataError, TaskOrder, prepared_task
from spnas_search.executors.ray.parcels import Content, LostContentError, checksum_of, fetch

Kind = Literal["outcome", "lost", "mistake", "foreign"]
_SECONDS_BETWEEN = 0.2
"""Progress comes no more often than that, but for the first, the last, and what has metrics."""


@dataclass(frozen=True)
class Order:
    """What a worker is asked for.

    Attributes:
        request: with the search's own paths.
        attempt: from 1.
        inherits: checksum of the weights to inherit; None for none.
        task: which, and what it must be.
        run: name of the search's folder on nodes.
        folder: that nodes keep things in; None is the user's.
        gpus: that Ray has given.
        versions: of the search's packages.
        code: digests of the search's packages.
    """

    request: EvaluationRequest
    attempt: int
    inherits: str | None
    task: TaskOrder
    run: str
    folder: Path | None
    gpus: float
    versions: Mapping[str, str]
    code: Mapping[str, str]


@dataclass(frozen=True)
class Began:
    """Where an attempt began.

    Attributes:
        node: Ray's number of it.
        host: its name.
        folder: of the run, there.
    """

    node: str
    host: str
    folder: Path


@dataclass(frozen=True)
class Answer:
    """What a worker answers.

    Attributes:
        kind: ``outcome``; ``lost``, where nobody is to blame; ``mistake``, the user's; ``foreign``, packages that are
            not the search's.
        payload: an Outcome, with the worker's own paths; the reason; (type, message); or the message.
        checksum: of the weights; None where none were written.
    """

    kind: Kind
    payload: Any
    checksum: str | None = None


def work(data: bytes, references: list[Any], mailbox: Any) -> tuple[bytes, Content | None]:
    """Evaluate.

    Args:
        data: the pickled order.
        references: to the pickled task and, where there are any, to the weights to inherit.
        mailbox: takes progress.

    Returns:
        The pickled answer, and the bytes of the weights.
    """
    import ray

    order: Order = pickle.loads(data)  # noqa: S301 - from our own search
    if (difference := _difference(order)) is not None:
        return pickle.dumps(Answer("foreign", f"node {socket.gethostname()}: {difference}")), None
    if not order.gpus:
        os.environ[VISIBLE] = ""  # what Ray does not account for, nobody may compute on
    postman = Postman(ray, mailbox, order.request.candidate, order.attempt)
    try:
        answer, content = _attempt(ray, order, references, postman)
    except LostContentError as error:
        answer, content = Answer("lost", str(error)), None
    except (MachineError, ForeignDataError) as error:
        answer, content = Answer("mistake", (type(error), f"node {socket.gethostname()}: {error}")), None
    except SpnasError as error:
        answer, content = Answer("mistake", sendable_mistake(error)), None
    except OSError as error:
        answer, content = Answer("mistake", (MachineError, f"node {socket.gethostname()}: {reason_of(error)}")), None
    postman.settle()
    return pickle.dumps(answer), content


def _attempt(ray: Any, order: Order, references: list[Any], postman: Postman) -> tuple[Answer, Content | None]:
    folder = NodeFolder.of_run(order.folder, order.run)
    node: str = ray.get_runtime_context().get_node_id()
    postman.post("came", Began(node, socket.gethostname(), folder.run))
    postman.settle()  # should this process die at once, the search knows where
    request = order.request

    def preparing(what: str, done: int, total: int) -> None:
        postman.post("progress", Progress(request.candidate, done, total, what))

    task = prepared_task(order.task, lambda: ray.get(references[0]), folder, _Seldom(preparing))
    postman.post("taken", None)
    with folder.workplace(f"{request.candidate}-{order.attempt}") as place:
        inherited = written = None
        if order.inherits is not None:
            inherited = place / "inherited.safetensors"
            fetch(ray, references[1], order.inherits, folder.weights, inherited)
        if request.weights is not None:
            written = place / "weights.safetensors"
        here = replace(request, parent_weights=inherited, weights=written)
        report = _Seldom(lambda progress: postman.post("progress", progress))
        outcome = evaluate(task, here, report)
        report.flush()
        if outcome.evaluation is None or written is None or not written.exists():
            return Answer("outcome", outcome), None
        content = np.fromfile(written, np.uint8)
        return Answer("outcome", outcome, checksum_of(content)), content


class _Seldom:
    """Passes calls on, and of quick ones in a row only some: the first, one in a while, and the last."""

    def __init__(self, passed: Any) -> None:
        self._passed = passed
        self._next = 0.0
        self._held: tuple[Any, ...] | None = None

    def __call__(self, *arguments: Any) -> None:
        tells = any(isinstance(one, Progress) and one.metrics for one in arguments)
        if not tells and time.monotonic() < self._next:
            self._held = arguments
            return
        self._held, self._next = None, time.monotonic() + _SECONDS_BETWEEN
        self._passed(*arguments)

    def flush(self) -> None:
        """Pass on what was held back last."""
        if self._held is not None:
            self._passed(*self._held)


def _difference(order: Order) -> str | None:
    """Say in which package this worker differs from the search; None where in none."""
    for name, there in order.versions.items():
        if (here := _version(name)) != there:
            return f"{name} is {here or 'not installed'} there and {there} here"
    from spnas_search.installed import code_digest

    for package, digest in order.code.items():
        if _code(code_digest, package) != digest:
            return f"the code of {package} is not that of the search"
    return None


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


@cache
def _code(digest: Any, package: str) -> str:
    found: str = digest(package)
    return found
