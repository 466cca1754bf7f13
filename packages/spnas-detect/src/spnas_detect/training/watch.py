"""Reading the losses without making the device wait, and noticing when they are not finite."""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from spnas_core.errors import EvaluationError
from spnas_detect.processes import ALONE, Processes

SHOWN_IMAGES = 8


@dataclass(frozen=True)
class StepRecord:
    """What is known of a finished step.

    Attributes:
        step: finished steps, this one included.
        steps: of the whole training.
        epoch: the step belongs to, from 0.
        learning_rate: of the step.
        images: in the step, of all processes.
        losses: by name, the mean over all processes.
    """

    step: int
    steps: int
    epoch: int
    learning_rate: float
    images: int
    losses: Mapping[str, float] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        """The sum that is minimised."""
        return math.fsum(self.losses.values())


@dataclass
class _Pending:
    record: StepRecord
    names: tuple[str, ...]
    indices: Sequence[int]
    own: Tensor
    host: Tensor
    copied: "torch.cuda.Event | None"


class LossWatch:
    """Takes in each step's losses and hands them out as numbers.

    On CPU at once. On a GPU a step later, so that the device has work queued while the host waits for the number; a
    loss that is not finite is then noticed one step late, and reported with the step in which it occurred.

    Args:
        device: where the losses are.
        image_name: the name of a training image, for messages.
        processes: of the training.
    """

    def __init__(self, device: torch.device, image_name: Callable[[int], str], processes: Processes = ALONE) -> None:
        self._lag = 1 if device.type == "cuda" else 0
        self._image_name = image_name
        self._processes = processes
        self._pending: deque[_Pending] = deque()
        self._last: StepRecord | None = None
        self.stop_agreed = False

    def add(
        self, record: StepRecord, losses: Mapping[str, Tensor], indices: Sequence[int], *, stop: bool
    ) -> list[StepRecord]:
        """Take in a step.

        Args:
            record: of the step, without losses.
            losses: detached scalars of this process.
            indices: this process's images.
            stop: whether this process wants to stop; ``stop_agreed`` says when all know.

        Returns:
            The records that are ready, in order; at most one.

        Raises:
            EvaluationError: the losses of a step that is ready are not finite; all processes raise it alike.
        """
        own = torch.stack([loss.float() for loss in losses.values()])
        shared = torch.cat([own, own.new_full((1,), float(stop))])
        self._processes.mean_(shared)
        copied = None
        if self._lag:
            host = torch.empty(shared.shape, pin_memory=True).copy_(shared, non_blocking=True)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record()
        else:
            host = shared
        self._pending.append(_Pending(record, tuple(losses), indices, own, host, copied))
        return self._ready(self._lag)

    def flush(self) -> list[StepRecord]:
        """Wait for what is still on its way."""
        return self._ready(0)

    def _ready(self, left: int) -> list[StepRecord]:
        records = []
        while len(self._pending) > left:
            pending = self._pending.popleft()
            if pending.copied is not None:
                pending.copied.synchronize()
            *values, stop = pending.host.tolist()
            self.stop_agreed = self.stop_agreed or stop > 0
            if not all(map(math.isfinite, values)):
                raise EvaluationError(self._complaint(pending))
            record = pending.record
            losses = dict(zip(pending.names, values, strict=True))
            self._last = StepRecord(
                record.step, record.steps, record.epoch, record.learning_rate, record.images, losses
            )
            records.append(self._last)
        return records

    def _complaint(self, pending: _Pending) -> str:
        """Word what happened; the processes that met it name their images to all."""
        own = pending.own.tolist()
        met = None
        if not all(map(math.isfinite, own)):
            met = (own, [self._image_name(index) for index in pending.indices])
        reports = [report for report in self._processes.gather_values(met) if report is not None]
        values = [_worst(column) for column in zip(*(report[0] for report in reports), strict=True)]
        images = [name for report in reports for name in report[1]]
        text = f"the loss is not finite at step {pending.record.step} of {pending.record.steps}: "
        text += _values(dict(zip(pending.names, values, strict=True)))
        text += f"; images {', '.join(images[:SHOWN_IMAGES])}"
        if len(images) > SHOWN_IMAGES:
            text += f" and {len(images) - SHOWN_IMAGES} more"
        if self._last is None:
            return f"{text}; no step before it had finite losses"
        return f"{text}; last finite losses, at step {self._last.step}: {_values(self._last.losses)}"


def _worst(values: Sequence[float]) -> float:
    """The first value that is not finite, if any."""
    return next((value for value in values if not math.isfinite(value)), values[0])


def _values(losses: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in losses.items())
