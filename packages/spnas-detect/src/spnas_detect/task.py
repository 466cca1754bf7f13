"""The ``detection`` task: a candidate becomes a trained detector and its scores."""

import functools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError, DataError, EvaluationError
from spnas_core.inheritance import Receipt, calibrate_pass_through
from spnas_core.interchange.initial_weights import InitialWeights
from spnas_core.networks import Backbone
from spnas_core.tasks import Evaluation, EvaluationRequest, MetricSpec, Pretraining, Progress, Report
from spnas_detect.data import CachedData, find_cache, open_cache
from spnas_detect.detectors import Detector, build_detector
from spnas_detect.detectors.building import BACKBONE, check_neck
from spnas_detect.detectors.levels import check_levels
from spnas_detect.detectors.origin import Origin, origin_of, read_origin
from spnas_detect.devices import choose_device
from spnas_detect.fitting_memory import smaller
from spnas_detect.metrics import metric_factory
from spnas_detect.output_changes import backbone_change
from spnas_detect.preparation import (
    data_notes,
    describe_detector,
    make_repeatable,
    prepare_data,
    train_loader,
    uses_channels_last,
)
from spnas_detect.reigniting import checked_images, reignite
from spnas_detect.settings import DetectionSettings
from spnas_detect.supernets import SharedWeights, check_paths, halves_images, recalibrate, shared_weights
from spnas_detect.training import (
    OutOfMemoryError,
    StepRecord,
    Trainer,
    check_freeze_at,
    explained_memory,
    freeze_inherited,
    is_affine,
    load_weights,
    save_weights,
    score,
)
from spnas_detect.training.calibration import centre_biases, first_images

CALIBRATION_IMAGES = 64
CHANGE_IMAGES = 16


