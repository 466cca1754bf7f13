"""What the executor keeps of an evaluation: waiting, handed out, and the connection that both need."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spnas_core.tasks import EvaluationRequest
from spnas_search.executors.ray.cluster import Cluster
from spnas_search.executors.ray.losses import Loss
from spnas_search.executors.ray.mailbox import Mail
from spnas_search.executors.ray.node import Began
from spnas_search.executors.ray.parcels import Outbox


@dataclass
class Attempt:
    """An evaluation that was handed to Ray.

    Attributes:
        request: what it answers.
        losses: earlier attempts at it.
        reference: to its answer.
        handed: when its first attempt was handed out, on the clock.
        taken: when the evaluation began; None before.
        began: where; None before it has come anywhere.
    """

    request: EvaluationRequest
    losses: tuple[Loss, ...]
    reference: Any
    handed: float
    taken: float | None = None
    began: Began | None = None

    @property
    def number(self) -> int:
        """From 1."""
        return len(self.losses) + 1

    @property
    def seconds(self) -> float:
        """Since it was handed out."""
        return time.monotonic() - self.handed


@dataclass(frozen=True)
class Waiting:
    """A request that waits for being handed out.

    Attributes:
        request: the request.
        losses: attempts at it that were lost.
        handed: when the first of them was handed out; None before.
    """

    request: EvaluationRequest
    losses: tuple[Loss, ...] = ()
    handed: float | None = None


@dataclass
class Connection:
    """What there is while the executor is entered."""

    cluster: Cluster
    mail: Mail
    outbox: Outbox
    task: Any
    evaluate: Any
    wanted: dict[str, float]
    folders: dict[str, Path] = field(default_factory=dict)
    idle_since: float = 0.0
