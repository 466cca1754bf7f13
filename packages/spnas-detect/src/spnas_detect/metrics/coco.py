"""COCO's average precision and recall, computed by hotcoco, which gives pycocotools' numbers."""

from collections.abc import Mapping, Sequence

import hotcoco
import numpy as np
from numpy.typing import NDArray

from spnas_detect.metrics._base import Values
from spnas_detect.metrics.collection import Collection
from spnas_detect.metrics.curves import CURVE_IOUS, PrecisionRecall

COCO_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""The twelve numbers, in the order in which COCO lists them."""


class CocoMetric:
    """COCO's twelve numbers.

    AP over IoU 0.50:0.95, AP50, AP75 and AP by object size, with at most 100 detections per image; AR, the recall
    over the same IoUs, with at most 1, 10 and 100 detections per image, and by object size.

    An ignored annotation is a crowd region in COCO's sense: any number of detections inside it is neither
    right nor wrong. Sizes are the annotated areas, those of masks, else the boxes', in original pixels: s below 32², m
    below 96², l above.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._seen = Collection(len(self._classes))

    def process(self, predictions: Sequence[Mapping[str, Values]], targets: Sequence[Mapping[str, Values]]) -> None:
        """Take in a batch of images; see Metric.process."""
        self._seen.add(predictions, targets)

    def evaluate(self) -> dict[str, float]:
        """Compute the twelve numbers, ``AP/<class>`` and ``AP50/<class>``, each in 0…1.

        Returns:
            The scores; nan where no annotation of a class or size exists.
        """
        if not len(self._seen):
            return dict.fromkeys((*COCO_NAMES, *self._per_class()), float("nan"))
        evaluation = self._run()
        scores = {name: _score(value) for name, value in zip(COCO_NAMES, evaluation.stats, strict=True)}
        precision = _of_all_sizes(evaluation, "precision")
        values = [*precision.mean((0, 1)), *precision[0].mean(0)]
        return scores | {name: _score(value) for name, value in zip(self._per_class(), values, strict=True)}

    def precision_recall(self) -> PrecisionRecall:
        """Compute the curves behind AP50 and AP75.

        Raises:
            ValueError: there is no image.
        """
        if not len(self._seen):
            raise ValueError("there is no image: a curve needs one")
        evaluation = self._run()
        places = [int(np.abs(np.asarray(evaluation.params.iou_thrs) - iou).argmin()) for iou in CURVE_IOUS]
        precision, scores = (_of_all_sizes(evaluation, name)[places] for name in ("precision", "scores"))
        is_known = precision >= 0  # -1 where a class has no annotation that counts
        return PrecisionRecall(
            self._classes,
            CURVE_IOUS,
            np.asarray(evaluation.params.rec_thrs, np.float64),
            np.where(is_known, precision, np.nan),
            np.where(is_known, scores, np.nan),
        )

    def _per_class(self) -> list[str]:
        return [f"{metric}/{name}" for metric in ("AP", "AP50") for name in self._classes]

    def _run(self) -> hotcoco.COCOeval:
        truths, detections = self._seen.truths(), self._seen.detections()
        annotated = hotcoco.COCO.from_arrays(
            [{"id": i} for i in range(1, len(self._seen) + 1)],
            [{"id": i, "name": name} for i, name in enumerate(self._classes, start=1)],
            truths.images + 1,
            truths.labels,
            _with_sides(truths.boxes),
            area=truths.areas,
            iscrowd=truths.ignore,
        )
        rows = (detections.images + 1, _with_sides(detections.boxes), detections.scores, detections.labels)
        evaluation = hotcoco.COCOeval(annotated, annotated.load_res(np.column_stack(rows)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summary_lines()  # fills the statistics, as summarize() does, but prints nothing
        return evaluation


def _of_all_sizes(evaluation: hotcoco.COCOeval, what: str) -> NDArray[np.float64]:
    """Return [IoU threshold, recall, class], for objects of all sizes and up to 100 detections."""
    found: NDArray[np.float64] = np.asarray((evaluation.eval or {})[what], np.float64)[:, :, :, 0, -1]
    return found


def _with_sides(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn (x1, y1, x2, y2) into (x1, y1, width, height)."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)


def _score(value: float) -> float:
    return float(value) if value > -1 else float("nan")
