"""Scoring a detector on a split."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from spnas_detect.data.cache import CachedSplit
from spnas_detect.data.finishing import finish
from spnas_detect.metrics import Metric, Values
from spnas_detect.training.precision import uses_bfloat16

if TYPE_CHECKING:
    from spnas_detect.detectors import Detector


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
        sizes = torch.tensor([split.resized(i)[::-1] for i in indices], dtype=torch.float32, device=device)
        images = finish(split.images(indices).to(device), sizes, channels_last=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=uses_bfloat16(precision, device)):
            detections = detector.detect(images, sizes)
        found = detections.images()
        predictions = [to_original_pixels(split, i, one) for i, one in zip(indices, found, strict=True)]
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


def ground_truth(split: CachedSplit, index: int) -> dict[str, Values]:
    """Return what metrics compare with, see ``Metric.process``; boxes in original pixels."""
    return {
        "boxes": split.boxes(index),
        "labels": split.labels(index),
        "ignore": split.ignore(index),
        "tags": split.tags(index),
        "own_boxes": split.own_boxes(index),
        "areas": split.areas(index),
        "size": torch.tensor(split.size(index)),
    }
