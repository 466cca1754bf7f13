"""The training loop."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from spnas_core.errors import ConfigError
from spnas_detect.data.loader import Batch, Loader
from spnas_detect.data.targets import Targets
from spnas_detect.heads.results import known_losses
from spnas_detect.processes import ALONE, Processes
from spnas_detect.training.averaging import AveragedWeights
from spnas_detect.training.memory import explained_memory
from spnas_detect.training.missing_gradients import explained_missing_gradients
from spnas_detect.training.norms import explained_norms
from spnas_detect.training.optimizer import make_optimizer
from spnas_detect.training.precision import uses_bfloat16
from spnas_detect.training.schedule import learning_rate_factor
from spnas_detect.training.settings import TrainingSettings
from spnas_detect.training.watch import LossWatch, StepRecord

StepReport = Callable[[StepRecord], None]
"""Called once for each finished step, in order."""

_SAMPLING = 3  # the stream of a seed that the heads sample from; the loader's are 0, 1 and 2


class Trainer:
    """Trains one detector for a number of epochs.

    What a step computes follows from the weights, the optimiser's state, the seed and the step's number alone (and
    from torch's global random state, where a detector draws from that), so a training goes on from any step.

    Args:
        detector: fulfils ``Detector``; trained in place.
        loader: gives the batches of an epoch: with several processes, this one's part of them.
        settings: of optimiser and schedule.
        learning_rate: at the peak.
        epochs: in all.
        seed: of what the heads sample.
        processes: that train together; gradients and reported losses are the mean of theirs.
        image_names: of the training images, for messages.

    Attributes:
        step: finished steps; set it, together with weights and the optimiser's state, to go on from there.
        average: the averaged weights; None where the settings ask for none.
        was_stopped: whether ``run`` ended because ``stop`` asked for it.
    """

    def __init__(
        self,
        detector: nn.Module,
        loader: Loader,
        settings: TrainingSettings,
        learning_rate: float,
        epochs: int,
        *,
        seed: int = 0,
        processes: Processes = ALONE,
        image_names: Sequence[str] = (),
    ) -> None:
        self.detector = detector
        self.loader = loader
        self.settings = settings
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.seed = seed
        self.processes = processes
        self.image_names = image_names
        self.device = next(detector.parameters()).device
        self.optimizer = make_optimizer(detector, settings, learning_rate)
        self.average = AveragedWeights(detector, settings.ema_decay) if settings.ema_decay else None
        self.step = 0
        self.was_stopped = False
        self._generator = torch.Generator(self.device)
        self._watch = LossWatch(self.device, self._image_name, processes)
        self._losses: nn.Module = _Losses(detector)
        if processes.count > 1:
            self._losses = DistributedDataParallel(self._losses, broadcast_buffers=False, gradient_as_bucket_view=True)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch; batches that would make no whole step are left out."""
        return max(1, len(self.loader) // self.settings.accumulate)

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.epochs * self.steps_per_epoch

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step."""
        settings = self.settings
        factor = learning_rate_factor(
            step, self.steps, settings.warmup_steps, settings.schedule, settings.drops, self.epochs
        )
        return self.learning_rate * factor

    def run(
        self,
        report: StepReport,
        *,
        before_step: Callable[[int], None] | None = None,
        after_step: Callable[[], bool | None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        """Train from the present step to the end, or until it is stopped.

        Args:
            report: told of each finished step; on a GPU one step late.
            before_step: called before each step with its number, from 0, the same in all processes.
            after_step: called after each step, with the trainer as it stands; where it says yes, which it must in all
                processes, the training is over.
            stop: asked in each step; where it says yes in any process, all stop after the same step.

        Raises:
            EvaluationError: a loss is not finite any more; the message has step, images and losses. Or the losses do
                not depend on all that several processes train; the message names that.
            OutOfMemoryError: a batch does not fit; the message has what was asked for and what there is.
        """
        self.detector.train()
        self.was_stopped = False
        while self.step < self.steps:
            epoch, done = divmod(self.step, self.steps_per_epoch)
            parts = self.settings.accumulate
            batches = self.loader.epoch(epoch, done * parts)
            for _ in range(done, self.steps_per_epoch):
                if before_step is not None:
                    before_step(self.step)
                with explained_memory(torch.device("cpu"), (), self.settings):
                    read = list(islice(batches, parts))
                for record in self._advance(epoch, read, stop):
                    report(record)
                if after_step is not None and after_step():
                    self.flush(report)
                    return
                if self._watch.stop_agreed:
                    self.was_stopped = True
                    self.flush(report)
                    return
        self.flush(report)

    def flush(self, report: StepReport) -> None:
        """Wait for the losses of all steps so far; nothing that is not finite goes unnoticed.

        Raises:
            EvaluationError: a loss is not finite.
        """
        for record in self._watch.flush():
            report(record)

    def _advance(self, epoch: int, batches: Sequence[Batch], stop: Callable[[], bool] | None) -> list[StepRecord]:
        """Make one step of one or more batches."""
        rate = self.rate_at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        with explained_memory(self.device, batches, self.settings), explained_norms(batches[0].images.shape):
            losses = self._gradients(batches)
            indices = [index for batch in batches for index in batch.indices]
            record = StepRecord(self.step + 1, self.steps, epoch, rate, len(indices) * self.processes.count)
            ready = self._watch.add(record, losses, indices, stop=stop is not None and stop())
            if self.settings.clip_norm:
                nn.utils.clip_grad_norm_(self.detector.parameters(), self.settings.clip_norm)
            self.optimizer.step()
        if self.average is not None:
            self.average.update()
        self.step += 1
        return ready

    def _gradients(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        """Compute the gradients of the batches' mean, and return its losses, detached."""
        sums: dict[str, Tensor] = {}
        for part, (batch, last) in enumerate(_with_last(batches)):
            self._seed_sampling(part)
            here = self._on_device(batch)
            # Gradients travel between processes once per step, with the last part.
            if isinstance(self._losses, DistributedDataParallel):
                self._losses.require_backward_grad_sync = last
            is_narrow = uses_bfloat16(self.settings.precision, self.device)
            narrow = torch.autocast(self.device.type, torch.bfloat16, enabled=is_narrow)
            with narrow, explained_missing_gradients(self.detector):
                losses: dict[str, Tensor] = self._losses(here.inputs(), here.targets, self._generator)
            total = torch.stack([loss.float() for loss in losses.values()]).sum()
            (total / len(batches)).backward()  # type: ignore[no-untyped-call]
            for name, loss in losses.items():
                share = loss.detach() / len(batches)
                sums[name] = sums[name] + share if name in sums else share
        return sums

    def _seed_sampling(self, part: int) -> None:
        entropy = np.random.SeedSequence([self.seed, _SAMPLING, self.step, part])
        self._generator.manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))

    def _on_device(self, batch: Batch) -> Batch:
        if self.device.type != "cuda":
            return batch
        # From pageable memory the copy would make the host wait.
        return (batch if batch.images.is_pinned() else batch.pinned()).to(self.device)

    def _image_name(self, index: int) -> str:
        return self.image_names[index] if index < len(self.image_names) else f"number {index}"


class _Losses(nn.Module):
    """The losses of a detector as a forward pass, which is what ``DistributedDataParallel`` wraps."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor, targets: Targets, generator: torch.Generator) -> dict[str, Tensor]:
        """Compute the losses of a batch."""
        losses = self.detector.losses(images, targets, generator=generator)  # type: ignore[operator]
        return known_losses(self.detector, losses)


def _with_last(batches: Sequence[Batch]) -> Iterator[tuple[Batch, bool]]:
    for position, batch in enumerate(batches, 1):
        yield batch, position == len(batches)


def part_size(settings: TrainingSettings, processes: int) -> int:
    """Return the images, of all processes, that are computed at a time: ``batch_size`` / ``accumulate``.

    Raises:
        ConfigError: the batch cannot be shared out evenly.
    """
    shares = settings.accumulate * processes
    if settings.batch_size % shares:
        raise ConfigError(
            f"training.batch_size {settings.batch_size} cannot be shared out evenly: it must be a multiple of "
            f"training.accumulate {settings.accumulate} times {processes} device{'s' if processes > 1 else ''}"
        )
    return settings.batch_size // settings.accumulate
