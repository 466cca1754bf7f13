"""Detection matching against its reference, exact arithmetic on fractions, and pycocotools."""

import importlib
import io
import sys
from contextlib import redirect_stdout
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_cases import POLICIES, assert_same, by_reference, case, random_case

from spnas_kernels import match_detections
from spnas_kernels._library import find, mode

matching = importlib.import_module("spnas_kernels.match_detections")  # the package's attribute is the function


def overlap_of(detection, truth, offset, is_region):
    """Compute the overlap of two boxes of fractions."""

    def area(box):
        return (box[2] - box[0] + offset) * (box[3] - box[1] + offset)

    shared = [*map(max, detection[:2], truth[:2]), *map(min, detection[2:], truth[2:])]
    if shared[2] - shared[0] + offset <= 0 or shared[3] - shared[1] + offset <= 0:
        return Fraction(0)
    return area(shared) / (area(detection) if is_region else area(detection) + area(truth) - area(shared))


def fractions_of(boxes):
    return [[Fraction(value) for value in box] for box in boxes.tolist()]


def by_fractions(arguments):
    """Match in exact arithmetic, from the rules as they are told, with no order but that of the scores."""
    offset, threshold = Fraction(arguments["pixel_offset"]), Fraction(arguments["iou_threshold"])
    detections, truths = fractions_of(arguments["detections"]), fractions_of(arguments["truths"])
    scores, ignored = arguments["scores"].tolist(), arguments["ignored"].tolist()
    regions = [False] * len(truths) if arguments["regions"] is None else arguments["regions"].tolist()
    switches = arguments["policy"] == "best-unmatched"
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    taken, truth_of, outcomes = set(), [-1] * len(scores), [0] * len(scores)
    for detection in order:
        wishes = []
        for index in np.flatnonzero(arguments["truth_images"] == arguments["detection_images"][detection]).tolist():
            value = overlap_of(detections[detection], truths[index], offset, regions[index])
            fits = value >= threshold if arguments["inclusive"] else value > threshold
            if fits and not (switches and index in taken):
                wishes.append((switches and ignored[index], -value, index))
        chosen = min(wishes)[2] if wishes else None
        if chosen is not None and ignored[chosen]:
            truth_of[detection], outcomes[detection] = chosen, -1
        elif chosen is not None and chosen not in taken:
            taken.add(chosen)
            truth_of[detection], outcomes[detection] = chosen, 1
    return truth_of, outcomes, order


def test_the_compiled_module_is_what_runs():
    if mode() == "reference" or find("_matching") is None:
        # Never under SPNAS_KERNELS=require, as in CI: there the import would have failed.
        pytest.skip("the compiled module was not built or is not wanted")
    assert matching._native is sys.modules["spnas_kernels._matching"].match


@settings(max_examples=300)
@given(seed=st.integers(0, 2**32), images=st.integers(0, 4), most=st.sampled_from([0, 3, 12]))
def test_ties_on_a_grid_equal_reference_and_fractions(seed, images, most):
    arguments = random_case(np.random.default_rng(seed), images=images, most_detections=9, most_truths=most, grid=True)
    matches = match_detections(**arguments)
    assert_same(matches, by_fractions(arguments))
    assert_same(matches, by_reference(arguments))


@pytest.mark.parametrize("seed", range(60))
def test_arbitrary_floats_equal_reference(seed):
    arguments = random_case(np.random.default_rng(seed), images=9, most_detections=30, most_truths=12, grid=False)
    arguments["iou_threshold"] = float(np.random.default_rng(seed).uniform(0.05, 0.9))
    assert_same(match_detections(**arguments), by_reference(arguments))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("regions", [None, "some"])
@pytest.mark.parametrize("scale", [1e-320, 1e-160, 1e150, 1e308])
def test_underflow_and_overflow_equal_reference(policy, regions, scale):
    rng = np.random.default_rng(5)
    arguments = random_case(rng, images=3, most_detections=12, most_truths=8, grid=True)
    arguments |= {"policy": policy, "regions": arguments["ignored"] if regions else None, "pixel_offset": 0.0}
    with np.errstate(all="ignore"):
        arguments |= {name: np.minimum(arguments[name] * scale, 1.7e308) for name in ("detections", "truths")}
    assert_same(match_detections(**arguments), by_reference(arguments))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(5))
