"""Scoring a detector on a split."""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from spnas_detect.data.cache import CachedSplit
from spnas_detect.data.finishing import finish
from spnas_detect.data.fitting import to_image
from spnas_detect.heads.results import known_detections
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
        split: the images; those of one canvas are detected on together.
        metrics: each is reset first, and gets the images in their order.
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
    batches = list(batches_by_canvas(split, batch_size))
    ends = list(accumulate(map(len, batches)))
    found: dict[int, _Scored] = {}
    taken = 0
    for number in range(processes.rank, len(batches), processes.count):
        indices = batches[number]
        images = split.images(indices).to(device)  # first: a split that decodes while it is read knows the sizes then
        sizes = torch.tensor([split.resized(i)[::-1] for i in indices], dtype=torch.float32, device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=uses_bfloat16(precision, device)):
            found_now = detector.detect(finish(images, sizes, channels_last=True), sizes)
        detections = known_detections(cast("nn.Module", detector), found_now, len(indices))
        for index, one in zip(indices, detections.images(), strict=True):
            found[index] = to_original_pixels(split, index, one), ground_truth(split, index)
        if processes.count == 1:
            taken += _take_in(metrics, found, range(taken, len(split)))
        tell(ends[min(number + processes.count - processes.rank, len(batches)) - 1], len(split))
    if processes.count > 1:
        for others in processes.collect(found):
            found |= others
        if not processes.is_first:
            return {}
        _take_in(metrics, found, range(len(split)))
    return {name: value for metric in metrics for name, value in metric.evaluate().items()}


_Scored = tuple[dict[str, Tensor], dict[str, Values]]
"""Prediction and target of an image, as metrics take them."""


def _take_in(metrics: Sequence[Metric], found: dict[int, _Scored], wanted: range) -> int:
    """Hand on the images that are next, as far as they are found; returns how many."""
    ready = list(takewhile(found.__contains__, wanted))
    scored = [found.pop(index) for index in ready]
    for metric in metrics:
        metric.process([prediction for prediction, _ in scored], [target for _, target in scored])
    return len(ready)


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
    boxes = to_image(detections["boxes"].cpu(), split.size(index), split.resized(index))
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
