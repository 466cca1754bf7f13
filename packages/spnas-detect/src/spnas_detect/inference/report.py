"""What came of an evaluation."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spnas_detect.data._base import ALL
from spnas_detect.detectors import DetectorDescription
from spnas_detect.inference.confusion import Confusion
from spnas_detect.inference.matching import FALSE, ImageMatches

DESCRIPTION = "made by spnas evaluate"
"""By this the document is known to be ours, and may be written again."""


@dataclass(frozen=True)
class ClassResult:
    """How well one class is detected.

    Attributes:
        name: of the class.
        images: that have an annotation of it that counts.
        boxes: such annotations in all images.
        found: of them, at IoU ≥ 0.5 by detections that reach the score threshold.
        false: detections that reach the score threshold and find nothing.
        scores: the metrics' values for this class alone, by metric.
    """

    name: str
    images: int
    boxes: int
    found: int
    false: int
    scores: Mapping[str, float] = field(hash=False)


@dataclass(frozen=True)
class ImageResult:
    """How well one image is detected; see ``ClassResult``.

    Attributes:
        index: its number in the split.
        name: of the image.
        boxes: annotations that count.
        found: of them.
        false: detections.
        f1: 2·found / (boxes + found + false); 1 where there is neither box nor detection.
        picture: file with ground truth beside predictions; None where none was asked for.
    """

    index: int
    name: str
    boxes: int
    found: int
    false: int
    f1: float
    picture: Path | None = None


@dataclass(frozen=True)
class EvaluationReport:
    """What came of an evaluation.

    Attributes:
        weights: file that was used.
        description: the detector.
        data: spec of the data set.
        split: that was scored on; ``test = validation`` where the test images are the validation images.
        images: number of images.
        score_threshold: of ``found`` and ``false``; metrics see every detection.
        metrics: everything that the metrics gave, by name; NaN where undefined.
        main: names of the main numbers.
        classes: in the order of the labels.
        worst: images of lowest F1, the worst first.
        notes: what the data set had to say.
        warnings: why the scores may not be what they seem, and where plots have another name for a class.
        confusion: what is taken for what; None where nobody asked.
        detections: the file of all detections, and, where the ids in it are numbers of its own, that of the annotations
            that have them; none where nobody asked.
    """

    weights: Path
    description: DetectorDescription
    data: str
    split: str
    images: int
    score_threshold: float
    metrics: Mapping[str, float] = field(hash=False)
    main: tuple[str, ...]
    classes: tuple[ClassResult, ...]
    worst: tuple[ImageResult, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    confusion: Confusion | None = None
    detections: tuple[Path, ...] = ()

    @property
    def scored(self) -> str:
        """Which images were scored, in words."""
        return f"all {self.images} images" if self.split == ALL else f"{self.images} images of the {self.split} split"

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values; NaN becomes None."""
        return {
            "info": {
                "description": DESCRIPTION,
                "weights": str(self.weights),
                "architecture": self.description.architecture,
                "data": self.data,
                "split": self.split,
                "images": self.images,
                "score_threshold": self.score_threshold,
            },
            "metrics": {name: _finite(value) for name, value in self.metrics.items()},
            "classes": [
                {
                    "name": result.name,
                    "images": result.images,
                    "boxes": result.boxes,
                    "found": result.found,
                    "false": result.false,
                    "metrics": {name: _finite(value) for name, value in result.scores.items()},
                }
                for result in self.classes
            ],
            "worst": [
                {
                    "name": result.name,
                    "boxes": result.boxes,
                    "found": result.found,
                    "false": result.false,
                    "f1": result.f1,
                    "picture": None if result.picture is None else result.picture.name,
                }
                for result in self.worst
            ],
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            **({} if self.confusion is None else {"confusion": self.confusion.counts.tolist()}),
        }


def class_results(
    matches: Sequence[ImageMatches], classes: Sequence[str], metrics: Mapping[str, float], main: Sequence[str]
) -> Iterator[ClassResult]:
    """Yield the result of each class.

    Args:
        matches: of all images.
        classes: names of the labels 1…C.
        metrics: values by name; those of a class are called ``METRIC/CLASS``.
        main: names of metrics.
    """
    for label, name in enumerate(classes, 1):
        counted = [(match.true_labels == label) & ~match.ignore for match in matches]
        yield ClassResult(
            name,
            images=sum(bool(boxes.any()) for boxes in counted),
            boxes=sum(int(boxes.sum()) for boxes in counted),
            found=sum(int(match.found[boxes].sum()) for match, boxes in zip(matches, counted, strict=True)),
            false=sum(int((match.outcome[match.labels == label] == FALSE).sum()) for match in matches),
            scores={metric: metrics[f"{metric}/{name}"] for metric in main if f"{metric}/{name}" in metrics},
        )


def worst_images(matches: Sequence[ImageMatches], names: Sequence[str], count: int) -> list[ImageResult]:
    """Return the images of lowest F1, of equal ones those with most mistakes first; flawless ones are never bad."""
    results = [
        ImageResult(index, name, *match.counts, match.f1)
        for index, (name, match) in enumerate(zip(names, matches, strict=True))
    ]
    flawed = [result for result in results if result.f1 < 1]
    flawed.sort(key=lambda result: (result.f1, result.found - result.boxes - result.false, result.index))
    return flawed[:count]


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
