"""Pascal VOC's average precision at IoU 0.5, after the development kit's protocol.

Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", section 4.2, and the kit's
``VOCevaldet``. One deviation: boxes here are (x1, y1, x2, y2) with x2 and y2 outside the box, so widths are
x2 - x1; the kit's inclusive corners, with their +1 pixel, describe the same rectangle, and the VOC reader has
converted them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spnas_detect.metrics._base import Values, checked_prediction, checked_target

_THRESHOLD = 0.5

_Image = tuple[NDArray[Any], ...]


class VocMetric:
    """Mean average precision at IoU ≥ 0.5, under the area of the precision envelope or at 11 recalls.

    A detection takes the annotation of its class and image with the greatest IoU (the first of equals),
    whether or not another detection has it. Below 0.5 it is a false positive; at an ignored annotation it
    does not count; the first detection by score at an annotation is a true positive, all others there are
    false positives. Equal scores keep the order in which they were processed.
    """

    def __init__(self, classes: Sequence[str], *, use_11_points: bool = False) -> None:
        self._classes = tuple(classes)
        self._use_11_points = use_11_points
        self._name = "VOC50-11" if use_11_points else "VOC50"
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._images: list[tuple[_Image, _Image]] = []

    def process(self, predictions: Sequence[Mapping[str, Values]], targets: Sequence[Mapping[str, Values]]) -> None:
        """Take in a batch of images; see Metric.process."""
        for prediction, target in zip(predictions, targets, strict=True):
            detections = checked_prediction(prediction, len(self._classes))
            self._images.append((detections, checked_target(target, len(self._classes))))

    def evaluate(self) -> dict[str, float]:
        """Compute ``VOC50`` (or ``VOC50-11``) and the same per class, ``VOC50/<class>``, each in 0…1.

        Returns:
            The scores; nan for a class without a counted annotation, which the mean leaves out.
        """
        scores = [self._class_score(label) for label in range(1, len(self._classes) + 1)]
        known = [score for score in scores if not np.isnan(score)]
        mean = float(np.mean(known)) if known else float("nan")
        per_class = {f"{self._name}/{name}": score for name, score in zip(self._classes, scores, strict=True)}
        return {self._name: mean, **per_class}

    def _class_score(self, label: int) -> float:
        all_scores: list[NDArray[Any]] = []
        all_owners: list[NDArray[np.int64]] = []
        all_ignored: list[NDArray[np.bool_]] = [np.zeros(0, np.bool_)]
        seen = 0
        for (boxes, scores, labels), (true_boxes, true_labels, ignore) in self._images:
            detected, wanted = labels == label, true_labels == label
            owner = _best_match(boxes[detected], true_boxes[wanted])
            all_scores.append(scores[detected])
            all_owners.append(np.where(owner >= 0, owner + seen, -1))
            all_ignored.append(ignore[wanted])
            seen += int(wanted.sum())
        is_ignored = np.concatenate(all_ignored)
        positives = int((~is_ignored).sum())
        if positives == 0:
            return float("nan")
        order = np.argsort(-np.concatenate(all_scores), kind="stable")
        owners = np.concatenate(all_owners)[order]  # annotation of each detection, best score first
        counted = np.ones(len(owners), np.bool_)
        counted[owners >= 0] = ~is_ignored[owners[owners >= 0]]
        owners = owners[counted]
        is_hit = np.zeros(len(owners), np.bool_)
        _, first = np.unique(owners, return_index=True)
        is_hit[first] = True
        is_hit &= owners >= 0
        hits = np.cumsum(is_hit)
        recall = hits / positives
        precision = hits / np.arange(1, len(hits) + 1)
        return average_precision(recall, precision, use_11_points=self._use_11_points)


def average_precision(
    recall: NDArray[np.float64], precision: NDArray[np.float64], *, use_11_points: bool = False
) -> float:
    """Summarise a precision-recall curve.

    Args:
        recall: [K], ascending.
        precision: [K].
        use_11_points: whether the mean of the best precision at recall ≥ 0, 0.1, …, 1 is taken (VOC 2007),
            and not the area under the envelope (VOC 2010 and later).

    Returns:
        A value in 0…1; 0 for an empty curve.

    Example: one hit and then one miss, of two annotations: recall 0.5, 0.5 and precision 1, 0.5. The area
    is 0.5 · 1 = 0.5; at 11 points, recalls 0 … 0.5 have precision 1 and the others 0: 6/11.
    """
    if use_11_points:
        # a tenth has no exact binary form: 3 hits of 10 must reach the recall 0.3
        levels = np.linspace(0, 1, 11) - 1e-12
        best = [float(precision[recall >= level].max(initial=0)) for level in levels]
        return float(np.mean(best))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(recall, prepend=0.0)
    return float((steps * envelope).sum())


def _best_match(boxes: NDArray[Any], truths: NDArray[Any]) -> NDArray[np.int64]:
    """Return per box the truth with the greatest IoU, or -1 where that is below the threshold."""
    if len(truths) == 0 or len(boxes) == 0:
        return np.full(len(boxes), -1, np.int64)
    low = np.maximum(boxes[:, None, :2], truths[None, :, :2])  # [K, G, 2]
    high = np.minimum(boxes[:, None, 2:], truths[None, :, 2:])
    overlap = np.clip(high - low, 0, None).prod(2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    true_areas = (truths[:, 2:] - truths[:, :2]).prod(1)
    union = areas[:, None] + true_areas[None] - overlap
    iou = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    best = iou.argmax(1)
    return np.where(iou[np.arange(len(boxes)), best] >= _THRESHOLD, best, -1).astype(np.int64)
