"""Which boxes of an image are found, and which detections are false: for people, beside the metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spnas_kernels import match_detections

IOU_THRESHOLD = 0.5

TRUE, FALSE = 1, 0


@dataclass(frozen=True, eq=False)
class ImageMatches:
    """One image's annotations and detections, and what became of them.

    Attributes:
        true_boxes: float32[G, 4] of (x1, y1, x2, y2) in pixels of the image.
        true_labels: int64[G] in 1…C.
        ignore: bool[G], annotations that do not count.
        found: bool[G], annotations that a detection has found.
        boxes: float32[K, 4] of the detections that reach the score threshold, best first.
        scores: float32[K].
        labels: int64[K] in 1…C.
        outcome: int8[K]: 1 true, 0 false, -1 inside an ignored annotation.
    """

    true_boxes: NDArray[np.float32]
    true_labels: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    found: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    outcome: NDArray[np.int8]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Annotations that count, those of them that are found, and false detections."""
        return int((~self.ignore).sum()), int(self.found[~self.ignore].sum()), int((self.outcome == FALSE).sum())

    @property
    def f1(self) -> float:
        """Harmonic mean of the shares of found annotations and of true detections; 1 where there is neither."""
        boxes, found, false = self.counts
        return 1.0 if boxes + false == 0 else 2 * found / (boxes + found + false)


def match_images(
    predictions: Sequence[Mapping[str, Tensor]],
    targets: Sequence[Mapping[str, Tensor]],
    classes: int,
    score_threshold: float,
) -> list[ImageMatches]:
    """Match detections to annotations at IoU ≥ 0.5, per image and class, as COCO does with crowds.

    By falling score, each detection takes the free annotation of its class with the greatest IoU; failing that, an
    ignored one that half of the detection lies in, which takes any number.

    Args:
        predictions: per image ``boxes`` [K, 4], ``scores`` [K] and ``labels`` [K] in 1…classes, best first.
        targets: per image ``boxes`` [G, 4], ``labels`` [G] in 1…classes and ``ignore`` bool[G].
        classes: number of classes.
        score_threshold: detections below it are left out.
    """
    detections = [_reaching(prediction, score_threshold) for prediction in predictions]
    truths = [{name: target[name].numpy() for name in ("boxes", "labels", "ignore")} for target in targets]
    ignore = _joined(truths, "ignore", np.bool_)
    matches = match_detections(
        _joined(detections, "boxes", np.float64).reshape(-1, 4),
        _joined(detections, "scores", np.float64),
        _groups(detections, classes),
        _joined(truths, "boxes", np.float64).reshape(-1, 4),
        _groups(truths, classes),
        ignore,
        iou_threshold=IOU_THRESHOLD,
        regions=ignore,
    )
    is_found = np.zeros(len(ignore), np.bool_)
    is_found[matches.truth[matches.outcome == TRUE]] = True
    return [
        ImageMatches(truth["boxes"], truth["labels"], truth["ignore"], hits, **detected, outcome=outcome)
        for truth, hits, detected, outcome in zip(
            truths, _split(is_found, truths), detections, _split(matches.outcome, detections), strict=True
        )
    ]


def _reaching(prediction: Mapping[str, Tensor], threshold: float) -> dict[str, NDArray[Any]]:
    kept = prediction["scores"] >= threshold
    return {name: prediction[name][kept].numpy() for name in ("boxes", "scores", "labels")}


def _joined(images: Sequence[Mapping[str, NDArray[Any]]], name: str, dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *(image[name].astype(dtype).reshape(-1) for image in images)])


def _groups(images: Sequence[Mapping[str, NDArray[Any]]], classes: int) -> NDArray[np.int64]:
    """Number the pairs of image and label: nothing is matched across them."""
    numbers = np.arange(len(images), dtype=np.int64) * (classes + 1)
    counts = [len(image["labels"]) for image in images]
    groups: NDArray[np.int64] = np.repeat(numbers, counts) + _joined(images, "labels", np.int64)
    return groups


def _split(values: NDArray[Any], images: Sequence[Mapping[str, NDArray[Any]]]) -> list[NDArray[Any]]:
    """Cut what was joined into its images again."""
    ends = np.cumsum([len(image["labels"]) for image in images], dtype=np.int64)
    return np.split(values, ends)[: len(images)]
