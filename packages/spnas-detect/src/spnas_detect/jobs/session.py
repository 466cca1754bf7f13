"""A training from settings to scores: the one call behind ``spnas train``."""

import math
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from torch import nn

from spnas_core.durable import replace_durably
from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError, DataError
from spnas_core.lock import FolderLock
from spnas_detect.data import CachedData, open_cache
from spnas_detect.data._base import split_title
from spnas_detect.detectors import Detector, build_detector
from spnas_detect.devices import choose_device
from spnas_detect.folders import explained_writing, make_folder, new_folder
from spnas_detect.jobs.checks import check_buildable, check_settings
from spnas_detect.jobs.folder import TrainFolder, check_same_data, read_scores, scored_split
from spnas_detect.jobs.inheriting import inherited
from spnas_detect.jobs.monitor import Monitor, Silent, Speedometer
from spnas_detect.jobs.settings import TrainSettings
from spnas_detect.metrics import metric_factory
from spnas_detect.preparation import (
    data_notes,
    describe_detector,
    make_repeatable,
    prepare_data,
    prepare_together,
    train_loader,
    uses_channels_last,
)
from spnas_detect.processes import Processes, joined_processes, launch, started_by_torchrun
from spnas_detect.training import (
    CheckpointWriter,
    Scored,
    StepRecord,
    Trainer,
    convert_norms,
    freeze,
    freeze_inherited,
    load_checkpoint,
    plateau,
    read_state,
    save_weights,
    score,
    snapshot,
    standing,
)
from spnas_detect.training.checkpoint import CheckpointState
from spnas_detect.training.interruption import stop_on_signal
from spnas_detect.training.memory import used_memory
from spnas_detect.training.scalars import Scalars


@dataclass(frozen=True)
class TrainingResult:
    """What came of a training.

    Attributes:
        folder: that holds it.
        step: finished steps.
        steps: of the whole training.
        stopped_by: the signal that stopped it before its end; 0 where none did.
        scores: by name, NaN where undefined; empty where it was stopped.
        split: what the images are called that they are of: ``test``, ``validation``, or ``test = validation``.
    """

    folder: Path
    step: int
    steps: int
    stopped_by: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)
    split: str = ""

    @property
    def weights(self) -> Path:
        """File of the trained weights."""
        return TrainFolder(self.folder).weights


def train(
    settings: TrainSettings,
    out: Path | str,
    *,
    resume: bool = False,
    monitor: Monitor | None = None,
    cache: Path | None = None,
    data: CachedData | None = None,
) -> TrainingResult:
    """Train a detector, score it, and leave everything in a folder.

    With ``settings.devices`` above one, as many processes are started, except under torchrun, which has done so.

    Args:
        settings: of the training.
        out: its folder.
        resume: go on with the training in ``out``, from its last checkpoint.
        monitor: is told what happens; nobody by default.
        cache: folder of cached images, where several trainings share one; inside ``out`` by default.
        data: that of the settings, where it is prepared already.

    Returns:
        The result; under torchrun the scores are in the first process only.

    Raises:
        SpnasError: whatever is wrong with settings, data, weights or folder, in one line.
        EvaluationError: the loss diverged, memory ran out, or a process died.
    """
    folder = TrainFolder(Path(out))
    check_settings(settings)
    if resume:
        with explained_writing(folder.path):
            folder.check_resumable(settings)
        try:
            return _trained(settings, folder, resume=True, monitor=monitor or Silent(), cache=cache, data=data)
        except DataError as error:
            raise DataError(f"{error}; if the data has moved, say where it lies now by --resume --data") from error
    if started_by_torchrun():  # the first process checks, for others may come when it has begun
        return _trained(settings, folder, resume=False, monitor=monitor or Silent(), cache=cache, data=data)
    with new_folder(folder.path):
        folder.check_new()
        check_buildable(settings)
        return _trained(settings, folder, resume=False, monitor=monitor or Silent(), cache=cache, data=data)


def _trained(
    settings: TrainSettings,
    folder: TrainFolder,
    *,
    resume: bool,
    monitor: Monitor,
    cache: Path | None,
    data: CachedData | None,
) -> TrainingResult:
    """Train, in as many processes as are wanted, and say what came of it."""
    launches = settings.devices > 1 and not started_by_torchrun()
    with _held(folder):
        if launches and data is None:  # once for all processes, which get the monitor as it is before it is told
            data = prepare_data(settings, cache or folder.cache, deepcopy(monitor).reading)
        prepared = None if data is None else (data.folder, data.root)
        arguments = (settings, folder.path, resume, monitor, cache, prepared)
        if launches:
            values = [value for value in launch(_train_here, arguments, settings.devices) if value is not None]
        else:
            values = [_train_here(*arguments)]
    if not values:  # ended by a signal before the first step
        return TrainingResult(folder.path, 0, 0, signal.SIGTERM)
    step, steps, stopped_by, scored = values[0]
    if not scored:
        return TrainingResult(folder.path, step, steps, stopped_by)
    return TrainingResult(folder.path, step, steps, stopped_by, read_scores(folder.path), scored_split(folder.path))


