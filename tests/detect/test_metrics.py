"""VOC's numbers against a plain walk through its protocol, and what all metrics refuse; COCO's are next door."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_images import CLASSES, A, B, close, found, hostile_images, image, random_images

from spnas_detect.metrics import CocoMetric, VocMetric
from spnas_detect.metrics.voc import average_precision


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
    for _, number, box in sorted(detections, key=lambda detection: -detection[0]):
        target = targets[number]
        overlaps = [
            plain_iou(box, truth) if one == label else -1.0
            for truth, one in zip(target["boxes"], target["labels"], strict=True)
        ]
        best = overlaps.index(max(overlaps)) if overlaps else None
        if best is None or overlaps[best] < 0.5:
            misses += 1
        elif target["ignore"][best]:
            continue
        elif (number, best) in taken:
            misses += 1
        else:
            taken.add((number, best))
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


def voc(prediction, target, **options):
    metric = VocMetric(("cat",), **options)
    metric.process([prediction], [target])
    return metric.evaluate()[metric._name]


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
