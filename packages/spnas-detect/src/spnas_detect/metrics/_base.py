"""The contract of detection metrics: reset, process batch by batch, evaluate once."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Values = Tensor | NDArray[Any] | Sequence[Any]


class Metric(Protocol):
    """Scores predictions against annotations; boxes are (x1, y1, x2, y2) in original pixels."""

    def reset(self) -> None:
        """Forget all images."""
        ...

    def process(self, predictions: Sequence[Mapping[str, Values]], targets: Sequence[Mapping[str, Values]]) -> None:
        """Take in a batch of images.

        Args:
            predictions: per image ``boxes`` [K, 4], ``scores`` [K] and ``labels`` [K] in 1…C.
            targets: per image ``boxes`` [G, 4], ``labels`` [G] in 1…C, ``ignore`` bool[G], where neither a
                hit nor a miss counts, and ``size`` (width, height).

        Raises:
            ValueError: lists or arrays whose lengths differ, or labels outside 1…C.
        """
        ...

    def evaluate(self) -> dict[str, float]:
        """Compute the scores of all images since the last reset; nan where nothing can be scored."""
        ...


def to_array(values: Values, dtype: type[np.generic]) -> NDArray[Any]:
    """Copy a tensor (of any device) or a sequence into an array of one type."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return np.array(values, dtype)


def checked_prediction(prediction: Mapping[str, Values], classes: int) -> tuple[NDArray[Any], ...]:
    """Return boxes float64[K, 4], scores float64[K] and labels int64[K] of one image.

    Raises:
        ValueError: lengths differ, or a label is outside 1…classes.
    """
    boxes = to_array(prediction["boxes"], np.float64).reshape(-1, 4)
    scores = to_array(prediction["scores"], np.float64).reshape(-1)
    labels = to_array(prediction["labels"], np.int64).reshape(-1)
    if not len(boxes) == len(scores) == len(labels):
        raise ValueError(f"a prediction has {len(boxes)} boxes, {len(scores)} scores, {len(labels)} labels")
    _check_labels(labels, classes)
    return boxes, scores, labels


def checked_target(target: Mapping[str, Values], classes: int) -> tuple[NDArray[Any], ...]:
    """Return boxes float64[G, 4], labels int64[G] and ignore bool[G] of one image.

    Raises:
        ValueError: lengths differ, or a label is outside 1…classes.
    """
    boxes = to_array(target["boxes"], np.float64).reshape(-1, 4)
    labels = to_array(target["labels"], np.int64).reshape(-1)
    ignore = to_array(target["ignore"], np.bool_).reshape(-1)
    if not len(boxes) == len(labels) == len(ignore):
        raise ValueError(f"a target has {len(boxes)} boxes, {len(labels)} labels, {len(ignore)} ignore flags")
    _check_labels(labels, classes)
    return boxes, labels, ignore


def _check_labels(labels: NDArray[Any], classes: int) -> None:
    wrong = labels[(labels < 1) | (labels > classes)]
    if len(wrong):
        raise ValueError(f"label {wrong[0]} is outside 1…{classes}")
