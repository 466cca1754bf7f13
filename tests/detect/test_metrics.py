import io
import json
import math
from contextlib import redirect_stdout

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from spnas_detect.metrics import CocoMetric, VocMetric
from spnas_detect.metrics.voc import average_precision

CLASSES = ("cat", "dog", "owl")
COCO_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def random_images(seed, images=20, grid=1.0, classes=3, objects=6, with_ignored=True):
    """Draw targets, and predictions near them with ties in score and doubles."""
    rng = np.random.default_rng(seed)
    predictions, targets = [], []
    for _ in range(images):
        count = int(rng.integers(0, objects + 1))
        corner = rng.uniform(0, 200, (count, 2))
        sides = np.exp(rng.uniform(np.log(8), np.log(180), (count, 2)))
        boxes = np.round(np.concatenate([corner, corner + sides], 1) / grid) * grid
        labels = rng.integers(1, classes + 1, count)
        ignore = rng.random(count) < (0.2 if with_ignored else 0)
        targets.append({"boxes": boxes, "labels": labels, "ignore": ignore, "size": (400, 400)})
        near = rng.integers(0, max(count, 1), 2 * count)
        drawn = boxes[near] + rng.normal(0, 0.1, (2 * count, 4)) * np.tile(sides[near], 2)
        drawn[:, 2:] = np.maximum(drawn[:, 2:], drawn[:, :2] + 1)
        guessed = np.where(rng.random(2 * count) < 0.8, labels[near], rng.integers(1, classes + 1, 2 * count))
        predictions.append(
            {
                "boxes": np.round(drawn / grid) * grid,
                "scores": rng.integers(1, 20, 2 * count) / 20,
                "labels": guessed,
            }
        )
    return predictions, targets


def hostile_images(seed):
    """Draw a small set full of equal scores, equal boxes, crowds, empty images and missing classes."""
    rng = np.random.default_rng(seed)
    predictions, targets = random_images(seed, images=5, grid=(1.0, 10.0, 40.0)[seed % 3], objects=8)
    kept_truths, kept_found = (rng.permutation(3)[: rng.integers(1, 4)] + 1 for _ in range(2))
    for prediction, target in zip(predictions, targets, strict=True):
        for item in (prediction, target):
            item["boxes"][:, 2:] = np.maximum(item["boxes"][:, 2:], item["boxes"][:, :2] + 10)
        chosen = np.isin(target["labels"], kept_truths) & (rng.random() < 0.9)
        target.update({name: target[name][chosen] for name in ("boxes", "labels", "ignore")})
        doubled = np.repeat(np.arange(len(prediction["scores"])), rng.integers(0, 4))
        doubled = doubled[np.isin(prediction["labels"][doubled], kept_found)]
        prediction.update({name: prediction[name][doubled] for name in ("boxes", "labels", "scores")})
        prediction["scores"] = np.round(prediction["scores"] * 5) / 5
    if seed % 10 == 0:  # more detections of an image than COCO looks at
        many = {name: np.concatenate([values] * 30)[:150] for name, values in predictions[0].items()}
        predictions[0] = many
    return predictions, targets


def plain_iou(box, truth):
    width = min(box[2], truth[2]) - max(box[0], truth[0])
    height = min(box[3], truth[3]) - max(box[1], truth[1])
    shared = width * height if width > 0 and height > 0 else 0.0
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, truth)]
    return shared / (areas[0] + areas[1] - shared)


def plain_curve(detections, targets, label, positives):
    """Follow the development kit one detection at a time; pairs of recall and precision."""
    taken, curve = set(), []
    hits = misses = 0
    for _, image, box in sorted(detections, key=lambda detection: -detection[0]):
        target = targets[image]
        overlaps = [
            plain_iou(box, truth) if one == label else -1.0
            for truth, one in zip(target["boxes"], target["labels"], strict=True)
        ]
        best = overlaps.index(max(overlaps)) if overlaps else None
        if best is None or overlaps[best] < 0.5:
            misses += 1
        elif target["ignore"][best]:
            continue
        elif (image, best) in taken:
            misses += 1
        else:
            taken.add((image, best))
            hits += 1
        curve.append((hits / positives, hits / (hits + misses)))
    return curve


