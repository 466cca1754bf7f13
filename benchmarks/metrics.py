"""Metrics through their public interface: COCO's against pycocotools, LAMR against a plain reading of its protocol."""

import argparse
import io
import runpy
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pairs import HEAD, Row, compare
from spnas_detect.metrics import CocoMetric, LamrMetric

TITLE = "Metrics"
PLAIN = Path(__file__).resolve().parent.parent / "tests" / "detect" / "plain_lamr.py"
IMAGES, DETECTIONS, TRUTHS, CLASSES = 5000, 100, 7, 80  # as many truths and classes as COCO's validation images have
BATCH = 16
PAIRS = 3  # pycocotools takes most of a minute

Batch = list[dict[str, torch.Tensor]]


def coco_data() -> tuple[Batch, Batch]:
    """Draw detections around truths, every hundredth of which is a crowd; tensors as the detectors give them."""
    rng = np.random.default_rng(0)
    predictions, targets = [], []
    for _ in range(IMAGES):
        corner = rng.uniform(0, 400, (TRUTHS, 2))
        boxes = np.concatenate([corner, corner + np.exp(rng.uniform(2, 5.3, (TRUTHS, 2)))], 1)
        labels = rng.integers(1, CLASSES + 1, TRUTHS)
        near = rng.integers(0, TRUTHS, DETECTIONS)
        moved = boxes[near] + rng.normal(0, 0.1, (DETECTIONS, 4)) * np.tile(boxes[near, 2:] - boxes[near, :2], 2)
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        guessed = np.where(rng.random(DETECTIONS) < 0.7, labels[near], rng.integers(1, CLASSES + 1, DETECTIONS))
        predictions.append(
            {
                "boxes": torch.tensor(moved, dtype=torch.float32),
                "scores": torch.tensor(rng.random(DETECTIONS), dtype=torch.float32),
                "labels": torch.tensor(guessed),
            }
        )
        targets.append(
            {
                "boxes": torch.tensor(boxes, dtype=torch.float32),
                "labels": torch.tensor(labels),
                "ignore": torch.tensor(rng.random(TRUTHS) < 0.01),
                "size": torch.tensor([640, 640]),
            }
        )
    return predictions, targets


def time_ours(predictions: Batch, targets: Batch) -> tuple[float, float, float]:
    """Time ``process`` and ``evaluate`` in milliseconds; AP comes with them."""
    metric = CocoMetric([str(i) for i in range(CLASSES)])
    begin = time.perf_counter()
    for first in range(0, IMAGES, BATCH):
        metric.process(predictions[first : first + BATCH], targets[first : first + BATCH])
    between = time.perf_counter()
    scores = metric.evaluate()
    return (between - begin) * 1e3, (time.perf_counter() - between) * 1e3, scores["AP"]


def time_pycocotools(predictions: Batch, targets: Batch) -> tuple[float, float, float]:
    """Time building pycocotools' dictionaries, and its evaluation of them; AP comes with them."""
    begin = time.perf_counter()
    with redirect_stdout(io.StringIO()):
        truths = _dataset(targets, "ignore", "iscrowd")
        detections = _dataset(predictions, "scores", "score")
        between = time.perf_counter()
        evaluation = COCOeval(truths, detections, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return (between - begin) * 1e3, (time.perf_counter() - between) * 1e3, float(evaluation.stats[0])


def _dataset(items: Batch, column: str, name: str) -> COCO:
    """Build the dictionaries straight from lists: quicker than ``loadRes``, which takes them apart again."""
    annotations = []
    for image, item in enumerate(items):
        boxes = item["boxes"].double()
        boxes[:, 2:] -= boxes[:, :2]
        rows = zip(
            boxes.tolist(), boxes[:, 2:].prod(1).tolist(), item["labels"].tolist(), item[column].tolist(), strict=True
        )
        annotations += [
            {"image_id": image, "bbox": box, "area": area, "category_id": label, "iscrowd": 0, name: value}
            for box, area, label, value in rows
        ]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in range(len(items))],
        "categories": [{"id": label} for label in range(1, CLASSES + 1)],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def coco_rows() -> list[Row]:
    """Measure COCO's numbers with and without getting the boxes into the evaluator."""
    data = coco_data()
    time_ours(*data)
    pairs = [(time_pycocotools(*data), time_ours(*data)) for _ in range(PAIRS)]
    for theirs, ours in pairs:
        if abs(theirs[2] - ours[2]) > 1e-9:
            raise RuntimeError(f"AP differs: {ours[2]} against pycocotools' {theirs[2]}")
    what = f"COCO's numbers, {IMAGES} images × {DETECTIONS} detections × {CLASSES} classes"
    return [
        _row(f"{what}, `process` + `evaluate`", [(ours[0] + ours[1], theirs[0] + theirs[1]) for theirs, ours in pairs]),
        _row(f"{what}, `evaluate` alone", [(ours[1], theirs[1]) for theirs, ours in pairs]),
    ]


def _row(name: str, pairs: list[tuple[float, float]]) -> Row:
    ratios = np.array([theirs / ours for ours, theirs in pairs])
    low, high = np.quantile(ratios, [0.1, 0.9])
    own, peer = (median(times) for times in zip(*pairs, strict=True))
    return Row(name, own, peer, float(np.median(ratios)), float(low), float(high))


def lamr_row() -> Row:
    """Measure all sixteen miss rates of a set that the plain reading does in a few seconds."""
    plain = runpy.run_path(str(PLAIN))
    images, detections, objects = 200, 200, 20
    predictions, targets = plain["random_scenes"](np.random.default_rng(0), images, detections, objects)
    classes = ("pedestrian", "rider")

    def ours() -> dict[str, float]:
        metric = LamrMetric(classes)
        for first in range(0, images, BATCH):
            metric.process(predictions[first : first + BATCH], targets[first : first + BATCH])
        return metric.evaluate()

    theirs: Callable[[], dict[str, float]] = partial(plain["plain_scores"], predictions, targets, classes)
    expected = theirs()
    for name, value in ours().items():
        if not np.isclose(value, expected[name], rtol=0, atol=1e-9, equal_nan=True):
            raise RuntimeError(f"{name} differs: {value} against the plain reading's {expected[name]}")
    name = f"LAMR, 16 settings, {images} images × up to {detections} detections × up to {objects} truths"
    return compare(name, ours, theirs, repeats=5)


def run(_: argparse.Namespace) -> str:
    """Measure everything and return the table."""
    rows = "\n".join(str(row) for row in [lamr_row(), *coco_rows()])
    note = "Theirs: a plain-Python reading of LAMR's protocol, and pycocotools for COCO's. The results are equal."
    return f"{HEAD}\n{rows}\n\n{note}"
