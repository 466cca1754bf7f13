"""Detection matching against its reference, exact arithmetic on fractions, and pycocotools."""

import importlib
import io
import re
import sys
from contextlib import redirect_stdout
from dataclasses import FrozenInstanceError
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spnas_kernels
from spnas_kernels import match_detections
from spnas_kernels._library import KernelsMissingError, find, mode
from spnas_kernels.references import match_detections as reference

matching = importlib.import_module("spnas_kernels.match_detections")  # the package's attribute is the function

POLICIES = ("best-unmatched", "best-then-flag")
THRESHOLDS = (0.125, 0.25, 0.5, 0.75, 1.0)  # exact, so that fractions compare with them as floats do


def case(detections=(), scores=(), images=(), truths=(), truth_images=(), ignored=(), **options):
    """Give the arguments of match_detections from plain lists."""
    return {
        "detections": np.array(detections, dtype=np.float64).reshape(-1, 4),
        "scores": np.array(scores, dtype=np.float64),
        "detection_images": np.array(images, dtype=np.int64),
        "truths": np.array(truths, dtype=np.float64).reshape(-1, 4),
        "truth_images": np.array(truth_images, dtype=np.int64),
        "ignored": np.array(ignored, dtype=np.bool_),
        **options,
    }


def random_case(rng, *, images, most_detections, most_truths, grid):
    """Boxes on a coarse grid and scores of few values, for ties, or of any value."""
    counts = rng.integers(0, most_detections + 1, images), rng.integers(0, most_truths + 1, images)
    numbers = rng.choice(np.array([-(2**62), -5, 0, 1, 2, 3, 7, 255, 256, 70_000, 2**40, 2**62]), images, replace=False)
    boxes = []
    for count in map(sum, counts):
        corners = rng.integers(0, 3, (count, 2)) if grid else rng.normal(0, 3, (count, 2))
        sizes = rng.choice([0, 1, 2, 2, 3, 3, 4], (count, 2)) if grid else rng.gamma(3, 3, (count, 2))
        boxes.append(np.concatenate([corners, corners + sizes], axis=1).astype(np.float64))
    total, truth_total = map(sum, counts)
    ignored = rng.random(truth_total) < 0.4
    return {
        "detections": boxes[0],
        "scores": rng.integers(-2, 3, total) / 4 if grid else rng.normal(size=total),
        "detection_images": rng.permutation(np.repeat(numbers, counts[0])),
        "truths": boxes[1],
        "truth_images": rng.permutation(np.repeat(numbers, counts[1])),
        "ignored": ignored,
        "regions": None if rng.random() < 0.3 else ignored & (rng.random(truth_total) < 0.5),
        "iou_threshold": float(rng.choice(THRESHOLDS)),
        "inclusive": bool(rng.random() < 0.5),
        "pixel_offset": float(rng.integers(0, 2)),
        "policy": str(rng.choice(POLICIES)),
    }


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


def by_reference(arguments):
    """Call the reference as match_detections does."""
    names = ("detections", "scores", "detection_images", "truths", "truth_images", "ignored", "regions")
    numbers = ("iou_threshold", "inclusive", "pixel_offset")
    return reference.match(*(arguments[name] for name in (*names, *numbers)), arguments["policy"] == "best-then-flag")


def assert_same(matches, expected):
    for name, dtype, values in zip(("truth", "outcome", "order"), ("int64", "int8", "int64"), expected, strict=True):
        found = getattr(matches, name)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, np.array(values, dtype=dtype), err_msg=name)


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


def test_pixel_offset_is_the_devkits():
    # Widths 10 and 5 as the devkit counts them: IoU 1/2; without the offset 4/9.
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


