"""What is taken for what: the confusion matrix of a detector; ``docs/metrics.md`` defines it."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spnas_detect.inference.matching import FALSE, IOU_THRESHOLD, TRUE, ImageMatches
from spnas_kernels import match_detections

MISSED, BACKGROUND = "missed", "background"
"""What the last column and the last row are called."""


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often objects of a class were taken for one of another.

    Attributes:
        classes: names of the labels 1…C.
        counts: int64[C + 1, C + 1]. Row i, column j: annotations of class i that were detected as j. The last column
            counts annotations that were not detected, the last row detections where nothing was annotated. The sum of a
            class's row is the number of its annotations that count, that of a column of its detections that do.
    """

    classes: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def shares(self) -> NDArray[np.float64]:
        """Counts as shares of their row, float64[C + 1, C + 1]; NaN in a row without any."""
        sums = self.counts.sum(1, keepdims=True).astype(np.float64)
        shares: NDArray[np.float64] = np.full(self.counts.shape, np.nan)
        np.divide(self.counts, sums, out=shares, where=sums > 0)
        return shares

    def mistakes(self, most: int) -> list[tuple[str, str, int]]:
        """Return (class, class that it was taken for, count), the most frequent first; background apart."""
        inner = self.counts[:-1, :-1].copy()
        np.fill_diagonal(inner, 0)
        order = np.argsort(-inner, axis=None, kind="stable")[:most]
        rows, columns = np.unravel_index(order, inner.shape)
        return [
            (self.classes[row], self.classes[column], int(inner[row, column]))
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
            if inner[row, column]
        ]

    def csv(self) -> str:
        """Return a line per class and one for the background; the first column names the annotations' class."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("annotated", *self.classes, MISSED))
        for name, row in zip((*self.classes, BACKGROUND), self.counts.tolist(), strict=True):
            writer.writerow((name, *row))
        return text.getvalue()


def confusion(matches: Sequence[ImageMatches], classes: Sequence[str]) -> Confusion:
    """Count what was taken for what.

    Found annotations and their detections are those of the matches. Then the false detections of an image, best first,
    each take the annotation of another class with the greatest IoU ≥ 0.5 that nobody has found or taken; of equal
    overlaps the one that comes first.

    Args:
        matches: of all images.
        classes: names of the labels 1…C.
    """
    size = len(classes) + 1
    counts: NDArray[np.int64] = np.zeros((size, size), np.int64)
    for image in matches:
        counted = ~image.ignore
        np.add.at(counts, (image.true_labels[counted & image.found] - 1,) * 2, 1)
        lost, false = np.flatnonzero(counted & ~image.found), np.flatnonzero(image.outcome == FALSE)
        truth, taken = _across_classes(image, lost, false)
        np.add.at(counts, (image.true_labels[truth] - 1, image.labels[taken] - 1), 1)
        np.add.at(counts[:, -1], image.true_labels[np.setdiff1d(lost, truth)] - 1, 1)
        np.add.at(counts[-1], image.labels[np.setdiff1d(false, taken)] - 1, 1)
    return Confusion(tuple(classes), counts)


def _across_classes(
    image: ImageMatches, lost: NDArray[np.int64], false: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return annotations and the false detections that took them, whatever their classes; pairs in one order."""
    found = match_detections(
        image.boxes[false].astype(np.float64),
        image.scores[false].astype(np.float64),
        np.zeros(len(false), np.int64),
        image.true_boxes[lost].astype(np.float64),
        np.zeros(len(lost), np.int64),
        np.zeros(len(lost), np.bool_),
        iou_threshold=IOU_THRESHOLD,
    )
    hits = np.flatnonzero(found.outcome == TRUE)
    return lost[found.truth[hits]], false[hits]