def test_threads_change_nothing(policy, seed):
    arguments = random_case(np.random.default_rng(seed), images=12, most_detections=60, most_truths=9, grid=True)
    arguments["policy"] = policy
    alone = match_detections(**arguments, threads=1)
    for threads in (2, 7, 10**9, None):
        assert_same(match_detections(**arguments, threads=threads), (alone.truth, alone.outcome, alone.order))


def test_many_small_images_reach_every_thread_alike():
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 4, (20_000, 2))
    boxes = np.concatenate([corners, corners + rng.integers(1, 5, (20_000, 2))], axis=1)
    arguments = case(
        boxes[:15_000], rng.integers(0, 9, 15_000), rng.integers(0, 3000, 15_000), boxes[15_000:],
        rng.integers(0, 3000, 5000), rng.random(5000) < 0.2, regions=None, iou_threshold=0.5, inclusive=True,
        pixel_offset=0.0, policy="best-unmatched",
    )  # fmt: skip
    expected = by_reference(arguments)
    for threads in (1, 2, 7):
        assert_same(match_detections(**arguments, threads=threads), expected)


def test_documented_example():
    arguments = case([[0, 0, 10, 9]] * 2, [0.9, 0.8], [0, 0], [[0, 0, 10, 10], [0, 0, 10, 8]], [0, 0], [False] * 2)
    assert_same(match_detections(**arguments), ([0, 1], [1, 1], [0, 1]))
    assert_same(match_detections(**arguments, policy="best-then-flag"), ([0, -1], [1, 0], [0, 1]))


@pytest.mark.parametrize("policy", POLICIES)
def test_overlap_exactly_on_the_threshold_fits_only_if_inclusive(policy):
    arguments = case([[0, 0, 10, 10]], [1], [3], [[0, 0, 10, 5]], [3], [False], policy=policy)
    assert match_detections(**arguments).outcome.tolist() == [1]
    assert match_detections(**arguments, inclusive=False).outcome.tolist() == [0]


def test_a_real_truth_goes_before_a_better_ignored_one():
    arguments = case([[0, 0, 10, 10]] * 3, [3, 2, 1], [0] * 3, [[0, 0, 10, 10], [0, 0, 10, 8]], [0, 0], [True, False])
    assert_same(match_detections(**arguments), ([1, 0, 0], [1, -1, -1], [0, 1, 2]))
    assert_same(match_detections(**arguments, policy="best-then-flag"), ([0, 0, 0], [-1, -1, -1], [0, 1, 2]))


def test_a_region_takes_what_lies_inside_and_an_ignored_truth_does_not():
    arguments = case([[2, 2, 4, 4]], [1], [0], [[0, 0, 100, 100]], [0], [True])
    assert match_detections(**arguments).outcome.tolist() == [0]
    assert match_detections(**arguments, regions=np.array([True])).outcome.tolist() == [-1]


def test_an_offset_is_the_devkits_and_without_its_threshold_py_faster_rcnns():
    # Widths 10 and 5 as both count them: IoU 1/2, which VOCevaldet.m takes (ovmax >= minoverlap) and voc_eval does not
    # (ovmax > ovthresh); without the offset 4/9.
    arguments = case([[0, 0, 9, 9]], [1], [0], [[0, 0, 9, 4]], [0], [False])
    assert match_detections(**arguments).outcome.tolist() == [0]
    assert match_detections(**arguments, pixel_offset=1.0).outcome.tolist() == [1]
    assert match_detections(**arguments, pixel_offset=1.0, inclusive=False).outcome.tolist() == [0]


def test_order_is_stable_over_zeros_and_infinities():
    scores = [0.0, -0.0, np.inf, -np.inf, 1e-310, -1e-310, 0.0, np.inf, -np.inf]
    arguments = case(np.zeros((9, 4)), scores, np.arange(9)[::-1])
    assert match_detections(**arguments).order.tolist() == [2, 7, 4, 0, 1, 6, 5, 3, 8]