@contextmanager
def _held(folder: TrainFolder) -> Iterator[None]:
    """Let no other process train in a folder; of those that torchrun has started, the first one sees to it.

    Raises:
        HeldError: another process does.
    """
    if started_by_torchrun() and os.environ.get("RANK", "0") != "0":
        yield
        return
    make_folder(folder.path)
    lock = FolderLock(folder.path, f"the training in {folder.path}")
    lock.acquire()
    try:
        yield
    finally:
        lock.release(remove=True)


def _train_here(
    settings: TrainSettings,
    out: Path,
    resume: bool,
    monitor: Monitor,
    cache: Path | None,
    prepared: tuple[Path, Path] | None,
) -> tuple[int, int, int, bool]:
    """Train in this process; return finished steps, all steps, the signal that stopped it, whether it was scored.

    Where ``prepared`` is given, its cache and the folder of its files, the data is not looked at.
    """
    device = choose_device(settings.device)
    with joined_processes(device.type) as processes:
        if started_by_torchrun() and settings.devices not in {1, processes.count}:
            raise ConfigError(
                f"torchrun has started {processes.count} processes and devices is {settings.devices}: leave it out"
            )
        if device.type == "cuda" and processes.count > 1:
            device = torch.device("cuda", processes.local_rank)
        if processes.is_first and not resume:
            TrainFolder(out).check_new()
            make_folder(out)
        session = _Session(
            settings, TrainFolder(out), device, processes, monitor if processes.is_first else Silent(), cache, prepared
        )
        return session.run(resume=resume)


