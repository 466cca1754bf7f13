"""From pixels of any size to boxes in those pixels."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spnas_detect.data import finish, letterbox
from spnas_detect.data.canvases import Orientation, canvas_of
from spnas_detect.data.fitting import to_image
from spnas_detect.detectors import Detector
from spnas_detect.heads.results import known_detections
from spnas_detect.inference.memory import explained_memory
from spnas_detect.training.precision import uses_bfloat16


def detect(
    detector: Detector,
    images: Sequence[NDArray[np.uint8]],
    image_size: tuple[int, int],
    orientation: Orientation,
    device: torch.device,
    precision: str = "auto",
    *,
    sizes: Sequence[tuple[int, int]] | None = None,
) -> list[dict[str, Tensor]]:
    """Detect objects in a few images, as scoring on a split does: those of one canvas in one batch.

    Args:
        detector: in evaluation mode.
        images: uint8[H, W, 3] RGB, each of its own size.
        image_size: (width, height) of the canvas that they are scaled to.
        orientation: whether those of the other orientation get the transposed one.
        device: where the detector lives.
        precision: see ``TrainingSettings``.
        sizes: the whole (width, height) of each, where they were decoded at a part of that.

    Returns:
        Per image, best first: ``boxes`` float32[K, 4] of (x1, y1, x2, y2) in pixels of the image and inside it,
        ``scores`` [K], ``labels`` [K] in 1…C. What lies in the canvas's padding altogether is left out.

    Raises:
        ConfigError: a batch does not fit in memory.
    """
    by_canvas: dict[tuple[int, int], list[int]] = {}
    whole = [(image.shape[1], image.shape[0]) for image in images] if sizes is None else sizes
    for index, size in enumerate(whole):
        by_canvas.setdefault(canvas_of(size, image_size, orientation), []).append(index)
    found: dict[int, dict[str, Tensor]] = {}
    for canvas, indices in by_canvas.items():
        batch = [(images[index], whole[index]) for index in indices]
        found |= zip(indices, _detect(detector, batch, canvas, device, precision), strict=True)
    return [found[index] for index in range(len(images))]


@torch.no_grad()
def _detect(
    detector: Detector,
    images: Sequence[tuple[NDArray[np.uint8], tuple[int, int]]],
    image_size: tuple[int, int],
    device: torch.device,
    precision: str,
) -> list[dict[str, Tensor]]:
    """Detect objects in one batch of images of one canvas, each with its whole (width, height)."""
    width, height = image_size
    sizes: list[tuple[int, int]] = []
    with explained_memory(len(images), image_size, torch.device("cpu")):
        canvases = torch.zeros(len(images), 3, height, width, dtype=torch.uint8)
        for canvas, (image, whole) in zip(canvases, images, strict=True):
            fitted, _ = letterbox(image, image_size, whole)
            canvas[:, : fitted.shape[1], : fitted.shape[2]] = fitted
            sizes.append((fitted.shape[1], fitted.shape[2]))
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=uses_bfloat16(precision, device))
    with explained_memory(len(images), image_size, device), autocast:
        occupied = torch.tensor(sizes, dtype=torch.float32, device=device)
        batch = finish(canvases.to(device), occupied, channels_last=True)
        detections = known_detections(cast("nn.Module", detector), detector.detect(batch, occupied), len(images))
    return [
        _in_image(found, whole, size[::-1])
        for found, (_, whole), size in zip(detections.images(), images, sizes, strict=True)
    ]


def _in_image(found: Mapping[str, Tensor], whole: tuple[int, int], fitted: tuple[int, int]) -> dict[str, Tensor]:
    """Scale boxes from canvas to image, cut them there, and leave out those of which nothing remains."""
    boxes = to_image(found["boxes"], whole, fitted)
    kept = (boxes[:, 2:] > boxes[:, :2]).all(1)
    return {"boxes": boxes[kept], "scores": found["scores"][kept], "labels": found["labels"][kept]}