@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_in_nothing_out(policy):
    assert_same(match_detections(**case(policy=policy)), ([], [], []))
    no_detections = case(truths=[[0, 0, 1, 1]], truth_images=[0], ignored=[False], policy=policy)
    assert_same(match_detections(**no_detections), ([], [], []))
    assert_same(match_detections(**case([[0, 0, 1, 1]], [1], [4], policy=policy)), ([-1], [0], [0]))
    elsewhere = case([[0, 0, 1, 1]], [1], [4], [[0, 0, 1, 1]], [5], [False], policy=policy)
    assert_same(match_detections(**elsewhere), ([-1], [0], [0]))


@pytest.mark.parametrize("threshold", [0.5, 0.75])
@pytest.mark.parametrize("seed", range(20))
def test_best_unmatched_is_coco_matching_with_crowds(seed, threshold):
    """Boxes on a fine dyadic grid survive COCO's width and height exactly, and hardly tie."""
    mask = pytest.importorskip("pycocotools.coco")
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    rng = np.random.default_rng(seed)
    images, per_image, truths_per_image = 6, 25, 8

    def boxes(count, spread):
        corners, sizes = rng.integers(0, spread, (count, 2)), rng.integers(2048, 4096, (count, 2))
        return np.concatenate([corners, corners + sizes], axis=1) / 128

    truths, truth_images = boxes(images * truths_per_image, 8000), np.repeat(np.arange(images), truths_per_image)
    near = rng.integers(0, len(truths), images * per_image)
    detections = truths[near] + rng.integers(-400, 400, (len(near), 4)) / 128
    detection_images, crowds = truth_images[near], rng.random(len(truths)) < 0.3
    scores = rng.integers(0, 40, len(detections)) / 40

    def annotations(rows, numbers):
        sizes = rows[:, 2:] - rows[:, :2]
        for index, (row, size, number) in enumerate(zip(rows, sizes, numbers, strict=True)):
            bbox = [*row[:2].tolist(), *size.tolist()]
            area = float(size.prod())
            yield {"id": index + 1, "image_id": int(number), "category_id": 1, "bbox": bbox, "area": area, "iscrowd": 0}

    with redirect_stdout(io.StringIO()):
        truth_set, found = mask.COCO(), mask.COCO()
        listed = [
            note | {"iscrowd": int(crowd)}
            for note, crowd in zip(annotations(truths, truth_images), crowds, strict=True)
        ]
        frame = {"images": [{"id": image} for image in range(images)], "categories": [{"id": 1}]}
        truth_set.dataset = frame | {"annotations": listed}
        notes = annotations(detections, detection_images)
        found.dataset = frame | {"annotations": [n | {"score": s} for n, s in zip(notes, scores.tolist(), strict=True)]}
        truth_set.createIndex()
        found.createIndex()
        run = evaluation.COCOeval(truth_set, found, "bbox")
        run.params.iouThrs, run.params.areaRng, run.params.areaRngLbl = [threshold], [[0, 1e10]], ["all"]
        run.params.maxDets = [len(detections)]
        run.evaluate()

    expected, expected_truth = np.zeros(len(detections), dtype=np.int8), np.full(len(detections), -1)
    for image in filter(None, run.evalImgs):
        indices = np.array(image["dtIds"]) - 1
        matched = image["dtMatches"][0].astype(np.int64)
        expected[indices] = np.where(matched > 0, np.where(image["dtIgnore"][0], -1, 1), 0)
        expected_truth[indices] = matched - 1
    matches = match_detections(
        detections, scores, detection_images, truths, truth_images, crowds, regions=crowds, iou_threshold=threshold
    )
    np.testing.assert_array_equal(matches.outcome, expected)
    # Several crowds that hold a detection whole tie at 1, of which COCO takes the last.
    np.testing.assert_array_equal(matches.truth[expected != -1], expected_truth[expected != -1])
    assert set(expected.tolist()) == {-1, 0, 1}
