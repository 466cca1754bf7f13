"""Detection matching: what it refuses, what it converts, and where its reference stands in."""

import importlib
import re
import sys
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from matching_cases import assert_same, by_reference, case, random_case

import spnas_kernels
from spnas_kernels import match_detections
from spnas_kernels._library import KernelsMissingError
from spnas_kernels.references import match_detections as reference

matching = importlib.import_module("spnas_kernels.match_detections")  # the package's attribute is the function


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
    with pytest.raises(
        KernelsMissingError, match=r"required and it(s matching module does not load| has no matching module)"
    ):
        matching._find_native()


def test_the_package_exports_the_operator():
    assert {"match_detections", "Matches"} <= set(spnas_kernels.__all__)
    assert isinstance(match_detections(**good()), spnas_kernels.Matches)
