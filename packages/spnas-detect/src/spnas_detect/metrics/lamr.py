"""The log-average miss rate, after the protocol of EuroCity Persons.

Braun et al., "EuroCity Persons: A Novel Benchmark for Person Detection in Traffic Scenes", IEEE TPAMI 2019, and the
benchmark's own evaluation; the mean over false positives per image is that of Dollár et al., "Pedestrian Detection:
An Evaluation of the State of the Art", IEEE TPAMI 2012. ``docs/metrics.md`` works an example by hand.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spnas_core.errors import ConfigError
from spnas_core.tasks import MetricSpec
from spnas_detect.data._base import DetectionData
from spnas_detect.metrics._base import Values
from spnas_detect.metrics.collection import Collection, Detections, Truths
from spnas_kernels import match_detections

REGIONS = {"pedestrian": "person-group-far-away", "rider": "rider+vehicle-group-far-away"}
"""The classes that are scored, and the tag of the group regions that belong to each."""

IMAGE = (1920, 1024)
"""(width, height) in pixels that all boxes are clipped to."""

_IOU = 0.5
_MARGIN = 1.25  # detections may miss a limit of height by this factor
_EXCUSED = {"sitting-lying", "behind-glass"}
_DEPICTION = "depiction"
_SHARE = re.compile(r"(occluded|truncated)\D*(\d+)\D*")
_REFERENCES = 10.0 ** np.linspace(-2, 0, 9)


@dataclass(frozen=True)
class Difficulty:
    """Which annotations must be found; the others of the class are ignored.

    Attributes:
        name: as it stands in the scores' names.
        min_height: in pixels, itself included.
        max_height: in pixels, itself included.
        min_occlusion: in per cent, itself included.
        limit: in per cent; occlusion and truncation are both below.
    """

    name: str
    min_height: float
    max_height: float
    min_occlusion: int
    limit: int

    def holds(
        self, heights: NDArray[np.float64], occlusion: NDArray[np.int64], truncation: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Say which annotations lie within the limits."""
        fits_height = (heights >= self.min_height) & (heights <= self.max_height)
        fits_occlusion = (occlusion >= self.min_occlusion) & (occlusion < self.limit)
        return fits_height & fits_occlusion & (truncation < self.limit)


DIFFICULTIES = (
    Difficulty("reasonable", 40, math.inf, 0, 40),
    Difficulty("small", 30, 60, 0, 40),
    Difficulty("occluded", 40, math.inf, 40, 80),
    Difficulty("all", 20, math.inf, 0, 80),
)


def _name(label: str, difficulty: Difficulty, *, is_tolerant: bool) -> str:
    return f"LAMR/{label}/{difficulty.name}{'/tolerant' if is_tolerant else ''}"


LAMR_SPECS = tuple(
    MetricSpec(_name(label, difficulty, is_tolerant=is_tolerant), higher_is_better=False)
    for is_tolerant in (False, True)
    for label in REGIONS
    for difficulty in DIFFICULTIES
)
"""All numbers of the metric, that of reasonable pedestrians first."""


class _Facts(NamedTuple):
    """What a box's tags say.

    Attributes:
        occlusion: in per cent.
        truncation: in per cent.
        is_excused: whether a pedestrian need not be found whatever the difficulty.
        region: whose group region it is, as a position in ``REGIONS``; -1 for none, and for a depiction.
    """

    occlusion: int
    truncation: int
    is_excused: bool
    region: int


