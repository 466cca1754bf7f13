"""The ``detection`` task: a candidate becomes a trained detector and its scores."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from spnas_core.cost import backbone_cost
from spnas_core.errors import ConfigError
from spnas_core.inheritance import Receipt, calibrate_pass_through, materialise, output_change
from spnas_core.morphisms import Rewrite, identity
from spnas_core.plugins import registry
from spnas_core.tasks import Evaluation, EvaluationRequest, MetricSpec, Progress, Report
from spnas_detect.data import CachedData, Loader, build_cache, normalize, open_cache, open_data, train_augmentation
from spnas_detect.detectors import build_detector
from spnas_detect.detectors.building import BACKBONE
from spnas_detect.metrics import metric_factory
from spnas_detect.settings import DetectionSettings
from spnas_detect.training import Trainer, load_weights, save_weights, score

CALIBRATION_IMAGES = 64
CHANGE_IMAGES = 16


class DetectionTask:
    """Trains and scores detectors on one data set.

    Args:
        settings: the ``[task]`` table.
    """

    def __init__(self, settings: DetectionSettings) -> None:
        self.settings = settings
        self._cache: Path | None = None

    @property
    def metrics(self) -> tuple[MetricSpec, ...]:
        """What an evaluation measures, the first metric's main number first."""
        return tuple(spec for name in self.settings.metrics for spec in metric_factory(name).specs)

    @property
    def image_size(self) -> tuple[int, int]:
        """(width, height) of the canvas in pixels."""
        return self.settings.image_size

    def prepare(self, cache: Path, report: Callable[[str, int, int], None]) -> tuple[str, ...]:
        """Read the annotations, decode and resize the images into the cache.

        Raises:
            DataError: the data cannot be used.
            ConfigError: the device is not there.
        """
        self._device()
        data = open_data(
            self.settings.data,
            seed=self.settings.data_seed,
            readers=registry("datasets").items,
            **self.settings.data_options,
        )
        cached = build_cache(
            data,
            cache,
            image_size=self.settings.image_size,
            progress=lambda done, total: report("reading images", done, total),
        )
        self._cache = cached.folder
        return cached.notes

    def evaluate(self, request: EvaluationRequest, report: Report) -> Evaluation:
        """Inherit, train, score, and write the weights.

        Raises:
            EvaluationError: the loss diverged.
            DataError: the cache is gone.
            WeightsError: the parent's weights cannot be read.
        """
        begin = time.perf_counter()
        device = self._device()
        torch.use_deterministic_algorithms(self.settings.deterministic)
        # Nothing here reads memory that it has not written; filling it would cost five per cent of a step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.manual_seed(request.seed)
        data = self._data()
        loader = self._loader(data, request.seed)
        parent = {} if request.parent_weights is None else load_weights(request.parent_weights)
        detector, receipt = self._materialise(request, parent, data, device)

        def tell(done: int, total: int, loss: float) -> None:
            report(Progress(request.candidate, done, total, f"loss {loss:.3f}"))

        training = self.settings.training
        peak = training.finetune_learning_rate if parent else training.learning_rate
        Trainer(detector, loader, training, peak, request.epochs).run(tell)
        report(Progress(request.candidate, 1, 1, "scoring"))
        scores = score(
            detector,  # type: ignore[arg-type]
            data.split(request.split),
            [metric_factory(name).build(data.classes) for name in self.settings.metrics],
            batch_size=training.batch_size,
            device=device,
            precision=training.precision,
        )
        if request.weights is not None:
            save_weights(
                detector,
                request.weights,
                {"architecture": str(request.rewrite.child), "classes": list(data.classes)},
            )
        return Evaluation(
            metrics=scores,
            cost=backbone_cost(request.rewrite.child, *self.settings.image_size).as_dict(),
            receipt=receipt.as_dict() if parent else {},
            seconds=time.perf_counter() - begin,
        )

    def _materialise(
        self,
        request: EvaluationRequest,
        parent: Mapping[str, Tensor],
        data: CachedData,
        device: torch.device,
    ) -> tuple[nn.Module, Receipt]:
        generator = torch.Generator().manual_seed(request.seed)
        detector, plan, receipt = build_detector(
            request.rewrite, len(data.classes), self.settings.detector, parent, generator=generator
        )
        detector.to(device)
        if self._channels_last():
            detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if parent and request.rewrite.steps:
            backbone = cast("nn.Module", detector.backbone)
            train = data.split("train")
            norms = [name.removeprefix(BACKBONE) for name in plan.pass_through_norms]
            images = normalize(train.images(range(min(CALIBRATION_IMAGES, len(train))))).to(device)
            if self.settings.calibrate:
                calibrate_pass_through(backbone, norms, images)
            before = _backbone_before(request.rewrite, parent, device)
            if self._channels_last():  # the same kernels on both sides, or the last bits differ
                before.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            change = output_change(before.eval(), backbone.eval(), images[:CHANGE_IMAGES])
            receipt = replace(receipt, output_change=change)
        return detector, receipt

    def _loader(self, data: CachedData, seed: int) -> Loader:
        training = self.settings.training
        return Loader(
            data.split("train"),
            batch_size=training.batch_size,
            augmentation=train_augmentation(
                flip=training.flip, photometric=training.photometric, scale_range=training.scale_range
            ),
            shuffle=True,
            seed=seed,
            drop_last=len(data.split("train")) >= training.batch_size,
            share=training.share,
            channels_last=self._channels_last(),
        )

    def _data(self) -> CachedData:
        if self._cache is None:
            raise ConfigError("the task has no data yet: call prepare() before evaluate()")
        return open_cache(self._cache)

    def _channels_last(self) -> bool:
        wanted = self.settings.training.channels_last
        return True if wanted == "auto" else wanted

    def _device(self) -> torch.device:
        if self.settings.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            return torch.empty(0, device=self.settings.device).device
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(
                f"device {self.settings.device!r} cannot be used: {str(error).splitlines()[0]}"
            ) from error


def _backbone_before(rewrite: Rewrite, parent: Mapping[str, Tensor], device: torch.device) -> nn.Module:
    """Build the parent's backbone from the parent detector's tensors."""
    own = {name.removeprefix(BACKBONE): tensor for name, tensor in parent.items() if name.startswith(BACKBONE)}
    return materialise(identity(rewrite.parent), own, device=device)[0]
