"""Scoring a detector on a split."""

from collections.abc import Iterator, Sequence
from itertools import takewhile
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
        split: the images; those of one canvas are detected on together.
        metrics: each is reset first, and gets the images in their order.
        batch_size: images per forward pass.
        device: where the detector lives.
        precision: see ``TrainingSettings``.

    Returns:
        All metrics' values by name.
    """
    cast("nn.Module", detector).eval()
    for metric in metrics:
        metric.reset()
    found: dict[int, dict[str, Tensor]] = {}
    told = 0
    for indices in batches_by_canvas(split, batch_size):
        images = split.images(indices).to(device)
        sizes = torch.tensor([split.resized(i)[::-1] for i in indices], dtype=torch.float32, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=uses_bfloat16(precision, device)):
            detections = detector.detect(finish(images, sizes, channels_last=True), sizes)
        for index, one in zip(indices, detections.images(), strict=True):
            found[index] = to_original_pixels(split, index, one)
        ready = list(takewhile(found.__contains__, range(told, len(split))))
        told += len(ready)
        predictions, targets = [found.pop(i) for i in ready], [ground_truth(split, i) for i in ready]
        for metric in metrics:
            metric.process(predictions, targets)
    return {name: value for metric in metrics for name, value in metric.evaluate().items()}


def batches_by_canvas(split: CachedSplit, batch_size: int) -> Iterator[list[int]]:
    """Cut a split into batches in its order, but each of one canvas; only the last of each canvas may be smaller."""
    waiting: dict[bool, list[int]] = {False: [], True: []}
    for index in range(len(split)):
        side = split.is_transposed(index)
        waiting[side].append(index)
        if len(waiting[side]) == batch_size:
            yield waiting[side]
            waiting[side] = []
    yield from filter(None, waiting.values())


def to_original_pixels(split: CachedSplit, index: int, detections: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scale detections from canvas to original pixels and cut them at the image."""
    width, height = split.size(index)
    boxes = detections["boxes"].cpu() / split.scale(index)
    boxes = boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height], dtype=boxes.dtype))
    return {"boxes": boxes, "scores": detections["scores"].cpu(), "labels": detections["labels"].cpu()}


def ground_truth(split: CachedSplit, index: int) -> dict[str, Values]:
    """Return what metrics compare with: boxes in original pixels, labels, ignore flags, tags and the image's size."""
    return {
        "boxes": split.boxes(index),
        "labels": split.labels(index),
        "ignore": split.ignore(index),
        "tags": split.tags(index),
        "size": torch.tensor(split.size(index)),
    }