class LamrMetric:
    """Log-average miss rates per class and difficulty, with the other class tolerated or not; lower is better.

    ``LAMR/<class>/<difficulty>`` for pedestrian and rider, reasonable, small, occluded and all; with ``/tolerant``
    behind it, boxes of the other class are ignored, and without they are left out. A rider is united with the vehicle
    where riders are scored; tolerated, it is the person alone. Among the ignored annotations
    only the two kinds of far-away groups play a part, recognised by their identity among the tags. Of equal overlaps
    a detection takes the truth that was annotated last; of equal scores the earlier detection comes first.

    Args:
        classes: names of the labels 1…C; pedestrian and rider among them.

    Raises:
        ConfigError: one of them is missing.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        _check_classes(classes, "the data")
        self._classes = tuple(classes)
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._seen = Collection(len(self._classes))
        self._facts: list[_Facts] = []

    def process(self, predictions: Sequence[Mapping[str, Values]], targets: Sequence[Mapping[str, Values]]) -> None:
        """Take in a batch of images; see Metric.process.

        Raises:
            ConfigError: a box without tags.
        """
        facts: list[_Facts] = []
        for target in targets:
            tags = target.get("tags", ())
            if len(tags) != len(target["boxes"]):
                raise ConfigError(_needs_tags(f"an image has {len(target['boxes'])} boxes and tags for {len(tags)}"))
            facts += [_read_tags(tuple(one)) for one in tags]
        self._seen.add(predictions, targets)
        self._facts += facts

    def evaluate(self) -> dict[str, float]:
        """Compute the scores, each in 1e-10…1.

        Returns:
            The scores; nan for a class and difficulty without an annotation that must be found.
        """
        truths, detections = self._seen.truths(), self._seen.detections()
        facts = np.asarray(self._facts, np.int64).reshape(-1, len(_Facts._fields))
        occlusion, truncation, is_excused, region = facts.T
        boxes, own_boxes = _clip(truths.boxes), _clip(truths.own_boxes)
        heights = boxes[:, 3] - boxes[:, 1]
        found: dict[str, float] = {}
        for position, name in enumerate(REGIONS):
            label = self._classes.index(name) + 1
            is_region = (region == position) & truths.ignore
            is_own = (truths.labels == label) & ~truths.ignore
            is_other = self._is_person(truths) & ~is_own
            must = is_own & (is_excused == 0) if name == "pedestrian" else is_own
            chosen = _of_class(detections, label)
            compared = np.where(is_other[:, None], own_boxes, boxes)
            for difficulty in DIFFICULTIES:
                real = must & difficulty.holds(heights, occlusion, truncation)
                kept = _of_height(chosen, difficulty)
                for is_tolerant in (False, True):
                    takes_part = is_own | is_region | (is_other & is_tolerant)
                    # the last annotation first: of equal overlaps the first one is taken
                    places = np.flatnonzero(takes_part)[::-1]
                    matches = match_detections(
                        kept.boxes,
                        kept.scores,
                        kept.images,
                        compared[places],
                        truths.images[places],
                        ~real[places],
                        iou_threshold=_IOU,
                        regions=is_region[places],
                    )
                    outcomes = matches.outcome[matches.order]
                    score = log_average_miss_rate(outcomes, int(real.sum()), len(self._seen))
                    found[_name(name, difficulty, is_tolerant=is_tolerant)] = score
        return {spec.name: found[spec.name] for spec in LAMR_SPECS}

    def _is_person(self, truths: Truths) -> NDArray[np.bool_]:
        labels = [self._classes.index(name) + 1 for name in REGIONS]
        return np.isin(truths.labels, labels) & ~truths.ignore


def log_average_miss_rate(outcomes: NDArray[np.int8], positives: int, images: int) -> float:
    """Average the miss rate over nine rates of false positives per image, in logarithms.

    The references are 10^-2, 10^-1.75, …, 1. At each one counts the recall at the last detection up to which there are
    at most so many false positives per image, and 0 where already the first one is a false positive too many.

    Args:
        outcomes: int8[D], best score first: 1 a hit, 0 a false positive, -1 neither.
        positives: annotations that must be found.
        images: all of them, empty ones too.

    Returns:
        A value in 1e-10…1; nan without an annotation that must be found.

    Example: 1, 0, 1 with two positives in two images: recall 1/2 up to the false positive, then 0.5 false positives
    per image and recall 1. So the miss rate is 1/2 at the seven references below 0.5 and 0, taken as 1e-10, at the
    other two: exp((7 ln 0.5 + 2 ln 1e-10) / 9) = 0.0035.
    """
    if positives == 0:
        return float("nan")
    hits = np.cumsum(outcomes == 1)
    false_positives = np.cumsum(outcomes == 0) / images
    last = np.searchsorted(false_positives, _REFERENCES, side="right") - 1
    recall = np.concatenate([hits / positives, [0.0]])[last]  # before the first detection, -1: the 0 at the end
    return float(np.exp(np.mean(np.log(np.maximum(1e-10, 1 - recall)))))


def check_lamr_data(data: DetectionData) -> None:
    """Refuse data that has no pedestrians and riders, or whose boxes have no tags.

    Raises:
        ConfigError: says what is missing.
    """
    _check_classes(data.classes, data.spec)
    if not any(record.tags for split in data.splits.values() for record in split):
        raise ConfigError(_needs_tags(f"{data.spec} has none"))


def _needs_tags(what: str) -> str:
    return (
        f"the metric lamr needs the tags of every box, such as occluded>40: {what}; read EuroCity Persons as "
        "ecp:PATH, or choose the metric coco"
    )


def _check_classes(classes: Sequence[str], owner: str) -> None:
    missing = [name for name in REGIONS if name not in classes]
    if missing:
        raise ConfigError(
            f"the metric lamr scores the classes {' and '.join(REGIONS)}: {owner} has no {' and no '.join(missing)}, "
            f"only {', '.join(classes)}; choose the metric coco"
        )


@lru_cache(maxsize=4096)
def _read_tags(tags: tuple[str, ...]) -> _Facts:
    shares = {"occluded": 0, "truncated": 0}
    for tag in tags:
        match = _SHARE.fullmatch(tag)
        if match is not None:
            shares[match[1]] = max(shares[match[1]], int(match[2]))
    regions = [position for position, name in enumerate(REGIONS.values()) if name in tags]
    region = regions[0] if regions and _DEPICTION not in tags else -1
    return _Facts(shares["occluded"], shares["truncated"], not _EXCUSED.isdisjoint(tags), region)


def _clip(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(boxes, 0, np.asarray(IMAGE * 2, np.float64))


def _of_class(detections: Detections, label: int) -> Detections:
    """Take the detections of one class, their boxes clipped."""
    chosen = detections.take(detections.labels == label)
    return chosen._replace(boxes=_clip(chosen.boxes))


def _of_height(detections: Detections, difficulty: Difficulty) -> Detections:
    """Leave out what is far too low or too high for a difficulty."""
    heights = detections.boxes[:, 3] - detections.boxes[:, 1]
    kept = (heights > difficulty.min_height / _MARGIN) & (heights < difficulty.max_height * _MARGIN)
    return detections.take(kept)