def good():
    return case([[0, 0, 2, 2], [1, 1, 3, 3]], [0.5, 0.25], [0, 0], [[0, 0, 2, 2]], [0], [False])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"detections": np.zeros(4)}, "detections must have shape [N, 4], not [4]"),
        ({"detections": np.zeros((2, 5))}, "detections must have shape [N, 4], not [2, 5]"),
        ({"truths": np.zeros((1, 4, 1))}, "truths must have shape [N, 4], not [1, 4, 1]"),
        ({"detections": [[1, 2], [3]]}, "detections must be an array of shape [N, 4]: "),
        ({"detections": np.zeros((2, 4), dtype="c16")}, "detections must be float64 [N, 4], not complex128"),
        ({"truths": [["a"] * 4]}, "truths must be float64 [N, 4], not <U1"),
        ({"scores": np.zeros(3)}, "scores must have one entry for each of the 2 detections, not shape [3]"),
        ({"scores": np.zeros((2, 1))}, "scores must have one entry for each of the 2 detections, not shape [2, 1]"),
        ({"scores": np.array([0.5, np.nan])}, "scores must not be NaN: entry 1 is"),
        ({"scores": np.array([True, False])}, "scores must be float64 [N], not bool"),
        ({"detection_images": np.zeros(1, int)}, "detection_images must have one entry for each of the 2 detections"),
        ({"detection_images": np.zeros(2)}, "detection_images must be int64 [N], not float64"),
        ({"detection_images": np.zeros(2, "u8")}, "detection_images must be int64 [N], not uint64"),
        (
            {"truth_images": np.zeros(2, int)},
            "truth_images must have one entry for each of the 1 truths, not shape [2]",
        ),
        ({"truth_images": np.zeros(1, bool)}, "truth_images must be int64 [N], not bool"),
        ({"ignored": np.zeros(0, bool)}, "ignored must have one entry for each of the 1 truths, not shape [0]"),
        ({"ignored": np.zeros(1, int)}, "ignored must be bool [N], not int64"),
        ({"regions": np.zeros(2, bool)}, "regions must have one entry for each of the 1 truths, not shape [2]"),
        ({"regions": np.ones(1, bool)}, "regions must be ignored truths: truth 0 is a region and not ignored"),
        (
            {"detections": np.array([[0, 0, 1, 1], [0, np.nan, 1, 1]])},
            "detections must be finite: box 1 is [0.0, nan, 1.0, 1.0]",
        ),
        ({"truths": np.array([[0, 0, np.inf, 1]])}, "truths must be finite: box 0 is [0.0, 0.0, inf, 1.0]"),
        (
            {"detections": np.array([[0, 0, 1, 1], [2, 0, 1, 1]])},
            "detections must have x1 <= x2 and y1 <= y2: box 1 is [2.0, 0.0, 1.0, 1.0]",
        ),
        ({"truths": np.array([[0, 3, 1, 1]])}, "truths must have x1 <= x2 and y1 <= y2: box 0 is [0.0, 3.0, 1.0, 1.0]"),
        ({"iou_threshold": 0.0}, "iou_threshold must be in (0, 1], not 0.0"),
        ({"iou_threshold": 1.5}, "iou_threshold must be in (0, 1], not 1.5"),
        ({"iou_threshold": float("nan")}, "iou_threshold must be in (0, 1], not nan"),
        ({"iou_threshold": "0.5"}, "iou_threshold must be in (0, 1], not '0.5'"),
        ({"pixel_offset": -1.0}, "pixel_offset must be a finite number from 0 on, not -1.0"),
        ({"pixel_offset": float("inf")}, "pixel_offset must be a finite number from 0 on, not inf"),
        ({"inclusive": "no"}, "inclusive must be True or False, not 'no'"),
        ({"threads": 0}, "threads must be a whole number from 1 on, or None, not 0"),
        ({"threads": 1.5}, "threads must be a whole number from 1 on, or None, not 1.5"),
        (
            {"policy": "best_unmatched"},
            "'best-unmatched', 'best-then-flag', not 'best_unmatched': did you mean 'best-unmatched'?",
        ),
        ({"policy": None}, "not None: choose from best-unmatched, best-then-flag"),
    ],
)
def test_bad_input_is_told(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        match_detections(**(good() | changes))


def test_other_types_and_layouts_are_converted():
    rng = np.random.default_rng(3)
    arguments = random_case(rng, images=5, most_detections=20, most_truths=8, grid=True)
    expected = by_reference(arguments)
    arguments["detections"] = np.asfortranarray(arguments["detections"]).astype(np.int32)
    arguments["truths"] = np.repeat(arguments["truths"].astype(">f4"), 2, axis=0)[::2]
    arguments["scores"] = arguments["scores"].astype(np.float16)
    arguments["ignored"] = np.repeat(arguments["ignored"], 3)[::3]
    packed = np.zeros(8 * len(arguments["scores"]) + 1, dtype=np.uint8)
    unaligned = packed[1:].view(np.int64)
    unaligned[:] = arguments["detection_images"]
    assert not unaligned.flags.aligned
    arguments["detection_images"] = unaligned
    assert_same(match_detections(**arguments), expected)


def test_contiguous_input_is_not_copied_nor_written(monkeypatch):
    arguments = good() | {"regions": np.zeros(1, dtype=np.bool_)}
    seen = []
    run = matching._native or reference.match
    monkeypatch.setattr(matching, "_native", lambda *given: seen.extend(given) or run(*given))
    for value in arguments.values():
        value.flags.writeable = False
    match_detections(**arguments)
    assert all(used is given for used, given in zip(seen, arguments.values(), strict=False))


def test_compiled_module_refuses_to_copy_and_differing_lengths():
    if matching._native is None:
        # Never under SPNAS_KERNELS=require, as in CI: there the import would have failed.
        pytest.skip("the compiled module was not built or is not wanted")
    options = (None, 0.5, True, 0.0, False, 1)
    arrays = list(good().values())
    with pytest.raises(TypeError, match="incompatible function arguments"):
        matching._native(arrays[0].astype(np.float32), *arrays[1:], *options)
    for index in range(6):
        short = [array[:0] if place == index else array for place, array in enumerate(arrays)]
        with pytest.raises(ValueError, match="must be of one length"):
            matching._native(*short, *options)


def test_matches_are_frozen():
    matches = match_detections(**good())
    with pytest.raises(FrozenInstanceError):
        matches.truth = matches.order


def test_reference_runs_where_the_module_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "spnas_kernels._matching", None)
    monkeypatch.setattr(matching, "find", lambda _: None)
    monkeypatch.setenv("SPNAS_KERNELS", "auto")
    assert matching._find_native() is None
    monkeypatch.setattr(matching, "_native", None)
    assert_same(match_detections(**good()), ([0, -1], [1, 0], [0, 1]))


def test_reference_runs_where_it_is_asked_for(monkeypatch):
    monkeypatch.setenv("SPNAS_KERNELS", "reference")
    assert matching._find_native() is None


def test_a_module_that_does_not_load_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "spnas_kernels._matching", None)
    monkeypatch.setattr(matching, "find", lambda name: tmp_path / name)
    monkeypatch.setenv("SPNAS_KERNELS", "auto")
    with pytest.warns(UserWarning, match="match_detections runs in plain NumPy"):
        assert matching._find_native() is None


def test_a_required_module_that_is_missing_raises(monkeypatch):
    monkeypatch.setitem(sys.modules, "spnas_kernels._matching", None)
    monkeypatch.setenv("SPNAS_KERNELS", "require")
    with pytest.raises(KernelsMissingError, match="required and has no matching module"):
        matching._find_native()


def test_the_package_exports_the_operator():
    assert {"match_detections", "Matches"} <= set(spnas_kernels.__all__)
    assert isinstance(match_detections(**good()), spnas_kernels.Matches)
