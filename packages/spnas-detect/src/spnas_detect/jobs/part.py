"""One process's part in a training: from settings to weights and scores."""

import math
import signal
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import cast

import torch
from torch import nn

from spnas_core.backbones import read_network
from spnas_core.durable import replace_durably
from spnas_core.errors import ConfigError
from spnas_detect.data import open_cache
from spnas_detect.data._base import split_title
from spnas_detect.detectors import Detector, build_detector
from spnas_detect.devices import choose_device
from spnas_detect.folders import make_folder
from spnas_detect.jobs.folder import (
    TrainFolder,
    check_same_data,
    check_same_devices,
    check_same_settings,
    lasting_settings,
)
from spnas_detect.jobs.inheriting import inherited
from spnas_detect.jobs.monitor import Monitor, Silent, Speedometer
from spnas_detect.jobs.settings import TrainSettings
from spnas_detect.jobs.versions import changed_versions, installed_versions
from spnas_detect.memory import used_memory
from spnas_detect.metrics import metric_factory
from spnas_detect.preparation import (
    data_notes,
    describe_detector,
    make_repeatable,
    norm_notes,
    prepare_together,
    train_loader,
    uses_channels_last,
)
from spnas_detect.processes import Processes, joined_processes, started_by_torchrun
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
from spnas_detect.training.calibration import centre_biases
from spnas_detect.training.checkpoint import CheckpointState, has_checkpoint
from spnas_detect.training.interruption import stop_on_signal
from spnas_detect.training.scalars import Scalars


def train_here(
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
        part = Part(
            settings, TrainFolder(out), device, processes, monitor if processes.is_first else Silent(), cache, prepared
        )
        return part.run(resume=resume)


class Part:
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
        self.architecture = read_network(settings.architecture)
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
        goes_on = resume and has_checkpoint(self.folder.checkpoint)  # else it has ended before the first one
        state = read_state(self.folder.checkpoint) if goes_on else None
        if state is not None:
            check_same_data(self.folder.path, state.data, self.data.content, self.settings.data)
            check_same_settings(self.folder.config, state.settings, self.settings)
        # Detectors that draw from torch's global state differ between processes.
        make_repeatable(deterministic=self.settings.deterministic, seed=self.settings.seed + self.processes.rank)
        detector = self._detector(state)
        if state is not None:
            check_same_devices(self.folder.path, state.processes, self.processes.count, detector)
        elif self.processes.is_first:
            for note in norm_notes(detector, self.settings.training, self.processes.count):
                self.monitor.message(note)
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
            if changed := changed_versions(state.versions):
                self.monitor.message(f"the packages are not those of before: {'; '.join(changed)}")
        if self.processes.is_first:
            if resume:
                self.folder.keep_changes(self.settings)
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
        if before is None:
            centre_biases(detector, plan, settings.training, self.data.split("train"))
        return detector

    def _train(self, trainer: Trainer) -> int:
        """Run the steps; return the number of the signal that stopped them."""
        settings = self.settings
        if self._is_over():  # it was before
            return 0
        speedometer = Speedometer(lambda: used_memory(self.device))
        lasting, versions = lasting_settings(settings), installed_versions()
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
                taken = snapshot(
                    trainer, data=self.data.content, settings=lasting, scores=self.scored, versions=versions
                )
                writer.save(taken)

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
