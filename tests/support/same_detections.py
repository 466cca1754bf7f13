"""Whether two computations detect the same, whichever way each of them rounds.

Rounding decides more than the last bits: of two boxes with nearly equal scores it picks the first in the list, the one
that suppresses the other, and the one that is the last to be kept. So detections are compared by what they are, not by
their row, and one that is missing on the other side is excused where a near-tie has decided about it, and only there.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

from spnas_detect.detectors import DetectorSettings

IOU_TIE = 1e-4
"""Difference to the threshold of suppression up to which rounding decides."""


class Compared(NamedTuple):
    """How many detections two computations share, and how many of one side near-ties have taken from the other."""

    shared: int
    undecided: int


def assert_same_detections(
    found: Sequence[Mapping[str, Tensor]],
    expected: Sequence[Mapping[str, Tensor]],
    settings: DetectorSettings,
    *,
    atol_boxes: float = 1e-3,
    atol_scores: float = 1e-5,
    rtol_scores: float = 0.0,
    most_undecided: int = 2,
) -> Compared:
    """Fail unless both hold the same detections: every label equal, every box and score within tolerance.

    A detection that one side lacks counts for neither, where that side

    * has cut it off: its score is within tolerance of ``settings.score_threshold``, or at most as far above the lowest
      score of a side that is full (``settings.max_detections``);
    * has suppressed it, and the other was as near to doing so: by a box of its class that both sides have, at an
      overlap within ``IOU_TIE`` of ``settings.nms_threshold``; or by one that the other side lacks, of a score within
      tolerance (each side kept one of the two) or itself excused.

    Args:
        found: for each image ``boxes`` [D, 4], ``scores`` [D] and ``labels`` [D], best first.
        expected: likewise.
        settings: how both have chosen what they keep.
        atol_boxes: in pixels.
        atol_scores: absolute.
        rtol_scores: relative to the expected score.
        most_undecided: detections of both sides and all images that may be excused.
    """
    shared, undecided, faults = 0, 0, []
    for number, sides in enumerate(zip(found, expected, strict=True)):
        for name, side in zip(("found", "expected"), sides, strict=True):
            assert bool((side["scores"].diff() <= 0).all()), f"image {number}: what is {name} is not ordered by score"
        image = _Image(*sides, settings, atol_boxes, atol_scores, rtol_scores)
        shared += len(image.pairs)
        undecided += len(image.excused)
        faults += [f"image {number}: {fault}" for fault in image.faults()]
    assert not faults, f"{len(faults)} detections have no partner:\n" + "\n".join(faults[:10])
    assert undecided <= most_undecided, f"{undecided} detections hang on near-ties, of {shared}: is it rounding?"
    return Compared(shared, undecided)


class _Image:
    """The detections of one image on two sides, 0 and 1; a detection is a (side, row)."""

    def __init__(self, found, expected, settings, atol_boxes, atol_scores, rtol_scores):
        self.sides = found, expected
        self.settings = settings
        self.atol_boxes = atol_boxes
        self.atol_scores, self.rtol_scores = atol_scores, rtol_scores
        self.is_alike = found["labels"][:, None] == expected["labels"][None, :]
        self.overlaps = box_iou(found["boxes"].double(), expected["boxes"].double())
        self.pairs = self._pairs()
        paired = [set(rows) for rows in zip(*self.pairs, strict=True)] or [set(), set()]
        self.single = [
            (side, row) for side in (0, 1) for row in range(len(self.sides[side]["scores"])) if row not in paired[side]
        ]
        self.excused = self._excused()

    def tie(self, score: float) -> float:
        """The difference of two scores up to which rounding decides."""
        return self.atol_scores + self.rtol_scores * score

    def score(self, side: int, row: int) -> float:
        return float(self.sides[side]["scores"][row])

    def _pairs(self) -> list[tuple[int, int]]:
        """Rows that are the same detection, the nearest first; none is in two pairs."""
        one, other = self.sides
        distances = (one["boxes"][:, None] - other["boxes"][None]).abs().amax(-1)
        margins = self.atol_scores + self.rtol_scores * other["scores"][None]
        is_near = (one["scores"][:, None] - other["scores"][None]).abs() <= margins
        fit = self.is_alike & is_near & (distances <= self.atol_boxes)
        pairs, taken = [], (set(), set())
        for pair in sorted(map(tuple, fit.nonzero().tolist()), key=lambda pair: float(distances[pair])):
            if not any(row in rows for row, rows in zip(pair, taken, strict=True)):
                pairs.append(pair)
                for row, rows in zip(pair, taken, strict=True):
                    rows.add(row)
        return pairs

    def _excused(self) -> set[tuple[int, int]]:
        excused = set()
        for single in sorted(self.single, key=lambda single: -self.score(*single)):
            if self._is_cut(*single) or self._is_suppressed(*single, excused):
                excused.add(single)
        return excused

    def _is_cut(self, side: int, row: int) -> bool:
        score, others = self.score(side, row), self.sides[1 - side]["scores"]
        if abs(score - self.settings.score_threshold) <= self.tie(score):
            return True
        return len(others) == self.settings.max_detections and score <= float(others[-1]) + self.tie(score)

    def _is_suppressed(self, side: int, row: int, excused: set[tuple[int, int]]) -> bool:
        score = self.score(side, row)
        is_alike, overlaps = (self.is_alike, self.overlaps) if side == 0 else (self.is_alike.T, self.overlaps.T)
        for other in (
            (is_alike[row] & (overlaps[row] >= self.settings.nms_threshold - IOU_TIE)).nonzero()[:, 0].tolist()
        ):
            lead = self.score(1 - side, other) - score
            if lead < -self.tie(score):
                continue
            if (1 - side, other) not in self.single:
                if float(overlaps[row, other]) <= self.settings.nms_threshold + IOU_TIE:
                    return True
            elif lead <= self.tie(score) or (1 - side, other) in excused:
                return True
        return False

    def faults(self) -> list[str]:
        """What is missing on one side without an excuse, each with the nearest of its class there."""
        texts = []
        for side, row in self.single:
            if (side, row) in self.excused:
                continue
            own, others = self.sides[side], self.sides[1 - side]
            text = f"{('found', 'expected')[side]} only: {_described(own, row)}"
            distances = (others["boxes"] - own["boxes"][row]).abs().amax(-1)
            distances[others["labels"] != own["labels"][row]] = torch.inf
            if len(distances) and distances.isfinite().any():
                text += f"; nearest on the other side: {_described(others, int(distances.argmin()))}"
            texts.append(text)
        return texts


def _described(side: Mapping[str, Tensor], row: int) -> str:
    corners = ", ".join(f"{value:.4f}" for value in side["boxes"][row].tolist())
    return f"class {int(side['labels'][row])} at ({corners}), score {float(side['scores'][row]):.7f}"
