"""What a metric has seen: the images' boxes, checked once and joined into arrays."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spnas_detect.data._base import object_areas
from spnas_detect.metrics._base import Values


class Detections(NamedTuple):
    """Detected boxes of many images, in the order in which they came.

    Attributes:
        boxes: float64[D, 4] of (x1, y1, x2, y2) in original pixels.
        scores: float64[D].
        labels: int64[D] in 1…C.
        images: int64[D], the image's number from 0.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]

    def take(self, chosen: NDArray[np.bool_]) -> "Detections":
        """Leave out the others, their order kept."""
        places = np.flatnonzero(chosen)  # several times quicker than the flags themselves
        return Detections(self.boxes[places], self.scores[places], self.labels[places], self.images[places])


class Truths(NamedTuple):
    """Annotated boxes of many images, in the order in which they came.

    Attributes:
        boxes: float64[G, 4] of (x1, y1, x2, y2) in original pixels.
        labels: int64[G] in 1…C.
        ignore: bool[G], where neither a hit nor a miss counts.
        own_boxes: float64[G, 4], those of the objects without what belongs to them.
        areas: float64[G] in square pixels, of the objects.
        images: int64[G], the image's number from 0.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    own_boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    images: NDArray[np.int64]


_BOX = np.dtype((np.float64, 4))
_OF_DETECTIONS = (_BOX, np.dtype(np.float64), np.dtype(np.int64))
_OF_TRUTHS = (_BOX, np.dtype(np.int64), np.dtype(np.bool_), _BOX, np.dtype(np.float64))
_NUMBER = np.dtype(np.int64)


class Collection:
    """Detections and truths of all images since it was made; its length is the number of images.

    Args:
        classes: C, how many labels there are.
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._images = 0
        self._detections: list[Detections] = []
        self._truths: list[Truths] = []

    def __len__(self) -> int:
        return self._images

    def add(self, predictions: Sequence[Mapping[str, Values]], targets: Sequence[Mapping[str, Values]]) -> None:
        """Take in a batch, all of it or nothing; see ``Metric.process``."""
        found: list[tuple[NDArray[Any], ...]] = []
        true: list[tuple[NDArray[Any], ...]] = []
        for prediction, target in zip(predictions, targets, strict=True):
            boxes, scores, labels = _columns(prediction, "scores", "labels")
            if not len(boxes) == len(scores) == len(labels):
                raise ValueError(f"a prediction has {len(boxes)} boxes, {len(scores)} scores, {len(labels)} labels")
            found.append((boxes, scores, labels))
            boxes, labels, ignore = _columns(target, "labels", "ignore")
            if not len(boxes) == len(labels) == len(ignore):
                raise ValueError(f"a target has {len(boxes)} boxes, {len(labels)} labels, {len(ignore)} ignore flags")
            own = _array(target["own_boxes"]).reshape(-1, 4) if "own_boxes" in target else boxes
            areas = _array(target["areas"]).reshape(-1) if "areas" in target else object_areas(boxes)
            if not len(boxes) == len(own) == len(areas):
                raise ValueError(f"a target has {len(boxes)} boxes, {len(own)} own boxes, {len(areas)} areas")
            true.append((boxes, labels, ignore, own, areas))
        if not found:
            return
        detections = Detections(*[*_join(found, _OF_DETECTIONS), self._numbers(found)])
        truths = Truths(*[*_join(true, _OF_TRUTHS), self._numbers(true)])
        _check_boxes("a prediction", detections.boxes)
        _check_boxes("a target", truths.boxes)
        _check_boxes("a target", truths.own_boxes)
        _check_labels(detections.labels, self._classes)
        _check_labels(truths.labels, self._classes)
        if np.isnan(detections.scores).any():
            raise ValueError("a prediction has a score that is NaN")
        self._detections.append(detections)
        self._truths.append(truths)
        self._images += len(found)

    def detections(self) -> Detections:
        """Join all detections."""
        return Detections(*_join(self._detections, (*_OF_DETECTIONS, _NUMBER)))

    def truths(self) -> Truths:
        """Join all annotations."""
        return Truths(*_join(self._truths, (*_OF_TRUTHS, _NUMBER)))

    def _numbers(self, images: Sequence[tuple[NDArray[Any], ...]]) -> NDArray[np.int64]:
        counts = [len(columns[0]) for columns in images]
        return np.repeat(np.arange(self._images, self._images + len(images), dtype=np.int64), counts)


def _columns(entry: Mapping[str, Values], *names: str) -> tuple[NDArray[Any], ...]:
    """Give the boxes [K, 4] and the named columns [K] as arrays of whatever type."""
    return (_array(entry["boxes"]).reshape(-1, 4), *(_array(entry[name]).reshape(-1) for name in names))


def _array(values: Values) -> NDArray[Any]:
    if isinstance(values, Tensor):
        return values.detach().cpu().numpy()
    return np.asarray(values)


def _join(parts: Sequence[tuple[NDArray[Any], ...]], types: Sequence[np.dtype[Any]]) -> list[NDArray[Any]]:
    """Join each column and convert it."""
    joined: list[NDArray[Any]] = []
    for position, dtype in enumerate(types):
        none: NDArray[Any] = np.zeros(0, dtype)  # [0, 4] of boxes
        columns = [none, *(part[position] for part in parts)]
        joined.append(np.concatenate(columns, dtype=none.dtype, casting="unsafe"))
    return joined


def _check_boxes(owner: str, boxes: NDArray[np.float64]) -> None:
    fits = (boxes[:, :2] <= boxes[:, 2:]).all(1) & np.isfinite(boxes).all(1)
    if not fits.all():
        box = boxes[np.flatnonzero(~fits)[0]].tolist()
        raise ValueError(f"{owner} has the box {box}: finite x1 <= x2 and y1 <= y2 are expected")


def _check_labels(labels: NDArray[np.int64], classes: int) -> None:
    wrong = labels[(labels < 1) | (labels > classes)]
    if len(wrong):
        raise ValueError(f"label {wrong[0]} is outside 1…{classes}")