class _Session:
    """One process's part in a training."""

    def __init__(
        self,
        settings: TrainSettings,
        folder: TrainFolder,
        device: torch.device,
        processes: Processes,
        monitor: Monitor,
        cache: Path | None,
        prepared: tuple[Path, Path] | None,
    ) -> None:
        self.settings = settings
        self.folder = folder
        self.device = device
        self.processes = processes
        self.monitor = monitor
        self.architecture = Architecture.parse(settings.architecture)
        self.metrics = [metric_factory(name) for name in settings.metrics]
        self.scored: list[Scored] = []
        if prepared is None:
            self.data = prepare_together(settings, cache or folder.cache, monitor.reading, processes)
        else:
            self.data = open_cache(*prepared)
        if processes.is_first:
            for note in data_notes(settings, self.data):
                monitor.message(f"data: {note}")

    def run(self, *, resume: bool) -> tuple[int, int, int, bool]:
        """Train and score."""
        began = time.monotonic()
        state = read_state(self.folder.checkpoint) if resume else None
        if state is not None:
            check_same_data(self.folder.path, state.data, self.data.content, self.settings.data)
        # Detectors that draw from torch's global state differ between processes.
        make_repeatable(deterministic=self.settings.deterministic, seed=self.settings.seed + self.processes.rank)
        detector = self._detector(state)
        training, seed = self.settings.training, self.settings.seed
        trainer = Trainer(
            detector,
            train_loader(
                training,
                self.data,
                seed=seed,
                epochs=self.settings.epochs,
                device=self.device,
                processes=self.processes,
            ),
            self.settings.training,
            self.settings.training.peak_learning_rate(inherits=self.settings.init is not None),
            self.settings.epochs,
            seed=self.settings.seed,
            processes=self.processes,
            image_names=self.data.split("train").names,
        )
        if state is not None:
            load_checkpoint(trainer, self.folder.checkpoint)
            self.scored = state.scored
            self.monitor.message(f"going on after step {trainer.step} of {trainer.steps}")
        if self.processes.is_first:
            if resume:
                self.folder.move_data(self.settings)
            else:
                self.folder.write_settings(self.settings)
        stopped_by = self._train(trainer)
        if stopped_by:
            return trainer.step, trainer.steps, stopped_by, False
        self._finish(trainer, began)
        return trainer.step, trainer.steps, 0, self.processes.is_first

    def _detector(self, before: CheckpointState | None) -> nn.Module:
        """Build it; what is not trained is what was not before where a training goes on."""
        settings, norm = self.settings, self.settings.training.norm
        starts_from = settings if before is None else settings.model_copy(update={"init": None})
        found = inherited(starts_from, self.architecture)
        detector, plan, receipt = build_detector(
            found.rewrite,
            len(self.data.classes),
            settings.detector,
            found.tensors,
            generator=torch.Generator().manual_seed(settings.seed),
            parent_stages=found.origin.stages,
            class_map=found.origin.class_map(self.data.classes),
        )
        if found.tensors:
            told = [*map(str, found.rewrite.steps), *found.origin.notes(self.data.classes)]
            self.monitor.message("; ".join([f"weights of {settings.init}: {receipt}", *told]))
        if before is None:
            frozen = freeze_inherited(detector, plan, norm, settings.training.freeze_at)
            if frozen.parameters or norm == "frozen":
                self.monitor.message(frozen.described(detector))
        elif before.frozen is None:
            convert_norms(detector, norm)
        else:
            freeze(detector, norm, before.frozen)
        detector.to(self.device)
        if uses_channels_last(settings.training):
            detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return detector

    def _train(self, trainer: Trainer) -> int:
        """Run the steps; return the number of the signal that stopped them."""
        settings = self.settings
        if self._is_over():  # it was before
            return 0
        speedometer = Speedometer(lambda: used_memory(self.device))
        writer = CheckpointWriter(self.folder.checkpoint, settings.checkpoints_kept or 1)

        with self._scalars(trainer.step) as scalars, stop_on_signal(self.processes) as stop, writer:

            def report(record: StepRecord) -> None:
                speed = speedometer.measure(record)
                self.monitor.step(record, speed)
                if scalars is not None and (record.step % settings.log_steps == 0 or record.step == record.steps):
                    values = {
                        "epoch": float(record.epoch),
                        "loss": record.loss,
                        **record.losses,
                        "learning_rate": record.learning_rate,
                        "memory": float(speed.memory),
                    }
                    if speed.images_per_second is not None:
                        values["images_per_second"] = speed.images_per_second
                    scalars.add(record.step, values)

            def save() -> None:
                writer.save(snapshot(trainer, data=self.data.content, scores=self.scored))

            def after_step() -> bool:
                writer.check()
                epoch, rest = divmod(trainer.step, trainer.steps_per_epoch)
                is_over = False
                # Before the checkpoint, which holds the score.
                if settings.score_every and rest == 0 and epoch % settings.score_every == 0:
                    trainer.flush(report)
                    self._validate(trainer, epoch, scalars)
                    is_over = self._is_over()
                if trainer.step % settings.checkpoint_steps == 0 or trainer.step == trainer.steps or is_over:
                    trainer.flush(report)
                    save()
                return is_over

            try:
                trainer.run(report, after_step=after_step, stop=stop)
                if trainer.was_stopped and trainer.step < trainer.steps:
                    save()
                    return int(stop.received or signal.SIGTERM)
            finally:
                self.monitor.close()
        return 0

    def _validate(self, trainer: Trainer, epoch: int, scalars: Scalars | None) -> None:
        """Score on validation images, all processes together; the first keeps the best weights and tells the score."""
        main, value = self.metrics[0].specs[0], math.nan
        with trainer.average.applied() if trainer.average is not None else nullcontext():
            scores = self._score(trainer.detector, "validation")
            if self.processes.is_first:
                value = scores[main.name]
                found = standing([*self.scored, Scored(epoch, value)], main)
                if found is not None and found.waited == 0:
                    self._save(trainer.detector, self.folder.best)
        if self.processes.is_first:
            self.monitor.message(f"epoch {epoch}: validation {main.name} {value:.3f}")
            if scalars is not None:
                scalars.add(trainer.step, {f"validation/{name}": value for name, value in scores.items()})
        self.scored.append(Scored(epoch, self.processes.gather_values(value)[0]))
        trainer.detector.train()

    def _is_over(self) -> bool:
        """Whether the scores have not improved for too long; says so."""
        main, settings = self.metrics[0].specs[0], self.settings
        reason = None
        if settings.patience is not None:
            reason = plateau(self.scored, main, patience=settings.patience, min_delta=settings.min_delta or 0.0)
        if reason is not None:
            self.monitor.message(
                f"ended before epoch {settings.epochs}: {reason}; {self.folder.best.name} has the best weights"
            )
        return reason is not None

    def _finish(self, trainer: Trainer, began: float) -> None:
        """Write the weights, in the first process, and the scores, which all find together."""
        if trainer.average is not None:
            trainer.average.apply()
        if self.processes.is_first:
            self._save(trainer.detector, self.folder.weights)
        split = self.settings.score_split
        title = split_title(split, tests_on_validation=self.data.tests_on_validation)
        self.monitor.message(f"scoring on {len(self.data.split(split))} {title} images")
        scores = self._score(trainer.detector, split)
        if self.processes.is_first:
            self.folder.write_scores(scores, split=title, seconds=time.monotonic() - began)

    def _save(self, detector: nn.Module, file: Path) -> None:
        """Write weights; the file is complete or absent."""
        temporary = file.with_name(f".{file.name}")
        said = describe_detector(self.architecture, self.data, self.settings, self.device, self.settings.init)
        save_weights(detector, temporary, said.metadata())
        replace_durably(temporary, file)

    def _score(self, detector: nn.Module, split: str) -> dict[str, float]:
        """Score the detector of the first process, whose norms have statistics of their own; see ``score``."""
        training = self.settings.training
        with self.processes.alike(list(detector.buffers())):
            return score(
                cast("Detector", detector),
                self.data.split(split),
                [factory.build(self.data.classes) for factory in self.metrics],
                batch_size=max(1, training.batch_size // (training.accumulate * self.processes.count)),
                device=self.device,
                precision=training.precision,
                processes=self.processes,
            )

    def _scalars(self, step: int) -> AbstractContextManager[Scalars | None]:
        if not self.processes.is_first:
            return nullcontext()
        return Scalars(self.folder.path, step)
