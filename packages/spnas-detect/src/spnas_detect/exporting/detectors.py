"""Whole detectors as networks that can be exported: from normalised images to boxes, post-processing included."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from spnas_core.errors import ExportError
from spnas_core.exporting import Exportable
from spnas_detect.data import finish, letterbox, read_image
from spnas_detect.data.finishing import MEAN, STD
from spnas_detect.detectors import DetectorDescription
from spnas_detect.exporting.plain import PLAIN
from spnas_detect.heads.operators import KERNELS, using

NEAR_TIES = 0.01
"""Share of detections that may differ: where two scores or an IoU and its threshold are equal but for rounding, other
kernels decide otherwise."""

CLOSE = 1e-4
"""By how much the scores of one detection may differ, and its boxes in parts of the canvas."""


class DetectorOutputs(nn.Module):
    """A detector whose detections leave as a tuple; while it is exported, it computes them in plain tensor operators.

    Args:
        detector: in evaluation mode.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map Tensor[N, 3, H, W] to boxes [N, K, 4], scores [N, K], labels [N, K] and counts [N]."""
        with using(PLAIN if torch.compiler.is_exporting() else KERNELS):
            found = self.detector.detect(images)  # type: ignore[operator]
        return found.boxes, found.scores, found.labels, found.counts


def exportable_detector(
    detector: nn.Module, description: DetectorDescription, images: Tensor | None = None
) -> Exportable:
    """Return a detector as exporters take it.

    It gives ``boxes``, float32[N, K, 4] of (x1, y1, x2, y2) in pixels of its input, clipped to it, ``scores``,
    float32[N, K], best first, ``labels``, int64[N, K] that count the classes from 1, and ``counts``, int64[N]; rows
    behind an image's count are zeros.

    Args:
        detector: on the CPU, with ``spnas_detect.detectors.Detector``'s methods; it is brought into evaluation mode.
        description: what its weights file says.
        images: an example, float32[N, 3, H, W], normalised; noise on the detector's canvas by default.
    """
    if images is None:
        images = noise(description.image_size)
    height, width = images.shape[-2:]
    facts = {
        "architecture": description.architecture,
        "classes": list(description.classes),
        "image_size": [width, height],
        "mean": list(MEAN),
        "std": list(STD),
        "boxes": "x1, y1, x2, y2 in pixels of the input",
        "labels": "1 is the first class; 0 is padding behind an image's count",
    }
    title = f"detector {description.detector.detector} on {description.architecture}"
    names = ("boxes", "scores", "labels", "counts")
    return Exportable(DetectorOutputs(detector).eval(), images, names, title, facts, compare_detections)


def noise(image_size: tuple[int, int], batch: int = 1) -> Tensor:
    """Draw an example of (width, height), always the same: float32[batch, 3, height, width]."""
    width, height = image_size
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


def photograph(file: Path, image_size: tuple[int, int], batch: int = 1) -> Tensor:
    """Read an image as an example: scaled onto (width, height) as detection does, float32[batch, 3, height, width].

    Raises:
        DataError: it cannot be read.
    """
    width, height = image_size
    fitted, _ = letterbox(read_image(file), image_size)
    canvas = torch.zeros(1, 3, height, width, dtype=torch.uint8)
    canvas[0, :, : fitted.shape[1], : fitted.shape[2]] = fitted
    sizes = torch.tensor([fitted.shape[1:]], dtype=torch.float32)
    return finish(canvas, sizes).repeat(batch, 1, 1, 1)


def compare_detections(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """Find every detection of either side on the other one: of the same class, with nearly the same box and score.

    Args:
        expected: boxes, scores, labels and counts of N images.
        found: likewise.

    Returns:
        The largest difference of those that were found: of scores, and of coordinates in parts of the largest.

    Raises:
        ExportError: more than ``NEAR_TIES`` of them were not, and more than one.
    """
    side = max(float(expected[0].max()), 1.0)
    worst, total, missing = 0.0, 0, 0
    for image in range(len(expected[3])):
        here, there = (_of_image(part, image) for part in (expected, found))
        apart = torch.maximum(
            (here[0][:, None] - there[0]).abs().amax(-1) / side, (here[1][:, None] - there[1]).abs()
        ).masked_fill(here[2][:, None] != there[2], torch.inf)
        for nearest in (_nearest(apart), _nearest(apart.T)):
            is_found = nearest <= CLOSE
            total, missing = total + len(nearest), missing + int((~is_found).sum())
            if is_found.any():
                worst = max(worst, float(nearest[is_found].max()))
    if missing > max(1, NEAR_TIES * total):
        raise ExportError(f"{missing} of {total} detections of the two sides are on one of them alone")
    return worst


def _of_image(part: Sequence[Tensor], image: int) -> tuple[Tensor, Tensor, Tensor]:
    count = int(part[3][image])
    return part[0][image, :count], part[1][image, :count], part[2][image, :count]


def _nearest(apart: Tensor) -> Tensor:
    return apart.amin(1) if apart.shape[1] else apart.new_full((len(apart),), torch.inf)