class DetectionTask:
    """Trains and scores detectors on one data set.

    Args:
        settings: the ``[task]`` table.

    Attributes:
        pretrains: reignitions can be asked for.
        pretraining_fingerprint: digest of the folder of images that backbones are reignited on; empty where there is
            none, and before ``check_pretraining``.
    """

    pretrains = True

    def __init__(self, settings: DetectionSettings) -> None:
        self.settings = settings
        self._cache: Path | None = None
        self._root: Path | None = None
        self._other_caches: dict[tuple[int, int], Path] = {}
        self._content = self.pretraining_fingerprint = ""
        self._tests_on_validation = False

    @property
    def metrics(self) -> tuple[MetricSpec, ...]:
        """What an evaluation measures, the first metric's main number first."""
        return tuple(spec for name in self.settings.metrics for spec in metric_factory(name).specs)

    @property
    def image_size(self) -> tuple[int, int]:
        """(width, height) of the canvas in pixels."""
        return self.settings.image_size

    @property
    def fingerprint(self) -> str:
        """Digest of what training and scoring see, the same wherever the data lies; empty before ``prepare``."""
        return self._content

    @property
    def test_images(self) -> str:
        """What results call the images of the split ``test``, once the data is prepared."""
        return "validation images (test = validation)" if self._tests_on_validation else "test images"

    def prepare(self, cache: Path, report: Callable[[str, int, int], None]) -> tuple[str, ...]:
        """Read the annotations, decode and resize the images into the cache.

        Raises:
            DataError: the data cannot be used.
            ConfigError: the device is not there, or a metric does not fit the data.
        """
        choose_device(self.settings.device)
        cached = prepare_data(self.settings, cache, report)
        self._cache, self._root, self._content = cached.folder, cached.root, cached.content
        self._tests_on_validation = cached.tests_on_validation
        return data_notes(self.settings, cached)

    def is_prepared_here(self) -> bool:
        """Whether the cache lies on this machine, too, with the content that ``prepare`` has seen."""
        if self._cache is None:
            return False
        try:
            cached = open_cache(self._cache, self._root)
        except DataError:
            return False
        return cached.content == self._content and (cached.mode != "none" or cached.root.is_dir())

    def check_pretraining(self) -> tuple[str, ...]:
        """Find what a backbone would be reignited on; no image is decoded.

        Raises:
            DataError: fewer than two classes, classes or splits without an image, or images that cannot be read.
        """
        notes, self.pretraining_fingerprint = checked_images(self.settings)
        return notes

    def check_start(self, start: Architecture, weights: InitialWeights | None) -> tuple[str, ...]:
        """Refuse a start that has not the levels, stages and neck that are named, or whose weights do not fit.

        Returns:
            What of the weights is left out; which classes they know is told by the start's receipt.

        Raises:
            ConfigError: levels or ``freeze_at`` that the start does not have, or a neck that does not fit it.
            PluginError: no plugin registers the neck.
            WeightsError: the weights are of a detector of other sizes.
        """
        check_levels(self.settings.detector, start)
        check_neck(self.settings.detector, start)
        check_freeze_at(self.settings.training.freeze_at, start, inherits=True)
        if weights is None:
            return ()
        origin = origin_of(weights.said, weights.architecture)
        origin.check(weights.tensors, self.settings.detector, "task.")
        return origin.notes()

    def check_sharing(self, start: Architecture) -> None:
        """Refuse a start whose parts cannot share weights.

        Raises:
            ConfigError: rows, levels or a neck that do not allow it.
        """
        check_levels(self.settings.detector, start)
        check_paths(self.settings.detector, start)

    def evaluate(self, request: EvaluationRequest, report: Report) -> Evaluation:
        """Inherit, train, score, and write the weights.

        Where something does not fit in memory, everything is done once more with less at a time: steps in more parts,
        of half the size at most (``training.accumulate``), and accordingly fewer images that are scored, calibrated on,
        or classified; the receipt says so.

        Raises:
            EvaluationError: the loss diverged, something does not fit in memory in parts either, or the candidate lacks
                a stage that the settings name or its neck wants.
            DataError: the cache is gone.
            WeightsError: the parent's weights cannot be read.
        """
        settings = self.settings.at(request.fidelity)
        try:
            return self._within_memory(request, settings, report)
        except OutOfMemoryError:
            less = smaller(settings, pretrains=request.pretraining is not None)
            if less == settings:
                raise
        # Outside of the handler, where nothing holds the tensors of the first try any more.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        parts = less.training.accumulate
        report(Progress(request.candidate, 0, 1, f"out of memory: once more, steps in {parts} parts"))
        evaluation = self._within_memory(request, less, report)
        return replace(evaluation, receipt={**evaluation.receipt, "accumulate": parts})

    def _within_memory(self, request: EvaluationRequest, settings: DetectionSettings, report: Report) -> Evaluation:
        """Evaluate; whatever does not fit in memory, and does not say so itself, is told by the images of a step."""
        with explained_memory(choose_device(self.settings.device), (), settings.training):
            return self._evaluate(request, settings, report)

    def _evaluate(self, request: EvaluationRequest, settings: DetectionSettings, report: Report) -> Evaluation:
        begin = time.perf_counter()
        try:
            check_levels(self.settings.detector, request.rewrite.child)
            if request.rewrite.child.neck:
                check_neck(self.settings.detector, request.rewrite.child)
        except ConfigError as error:  # the start has them: it is the candidate that lacks a stage
            raise EvaluationError(str(error)) from error
        device = choose_device(self.settings.device)
        make_repeatable(deterministic=self.settings.deterministic, seed=request.seed)
        data = self._data(settings)
        seed, epochs, is_halved = request.seed, request.epochs, halves_images(request.sharing)
        loader_of = functools.partial(train_loader, settings.training, data, seed=seed, epochs=epochs, device=device)
        loader = loader_of(half=0 if is_halved else None)
        parent, origin = {}, Origin()
        if request.parent_weights is not None:
            parent, origin = load_weights(request.parent_weights), read_origin(request.parent_weights)
        if request.pretraining is not None and request.pretraining.fresh:
            parent = {name: tensor for name, tensor in parent.items() if not name.startswith(BACKBONE)}
        detector, receipt = self._materialise(request, settings, parent, origin, data, device)
        pretrained = {} if request.pretraining is None else self._pretrain(request, settings, detector, report)
        trainer = Trainer(
            detector,
            loader,
            settings.training,
            settings.training.peak_learning_rate(inherits=bool(parent)),
            request.epochs,
            seed=request.seed,
            image_names=data.split("train").names,
        )

        shared = shared_weights(trainer, settings, request.sharing, loader_of(half=1) if is_halved else None)

        def recalibrated() -> None:
            batches = self.settings.recalibration_batches
            recalibrate(cast("Detector", detector), loader, batches, device, settings.training.precision)

        def scored() -> dict[str, float]:
            if shared is not None:  # what the start itself scores
                shared.restore()
                recalibrated()
            return self._score(detector, data, request.split, settings, device)

        if origin.is_shared:
            recalibrated()
        partial = self._train(trainer, request.candidate, shared, scored, report)
        report(Progress(request.candidate, 1, 1, "scoring"))
        scores = scored()
        if request.weights is not None:
            description = describe_detector(request.rewrite.child, data, settings, device, request.parent_weights)
            description = replace(description, is_shared=shared is not None)
            save_weights(detector, request.weights, description.metadata())
        return Evaluation(
            metrics=scores,
            cost=backbone_cost(request.rewrite.child, *self.settings.image_size).as_dict(),
            receipt={
                **(receipt.as_dict() if parent else {}),
                **({"origin": list(notes)} if (notes := origin.notes(data.classes)) else {}),
                **pretrained,
                **_of_rows(detector),
                **({} if shared is None else shared.receipt()),
                **({"partial_scores": partial} if partial else {}),
            },
            seconds=time.perf_counter() - begin,
        )

    def _train(
        self,
        trainer: Trainer,
        candidate: int,
        shared: SharedWeights | None,
        scored: Callable[[], dict[str, float]],
        report: Report,
    ) -> dict[str, dict[str, float]]:
        """Train to the end; return scores of the middle, by epoch, where the settings ask for them."""
        partial: dict[str, dict[str, float]] = {}

        def tell(record: StepRecord) -> None:
            report(Progress(candidate, record.step, record.steps, f"loss {record.loss:.3f}"))

        def between() -> None:
            if shared is not None:
                shared.after_step()
            epoch, more = divmod(trainer.step, trainer.steps_per_epoch)
            if more or epoch not in self.settings.score_after or trainer.step == trainer.steps:
                return
            partial[str(epoch)] = {name: value for name, value in scored().items() if math.isfinite(value)}
            trainer.detector.train()
            report(Progress(candidate, trainer.step, trainer.steps, "scored in between", partial[str(epoch)]))

        trainer.run(tell, before_step=None if shared is None else shared.before_step, after_step=between)
        if trainer.average is not None:
            trainer.average.apply()
        return partial

    def _score(
        self, detector: nn.Module, data: CachedData, split: str, settings: DetectionSettings, device: torch.device
    ) -> dict[str, float]:
        return score(
            detector,  # type: ignore[arg-type]
            data.split(split),
            [metric_factory(name).build(data.classes) for name in settings.metrics],
            batch_size=self._at_a_time(settings, settings.training.batch_size),
            device=device,
            precision=settings.training.precision,
        )

    def _materialise(
        self,
        request: EvaluationRequest,
        settings: DetectionSettings,
        parent: Mapping[str, Tensor],
        origin: Origin,
        data: CachedData,
        device: torch.device,
    ) -> tuple[nn.Module, Receipt]:
        generator = torch.Generator().manual_seed(request.seed)
        detector, plan, receipt = build_detector(
            request.rewrite,
            len(data.classes),
            self.settings.detector,
            parent,
            generator=generator,
            seed=request.seed,
            parent_stages=origin.stages,
            class_map=origin.class_map(data.classes),
            shares=request.sharing is not None,
        )
        norm = self.settings.training.norm
        freeze_inherited(detector, plan, norm, self.settings.training.freeze_at)
        detector.to(device)
        channels_last = uses_channels_last(self.settings.training)
        if channels_last:
            detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if request.sharing is None:
            centre_biases(detector, plan, settings.training, data.split("train"))
        if parent and request.rewrite.steps and not origin.is_shared:
            backbone = cast("nn.Module", detector.backbone)
            train = data.split("train")
            norms = [name.removeprefix(BACKBONE) for name in plan.pass_through_norms]
            images = first_images(train, self._at_a_time(settings, CALIBRATION_IMAGES), device)
            if self.settings.calibrate and is_affine(norm):  # others have no statistics to pass through
                calibrate_pass_through(backbone, norms, images)
            # What is pretrained changes right away, and fresh weights change nothing that there was.
            if request.pretraining is None and any(name.startswith(BACKBONE) for name in parent):
                change = backbone_change(
                    request.rewrite,
                    parent,
                    backbone,
                    images[:CHANGE_IMAGES],
                    norm=norm,
                    seed=request.seed,
                    channels_last=channels_last,
                )
                receipt = receipt.measured(change, request.rewrite.promise_with(affine_norms=is_affine(norm)))
        return detector, receipt

    def _at_a_time(self, settings: DetectionSettings, images: int) -> int:
        """How many of so many images are computed at a time: fewer where an evaluation is tried once more."""
        return max(1, images * self.settings.training.accumulate // settings.training.accumulate)

    def _pretrain(
        self, request: EvaluationRequest, settings: DetectionSettings, detector: nn.Module, report: Report
    ) -> dict[str, object]:
        """Reignite the backbone."""
        return reignite(
            cast("Backbone", detector.backbone),
            settings,
            cast("Path", self._cache).parent,
            cast("Pretraining", request.pretraining).epochs,
            seed=request.seed,
            report=lambda done, total, note: report(Progress(request.candidate, done, total, note)),
        )

    def _data(self, settings: DetectionSettings) -> CachedData:
        """Open the cache, or make the one of another image size beside it."""
        if self._cache is None:
            raise ConfigError("the task has no data yet: call prepare() before evaluate()")
        size = settings.image_size
        if size == self.settings.image_size:
            return open_cache(self._cache, self._root)
        if size not in self._other_caches:  # unless another process has made it meanwhile
            found = find_cache(open_cache(self._cache, self._root), size)
            self._other_caches[size] = (found or prepare_data(settings, self._cache.parent, lambda *_: None)).folder
        return open_cache(self._other_caches[size], self._root)


def _of_rows(detector: nn.Module) -> dict[str, object]:
    """What training has made of the fusions, which begin by adding nothing."""
    scales = cast("Backbone", detector.backbone).fusion_scales()
    return {"fusion_scales": scales} if scales else {}
