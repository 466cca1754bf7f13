"""COCO's numbers are those of pycocotools."""

import io
import json
import math
from contextlib import redirect_stdout

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scored_images import CLASSES, A, close, found, hostile_images, image, random_images

from spnas_detect.metrics import CocoMetric

COCO_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def file_based_coco(tmp_path, predictions, targets):
    """Go through pycocotools' own files and ``loadRes``."""
    truths, detections = [], []
    for image_id, (prediction, target) in enumerate(zip(predictions, targets, strict=True), start=50):
        for box, label, ignore in zip(target["boxes"], target["labels"], target["ignore"], strict=True):
            x, y, w, h = box[0], box[1], box[2] - box[0], box[3] - box[1]
            truths.append(
                {
                    "id": len(truths) + 1,
                    "image_id": image_id,
                    "category_id": int(label),
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": int(ignore),
                }
            )
        for box, score, label in zip(prediction["boxes"], prediction["scores"], prediction["labels"], strict=True):
            x, y, w, h = box[0], box[1], box[2] - box[0], box[3] - box[1]
            detections.append(
                {"image_id": image_id, "category_id": int(label), "bbox": [x, y, w, h], "score": float(score)}
            )
    content = {
        "info": {},
        "images": [{"id": i + 50} for i in range(len(targets))],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES, start=1)],
        "annotations": truths,
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    (tmp_path / "found.json").write_text(json.dumps(detections))
    with redirect_stdout(io.StringIO()):
        truth = COCO(tmp_path / "truth.json")
        evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        per_class = {}
        for i, name in enumerate(CLASSES, start=1):
            evaluation.params.catIds = [i]
            stats = evaluation.stats
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            per_class[name] = evaluation.stats[1]
            evaluation.stats = stats
    return evaluation.stats, per_class


def coco_in_memory(predictions, targets):
    """Give pycocotools dictionaries; its twelve numbers, and AP and AP50 per class, -1 for none."""

    def entries(items, extra):
        rows = [
            (image_id, [float(v) for v in (box[0], box[1], box[2] - box[0], box[3] - box[1])], int(label), float(more))
            for image_id, item in enumerate(items)
            for box, label, more in zip(item["boxes"], item["labels"], item[extra], strict=True)
        ]
        return [
            {
                "id": i,
                "image_id": row[0],
                "bbox": row[1],
                "area": row[1][2] * row[1][3],
                "category_id": row[2],
                "more": row[3],
            }
            for i, row in enumerate(rows, start=1)
        ]

    def sized(entries):
        areas = [area for target in targets for area in target.get("areas", [None] * len(target["boxes"]))]
        return [
            {**entry, "area": entry["area"] if area is None else float(area)}
            for entry, area in zip(entries, areas, strict=True)
        ]

    def dataset(annotations):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(len(targets))],
            "categories": [{"id": i} for i in (1, 2, 3)],
            "annotations": annotations,
        }
        coco.createIndex()
        return coco

    with redirect_stdout(io.StringIO()):
        truths = [{**entry, "iscrowd": int(entry["more"])} for entry in sized(entries(targets, "ignore"))]
        detections = [{**entry, "iscrowd": 0, "score": entry["more"]} for entry in entries(predictions, "scores")]
        evaluation = COCOeval(dataset(truths), dataset(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    return evaluation.stats, [*precision.mean((0, 1)), *precision[0].mean(0)]


PER_CLASS = [f"{metric}/{name}" for metric in ("AP", "AP50") for name in CLASSES]


def test_coco_agrees_with_pycocotools_on_200_hostile_sets():
    known = 0
    for seed in range(200):
        predictions, targets = hostile_images(seed)
        metric = CocoMetric(CLASSES)
        metric.process(predictions, targets)
        scores = metric.evaluate()
        stats, per_class = coco_in_memory(predictions, targets)
        expected = dict(zip((*COCO_NAMES, *PER_CLASS), (*stats, *per_class), strict=True))
        assert scores.keys() == expected.keys()
        for name, value in expected.items():
            assert close(scores[name], math.nan if value == -1 else value), (seed, name)
            known += 0 < value < 1
    assert known > 1000  # most numbers are neither 0, 1 nor missing


def test_coco_takes_annotated_areas_as_pycocotools_does():
    by_size, changed = ("APs", "APm", "APl", "ARs", "ARm", "ARl"), set()
    for seed in range(40):
        predictions, targets = hostile_images(seed) if seed % 2 else random_images(seed, images=8)
        without = CocoMetric(CLASSES)
        without.process(predictions, targets)
        rng = np.random.default_rng(seed)
        for target in targets:
            drawn = np.exp(rng.uniform(np.log(16), np.log(200), len(target["boxes"]))) ** 2
            target["areas"] = np.where(rng.random(len(drawn)) < 0.2, rng.choice([1024, 9216], len(drawn)), drawn)
        metric = CocoMetric(CLASSES)
        metric.process(predictions[:3], targets[:3])
        metric.process(predictions[3:], targets[3:])
        scores, boxes = metric.evaluate(), without.evaluate()
        stats, _ = coco_in_memory(predictions, targets)
        for name, value in zip(COCO_NAMES, stats, strict=True):
            assert close(scores[name], math.nan if value == -1 else value), (seed, name)
        assert close(scores["AP"], boxes["AP"])
        changed |= {(seed, name) for name in by_size if not close(scores[name], boxes[name])}
    assert len(changed) > 120  # of 240


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_coco_agrees_with_pycocotools_on_files(tmp_path, seed):
    predictions, targets = random_images(seed)
    metric = CocoMetric(CLASSES)
    metric.process(predictions[:7], targets[:7])
    metric.process(predictions[7:], targets[7:])
    scores = metric.evaluate()
    stats, per_class = file_based_coco(tmp_path, predictions, targets)
    for name, expected in zip(COCO_NAMES, stats, strict=True):
        assert expected > 0
        assert scores[name] == pytest.approx(expected, abs=1e-12)
    for name, expected in per_class.items():
        assert scores[f"AP50/{name}"] == pytest.approx(expected, abs=1e-12)


def test_coco_takes_any_number_of_detections_in_a_crowd():
    metric = CocoMetric(("cat",))
    crowd = image([[0, 0, 80, 80], [85, 85, 99, 99]], ignore=[True, False])
    metric.process([found((A, 0.9), ([20, 20, 30, 30], 0.8), ([85, 85, 99, 99], 0.7))], [crowd])
    assert metric.evaluate()["AP"] == pytest.approx(1)


def test_coco_prints_nothing(capfd):
    metric = CocoMetric(CLASSES)
    metric.process(*random_images(0, images=3))
    metric.evaluate()
    assert capfd.readouterr() == ("", "")


def test_coco_gives_nan_where_nothing_can_be_scored():
    metric = CocoMetric(CLASSES)
    metric.process([found((A, 0.9))], [image([A])])
    scores = metric.evaluate()
    assert [scores["AP"], scores["APs"], scores["AP50/cat"]] == pytest.approx([1, 1, 1])
    assert math.isnan(scores["APl"])
    assert math.isnan(scores["AP50/dog"])
