"""Scoring a detector on a split."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from spnas_detect.data.cache import CachedSplit
from spnas_detect.data.finishing import finish
from spnas_detect.metrics import Metric, Values
from spnas_detect.processes import ALONE, Processes
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
    processes: Processes = ALONE,
    tell: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, float]:
    """Detect on every image of a split and compute the metrics in original pixels.

    Several processes share out whole batches, so that each detects what one alone would; the first one then has all
    detections in the order of the images.

    Args:
        detector: also an ``nn.Module``; it is left in evaluation mode.
        split: the images.
        metrics: each is reset first.
        batch_size: images per forward pass.
        device: where the detector lives.
        precision: see ``TrainingSettings``.
        processes: that score together; each has the same weights.
        tell: called after each batch with the number of images that are done, in all processes, and of all.

    Returns:
        All metrics' values by name; nothing in processes other than the first.
    """
    cast("nn.Module", detector).eval()
    for metric in metrics:
        metric.reset()
    batches = [range(first, min(first + batch_size, len(split))) for first in range(0, len(split), batch_size)]
    kept: list[tuple[int, _Scored]] = []
    for number in range(processes.rank, len(batches), processes.count):
        pixels = split.images(batches[number])  # first: a split that decodes while it is read knows the sizes then
        sizes = torch.tensor([split.resized(i)[::-1] for i in batches[number]], dtype=torch.float32, device=device)
        images = finish(pixels.to(device), sizes, channels_last=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=uses_bfloat16(precision, device)):
            detections = detector.detect(images, sizes)
        found = zip(batches[number], detections.images(), strict=True)
        predictions = [to_original_pixels(split, i, one) for i, one in found]
        scored: _Scored = predictions, [ground_truth(split, i) for i in batches[number]]
        if processes.count == 1:
            _take_in(metrics, scored)
        else:
            kept.append((number, scored))
        tell(min((number + processes.count - processes.rank) * batch_size, len(split)), len(split))
    if processes.count > 1:
        everything = chain.from_iterable(processes.collect(kept))
        for _, scored in sorted(everything, key=lambda one: one[0]):
            _take_in(metrics, scored)
    if not processes.is_first:
        return {}
    return {name: value for metric in metrics for name, value in metric.evaluate().items()}


_Scored = tuple[list[dict[str, Tensor]], list[dict[str, Values]]]
"""Predictions and targets of a batch, as metrics take them."""


def _take_in(metrics: Sequence[Metric], scored: _Scored) -> None:
    for metric in metrics:
        metric.process(*scored)


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
