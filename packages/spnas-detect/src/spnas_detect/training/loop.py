"""The training loop, and scoring."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from spnas_core.errors import EvaluationError
from spnas_detect.data.cache import CachedSplit
from spnas_detect.data.loader import Loader, normalize
from spnas_detect.metrics import Metric
from spnas_detect.training.schedule import learning_rate_factor
from spnas_detect.training.settings import TrainingSettings

if TYPE_CHECKING:
    from spnas_detect.detectors import Detector

StepReport = Callable[[int, int, float], None]
"""Called after each step with (finished steps, steps in all, loss)."""


class Trainer:
    """Trains one detector for a number of epochs.

    Args:
        detector: fulfils ``Detector``; trained in place.
        loader: gives the batches of an epoch.
        settings: of optimiser and schedule.
        learning_rate: at the peak.
        epochs: in all.
    """

    def __init__(
        self, detector: nn.Module, loader: Loader, settings: TrainingSettings, learning_rate: float, epochs: int
    ) -> None:
        self.detector = detector
        self.loader = loader
        self.settings = settings
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.device = next(detector.parameters()).device
        self.optimizer = make_optimizer(detector, settings, learning_rate)

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.epochs * len(self.loader)

    def run(self, report: StepReport) -> None:
        """Train.

        Raises:
            EvaluationError: a loss is not finite any more; the message has step and losses.
        """
        self.detector.train()
        step = 0
        for epoch in range(self.epochs):
            for images, targets in self.loader.epoch(epoch):
                loss = self._step(step, images, targets)
                step += 1
                report(step, self.steps, loss)

    def _step(self, step: int, images: Tensor, targets: Sequence[dict[str, Tensor]]) -> float:
        factor = learning_rate_factor(step, self.steps, self.settings.warmup_steps, self.settings.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * factor
        images = images.to(self.device, non_blocking=True)
        targets = [{name: value.to(self.device) for name, value in target.items()} for target in targets]
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=uses_bfloat16(self.settings.precision, self.device)
        ):
            losses: dict[str, Tensor] = self.detector.losses(images, targets)  # type: ignore[operator]
        total = torch.stack(list(losses.values())).sum()
        value = float(total.detach())
        if not math.isfinite(value):
            parts = ", ".join(f"{name} {float(part.detach()):.3g}" for name, part in losses.items())
            raise EvaluationError(f"the loss is not finite at step {step} of {self.steps}: {parts}")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        if self.settings.clip_norm:
            nn.utils.clip_grad_norm_(self.detector.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        return value


def make_optimizer(module: nn.Module, settings: TrainingSettings, learning_rate: float) -> torch.optim.Optimizer:
    """Make the optimiser; only tensors of two and more dimensions decay."""
    weights = [parameter for parameter in module.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in module.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate, betas=(settings.momentum, 0.999), fused=True)
    return torch.optim.SGD(groups, lr=learning_rate, momentum=settings.momentum, nesterov=settings.momentum > 0)


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Say whether the forward pass runs under bfloat16 autocast."""
    return precision == "bfloat16" or (precision == "auto" and device.type == "cuda")


@torch.no_grad()
def score(
    detector: "Detector",
    split: CachedSplit,
    metrics: Sequence[Metric],
    *,
    batch_size: int,
    device: torch.device,
    precision: str = "auto",
) -> dict[str, float]:
    """Detect on every image of a split and compute the metrics in original pixels.

    Args:
        detector: also an ``nn.Module``; it is left in evaluation mode.
        split: the images.
        metrics: each is reset first.
        batch_size: images per forward pass.
        device: where the detector lives.
        precision: see ``TrainingSettings``.

    Returns:
        All metrics' values by name.
    """
    cast("nn.Module", detector).eval()
    for metric in metrics:
        metric.reset()
    for first in range(0, len(split), batch_size):
        indices = range(first, min(first + batch_size, len(split)))
        images = normalize(split.images(indices), channels_last=True).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=uses_bfloat16(precision, device)):
            detections = detector.detect(images)
        predictions = [to_original_pixels(split, i, found) for i, found in zip(indices, detections, strict=True)]
        targets = [ground_truth(split, i) for i in indices]
        for metric in metrics:
            metric.process(predictions, targets)
    return {name: value for metric in metrics for name, value in metric.evaluate().items()}


def to_original_pixels(split: CachedSplit, index: int, detections: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scale detections from canvas to original pixels and cut them at the image."""
    width, height = split.size(index)
    boxes = detections["boxes"].cpu() / split.scale(index)
    boxes = boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height], dtype=boxes.dtype))
    return {"boxes": boxes, "scores": detections["scores"].cpu(), "labels": detections["labels"].cpu()}


def ground_truth(split: CachedSplit, index: int) -> dict[str, Tensor]:
    """Return what metrics compare with: boxes in original pixels, labels, ignore flags and the image's size."""
    return {
        "boxes": split.boxes(index),
        "labels": split.labels(index),
        "ignore": split.ignore(index),
        "size": torch.tensor(split.size(index)),
    }