def plain_voc(predictions, targets, label, use_11_points):
    positives = sum(
        int(one == label and not skip)
        for target in targets
        for one, skip in zip(target["labels"], target["ignore"], strict=True)
    )
    if positives == 0:
        return math.nan
    detections = [
        (float(score), image, [float(v) for v in box])
        for image, found_in in enumerate(predictions)
        for box, score, one in zip(found_in["boxes"], found_in["scores"], found_in["labels"], strict=True)
        if one == label
    ]
    curve = plain_curve(detections, targets, label, positives)
    if use_11_points:
        best_at = [max([p for r, p in curve if r >= level / 10 - 1e-9], default=0.0) for level in range(11)]
        return sum(best_at) / 11
    area = last = 0.0
    for i, (recall, _) in enumerate(curve):
        area += (recall - last) * max(p for _, p in curve[i:])
        last = recall
    return area


def close(one, other):
    return (math.isnan(one) and math.isnan(other)) or abs(one - other) < 1e-9


@pytest.mark.parametrize("use_11_points", [False, True])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), grid=st.sampled_from([1.0, 20.0, 50.0]))
def test_voc_agrees_with_a_plain_walk_through_the_protocol(use_11_points, seed, grid):
    predictions, targets = random_images(seed, images=8, grid=grid)
    for item in predictions + targets:
        item["boxes"][:, 2:] = np.maximum(item["boxes"][:, 2:], item["boxes"][:, :2] + grid)
    metric = VocMetric(CLASSES, use_11_points=use_11_points)
    metric.process(predictions[:3], targets[:3])
    metric.process(predictions[3:], targets[3:])
    scores = metric.evaluate()
    name = "VOC50-11" if use_11_points else "VOC50"
    expected = [plain_voc(predictions, targets, label, use_11_points) for label in (1, 2, 3)]
    assert all(close(scores[f"{name}/{c}"], e) for c, e in zip(CLASSES, expected, strict=True))
    known = [e for e in expected if not math.isnan(e)]
    assert close(scores[name], sum(known) / len(known) if known else math.nan)


@pytest.mark.parametrize("use_11_points", [False, True])
def test_voc_agrees_with_the_plain_walk_on_200_hostile_sets(use_11_points):
    name = "VOC50-11" if use_11_points else "VOC50"
    for seed in range(200):
        predictions, targets = hostile_images(seed)
        metric = VocMetric(CLASSES, use_11_points=use_11_points)
        metric.process(predictions, targets)
        scores = metric.evaluate()
        for label, one in enumerate(CLASSES, start=1):
            assert close(scores[f"{name}/{one}"], plain_voc(predictions, targets, label, use_11_points)), (seed, one)


def image(boxes=(), labels=None, ignore=None):
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels or [1] * len(boxes), dtype=torch.int64),
        "ignore": torch.tensor(ignore or [False] * len(boxes), dtype=torch.bool),
        "size": (100, 100),
    }


def found(*detections):
    """Take (box, score) or (box, score, label)."""
    return {
        "boxes": torch.tensor([d[0] for d in detections], dtype=torch.float32).reshape(-1, 4),
        "scores": torch.tensor([d[1] for d in detections], dtype=torch.float32),
        "labels": torch.tensor([d[2] if len(d) > 2 else 1 for d in detections], dtype=torch.int64),
    }


def voc(prediction, target, **options):
    metric = VocMetric(("cat",), **options)
    metric.process([prediction], [target])
    return metric.evaluate()[metric._name]


A, B = [0, 0, 10, 10], [50, 50, 70, 70]


def test_voc_counts_an_overlap_of_exactly_one_half():
    assert voc(found(([0, 0, 10, 5], 0.9)), image([A])) == 1
    assert voc(found(([0, 0, 10, 4.9], 0.9)), image([A])) == 0


def test_voc_counts_a_second_hit_as_a_false_positive():
    assert voc(found((A, 0.9), (A, 0.8), (B, 0.7)), image([A, B])) == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_voc_detection_keeps_its_best_truth_even_when_that_is_taken():
    other = [0, 0, 10, 12]
    # both detections prefer A; the second one would also overlap `other` enough
    assert voc(found((A, 0.9), (A, 0.8)), image([A, other])) == pytest.approx(0.5)


