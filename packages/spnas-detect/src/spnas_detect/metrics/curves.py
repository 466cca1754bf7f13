"""Precision against recall, as COCO's evaluation has it; ``docs/metrics.md`` defines both."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CURVE_IOUS = (0.5, 0.75)
"""Thresholds that curves are given for."""

_HEADER = ("class", "iou", "recall", "precision", "score")


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """The curves of all classes at some thresholds, with at most 100 detections per image, objects of all sizes.

    Attributes:
        classes: names of the labels 1…C.
        ious: [T], the thresholds.
        recalls: float64[R], 0, 0.01, …, 1.
        precision: float64[T, R, C], the best precision at this recall or above, 0 where it is not reached; NaN for a
            class without an annotation that counts.
        scores: float64[T, R, C], the least score of the detections that reach the recall; 0 where it is not reached,
            NaN likewise.
    """

    classes: tuple[str, ...]
    ious: tuple[float, ...]
    recalls: NDArray[np.float64]
    precision: NDArray[np.float64]
    scores: NDArray[np.float64]

    @property
    def average(self) -> NDArray[np.float64]:
        """AP, float64[T, C], NaN for a class without an annotation that counts."""
        average: NDArray[np.float64] = self.precision.mean(1)
        return average

    def csv(self) -> str:
        """Return a line per class, threshold and recall; what is undefined is left empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_HEADER)
        writer.writerows(self._rows())
        return text.getvalue()

    def _rows(self) -> Iterator[Sequence[str]]:
        for label, name in enumerate(self.classes):
            for place, iou in enumerate(self.ious):
                found = zip(self.recalls, self.precision[place, :, label], self.scores[place, :, label], strict=True)
                for recall, precision, score in found:
                    yield name, f"{iou:g}", f"{recall:.2f}", _cell(precision), _cell(score)


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"
