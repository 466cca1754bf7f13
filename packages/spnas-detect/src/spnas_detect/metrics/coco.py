"""COCO's average precision, computed by pycocotools."""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from spnas_detect.metrics._base import Values, checked_prediction, checked_target, to_array

_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")


class CocoMetric:
    """AP over IoU 0.50:0.95, AP50, AP75 and AP by object size, with at most 100 detections per image.

    An ignored annotation is a crowd region in COCO's sense: any number of detections inside it is neither
    right nor wrong. Sizes are box areas in original pixels: s below 32², m below 96², l above.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._images: list[dict[str, Any]] = []
        self._truths: list[dict[str, Any]] = []
        self._detections: list[dict[str, Any]] = []

    def process(self, predictions: Sequence[Mapping[str, Values]], targets: Sequence[Mapping[str, Values]]) -> None:
        """Take in a batch of images; see Metric.process."""
        for prediction, target in zip(predictions, targets, strict=True):
            boxes, scores, labels = checked_prediction(prediction, len(self._classes))
            true_boxes, true_labels, ignore = checked_target(target, len(self._classes))
            width, height = to_array(target["size"], np.int64).tolist()
            image = len(self._images) + 1
            self._images.append({"id": image, "width": width, "height": height})
            self._detections += [
                {**entry, "score": score}
                for entry, score in zip(_entries(image, boxes, labels), scores.tolist(), strict=True)
            ]
            self._truths += [
                {**entry, "iscrowd": int(is_crowd)}
                for entry, is_crowd in zip(_entries(image, true_boxes, true_labels), ignore, strict=True)
            ]

    def evaluate(self) -> dict[str, float]:
        """Compute AP, AP50, AP75, APs, APm, APl and ``AP50/<class>``, each in 0…1.

        Returns:
            The scores; nan where no annotation of a class or size exists.
        """
        if not self._images:
            return dict.fromkeys((*_NAMES, *(f"AP50/{name}" for name in self._classes)), float("nan"))
        with redirect_stdout(io.StringIO()):  # pycocotools prints its progress and its table
            evaluation = COCOeval(self._dataset(self._truths), self._dataset(self._detections), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        scores = {name: _score(value) for name, value in zip(_NAMES, evaluation.stats[:6], strict=True)}
        # precision is [IoU threshold, recall, class, area range, detections per image]
        at_50 = evaluation.eval["precision"][0, :, :, 0, -1]
        for index, name in enumerate(self._classes):
            scores[f"AP50/{name}"] = _score(float(at_50[:, index].mean()))
        return scores

    def _dataset(self, annotations: list[dict[str, Any]]) -> COCO:
        dataset = COCO()
        dataset.dataset = {
            "info": {},
            "images": self._images,
            "categories": [{"id": i, "name": name} for i, name in enumerate(self._classes, start=1)],
            # ids from 1: pycocotools takes a match with id 0 for no match; copies, because it adds to them
            "annotations": [{"id": i, **annotation} for i, annotation in enumerate(annotations, start=1)],
        }
        dataset.createIndex()
        return dataset


def _entries(image: int, boxes: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    sides = boxes[:, 2:] - boxes[:, :2]
    rows = np.concatenate([boxes[:, :2], sides], 1).tolist()
    areas = sides.prod(1).tolist()
    return [
        {"image_id": image, "category_id": label, "bbox": row, "area": area, "iscrowd": 0}
        for row, area, label in zip(rows, areas, labels.tolist(), strict=True)
    ]


def _score(value: float) -> float:
    return float(value) if value > -1 else float("nan")
