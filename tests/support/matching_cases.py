"""Arguments of match_detections, and what its reference makes of them."""

import numpy as np

from spnas_kernels.references import match_detections as reference

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
