"""The contract of detection metrics: reset, process batch by batch, evaluate once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import Tensor

from spnas_core.tasks import MetricSpec
from spnas_detect.data._base import DetectionData

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
                hit nor a miss counts, ``size`` (width, height), and ``tags``, one tuple of texts per box or
                nothing where the data has none. Perhaps ``own_boxes`` [G, 4] and ``areas`` [G], see ``ImageRecord``;
                without them they are the boxes, and theirs.

        Raises:
            ValueError: lists or arrays whose lengths differ, labels outside 1…C, boxes that are not finite or
                have x1 > x2 or y1 > y2, or a score that is NaN. None of the batch is taken in then.
        """
        ...

    def evaluate(self) -> dict[str, float]:
        """Compute the scores of all images since the last reset; nan where nothing can be scored."""
        ...


def _fits(_: DetectionData) -> None:
    """Any data will do."""


@dataclass(frozen=True)
class MetricFactory:
    """A metric as the plugins register it.

    Attributes:
        summary: one line for listings.
        specs: the main numbers that it gives; the first one is what a search optimises by default.
        build: makes the metric from the class names.
        check: raises ConfigError where a data set lacks what the metric needs, before anything is trained.
    """

    summary: str
    specs: tuple[MetricSpec, ...]
    build: Callable[[Sequence[str]], Metric]
    check: Callable[[DetectionData], None] = _fits