def test_voc_leaves_ignored_truths_out():
    target = image([A, B], ignore=[True, False])
    assert voc(found((A, 0.9), (A, 0.8), (B, 0.7)), target) == 1
    assert math.isnan(voc(found((A, 0.9)), image([A], ignore=[True])))


def test_voc_half_the_truths_found():
    assert voc(found((A, 0.9)), image([A, B])) == pytest.approx(0.5)
    assert voc(found((A, 0.9)), image([A, B]), use_11_points=True) == pytest.approx(6 / 11)


def test_voc_worked_example():
    recall, precision = np.array([0.5, 0.5]), np.array([1.0, 0.5])
    assert average_precision(recall, precision) == pytest.approx(0.5)
    assert average_precision(recall, precision, use_11_points=True) == pytest.approx(6 / 11)


def test_voc_mean_leaves_out_classes_without_truth():
    metric = VocMetric(CLASSES)
    metric.process([found((A, 0.9), (B, 0.8, 2))], [image([A])])
    scores = metric.evaluate()
    assert scores["VOC50"] == scores["VOC50/cat"] == 1
    assert math.isnan(scores["VOC50/dog"])


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


@pytest.mark.parametrize("metric", [CocoMetric(CLASSES), VocMetric(CLASSES), VocMetric(CLASSES, use_11_points=True)])
def test_metrics_handle_nothing_and_can_be_reset(metric):
    metric.reset()
    assert all(math.isnan(value) for value in metric.evaluate().values())
    metric.process([found()], [image()])
    assert all(math.isnan(value) for value in metric.evaluate().values())
    metric.process([found()], [image([A])])
    first = metric.evaluate()
    main = next(iter(first))
    assert first[main] == 0
    assert metric.evaluate().keys() == first.keys()
    metric.process([found((A, 0.5))], [image([A])])
    assert metric.evaluate()[main] == pytest.approx(0.5, abs=0.05)
    metric.reset()
    metric.process([found((A, 0.5))], [image([A])])
    assert metric.evaluate()[main] == pytest.approx(1)
    assert all(type(value) is float for value in metric.evaluate().values())


@pytest.mark.parametrize("metric", [CocoMetric(CLASSES), VocMetric(CLASSES)])
@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (found((A, 0.9, 4)), image([A]), "label 4 is outside 1…3"),
        (found((A, 0.9)), image([A], labels=[0]), "label 0 is outside 1…3"),
        ({**found((A, 0.9)), "scores": []}, image([A]), "1 boxes, 0 scores, 1 labels"),
        (found((A, 0.9)), {**image([A]), "areas": []}, "1 boxes, 1 own boxes, 0 areas"),
        (found((A, 0.9)), {**image([A]), "own_boxes": [A, B]}, "1 boxes, 2 own boxes, 1 areas"),
        (found((A, 0.9)), {**image([A]), "ignore": []}, "1 boxes, 1 labels, 0 ignore flags"),
        (found(([9, 0, 5, 10], 0.9)), image([A]), r"a prediction has the box \[9.0, 0.0, 5.0, 10.0\]: finite x1 <= x2"),
        (found((A, 0.9)), image([[0, 5, 5, 1]]), r"a target has the box \[0.0, 5.0, 5.0, 1.0\]: finite"),
        (found(([0, 0, math.inf, 9], 0.9)), image([A]), "a prediction has the box .*inf"),
        (found(([0, math.nan, 9, 9], 0.9)), image([A]), "a prediction has the box .*nan"),
        (found((A, math.nan)), image([A]), "a prediction has a score that is NaN"),
    ],
)
def test_metrics_refuse_what_does_not_fit(metric, prediction, target, message):
    metric.reset()
    with pytest.raises(ValueError, match=message):
        metric.process([found((A, 0.9)), prediction], [image([A]), target])
    assert all(math.isnan(value) for value in metric.evaluate().values())  # nothing of the batch was taken in
    with pytest.raises(ValueError, match="zip"):
        metric.process([found()], [])
