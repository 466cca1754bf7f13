"""Pictures of where a detector fails."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spnas_detect.data import ImageRecord
from spnas_detect.drawing import DrawnBox, draw_boxes, is_our_picture, save_picture, side_by_side
from spnas_detect.inference.matching import FALSE, ImageMatches
from spnas_detect.inference.outputs import fitting, refuse_foreign
from spnas_detect.inference.report import DESCRIPTION, EvaluationReport, ImageResult

PREFIX = "worst-"


def draw_worst(
    report: EvaluationReport, records: Sequence[ImageRecord], matches: Sequence[ImageMatches], folder: Path
) -> tuple[ImageResult, ...]:
    """Draw ground truth beside predictions of a report's worst images; pictures of an earlier evaluation go.

    Args:
        report: says which images.
        records: of the split.
        matches: of every image of the split.
        folder: of the pictures.

    Returns:
        The worst images, each with its picture.

    Raises:
        ConfigError: a picture would overwrite somebody else's file.
    """
    for path in list(folder.glob(f"{PREFIX}*.jpg")):
        if is_our_picture(path):
            path.unlink()
    drawn = []
    for number, result in enumerate(report.worst, 1):
        stem = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in Path(result.name).stem)
        picture = folder / fitting(f"{PREFIX}{number:02}-{stem}", ".jpg")
        refuse_foreign([picture], DESCRIPTION)
        pixels = records[result.index].read()
        save_picture(_comparison(pixels, matches[result.index], report), picture)
        drawn.append(replace(result, picture=picture))
    return tuple(drawn)


def _comparison(pixels: NDArray[np.uint8], match: ImageMatches, report: EvaluationReport) -> Image.Image:
    truth = [
        DrawnBox(tuple(box), label, remark="ignored" if ignored else "" if found else "missed", ignored=ignored)
        for box, label, found, ignored in zip(
            match.true_boxes.tolist(),
            match.true_labels.tolist(),
            match.found.tolist(),
            match.ignore.tolist(),
            strict=True,
        )
    ]
    detections = [
        DrawnBox(tuple(box), label, score, "false" if outcome == FALSE else "")
        for box, label, score, outcome in zip(
            match.boxes.tolist(), match.labels.tolist(), match.scores.tolist(), match.outcome.tolist(), strict=True
        )
    ]
    boxes, found, false = match.counts
    classes = report.description.classes
    return side_by_side(
        [draw_boxes(pixels, truth, classes), draw_boxes(pixels, detections, classes)],
        [
            f"ground truth: {boxes}, missed: {boxes - found}",
            f"predictions of score {report.score_threshold:g} or more: {len(detections)}, false: {false}",
        ],
    )
