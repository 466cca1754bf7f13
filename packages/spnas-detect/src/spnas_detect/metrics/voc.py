"""Pascal VOC's average precision at IoU 0.5, after the development kit's protocol.

Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", section 4.2, and the kit's
``VOCevaldet``. One deviation: boxes here are (x1, y1, x2, y2) with x2 and y2 outside the box, so widths are
x2 - x1; the kit's inclusive corners, with their +1 pixel, describe the same rectangle, and the VOC reader has
converted them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from spnas_detect.metrics._base import Values
from spnas_detect.metrics.collection import Collection
from spnas_kernels import match_detections

_THRESHOLD = 0.5


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
        self._seen = Collection(len(self._classes))

    def process(self, predictions: Sequence[Mapping[str, Values]], targets: Sequence[Mapping[str, Values]]) -> None:
        """Take in a batch of images; see Metric.process."""
        self._seen.add(predictions, targets)

    def evaluate(self) -> dict[str, float]:
        """Compute ``VOC50`` (or ``VOC50-11``) and the same per class, ``VOC50/<class>``, each in 0…1.

        Returns:
            The scores; nan for a class without a counted annotation, which the mean leaves out.
        """
        detections, truths = self._seen.detections(), self._seen.truths()
        classes = len(self._classes)
        # Matching knows no classes: an image's boxes of each class are an image of their own.
        matches = match_detections(
            detections.boxes,
            detections.scores,
            detections.images * classes + detections.labels,
            truths.boxes,
            truths.images * classes + truths.labels,
            truths.ignore,
            iou_threshold=_THRESHOLD,
            policy="best-then-flag",
        )
        labels, outcomes = detections.labels[matches.order], matches.outcome[matches.order]
        counted = truths.labels[~truths.ignore]
        scores = [
            self._class_score(outcomes[labels == label], int((counted == label).sum()))
            for label in range(1, classes + 1)
        ]
        known = [score for score in scores if not np.isnan(score)]
        mean = float(np.mean(known)) if known else float("nan")
        per_class = {f"{self._name}/{name}": score for name, score in zip(self._classes, scores, strict=True)}
        return {self._name: mean, **per_class}

    def _class_score(self, outcomes: NDArray[np.int8], positives: int) -> float:
        """Score one class from its detections' outcomes, best score first."""
        if positives == 0:
            return float("nan")
        hits = np.cumsum(outcomes[outcomes >= 0], dtype=np.int64)
        return average_precision(
            hits / positives, hits / np.arange(1, len(hits) + 1), use_11_points=self._use_11_points
        )


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
