"""What the comparison of detections lets pass and what it does not."""

import pytest
import torch
from same_detections import assert_same_detections

from spnas_detect.detectors import DetectorSettings

SETTINGS = DetectorSettings(score_threshold=0.1, nms_threshold=0.5, max_detections=4)
FAR, OTHER = (100.0, 0.0, 120.0, 20.0), (200.0, 0.0, 220.0, 20.0)
BOX = (0.0, 0.0, 30.0, 20.0)
SHIFTED = (6.0, 0.0, 36.0, 20.0)  # an overlap of 2/3 with BOX
TWICE = (12.0, 0.0, 42.0, 20.0)  # 2/3 with SHIFTED, 3/7 with BOX
HALF = (10.0, 0.0, 40.0, 20.0)  # exactly 1/2 with BOX


def image(*detections):
    """Of (box, score) or (box, score, label)."""
    boxes, scores, labels = zip(*((*one, 1)[:3] for one in detections), strict=True)
    return {"boxes": torch.tensor(boxes), "scores": torch.tensor(scores), "labels": torch.tensor(labels)}


def moved(box, by):
    return tuple(corner + by for corner in box)


ALIKE = {
    "near-ties in another order": (image((BOX, 0.5), (FAR, 0.499999)), image((FAR, 0.5), (BOX, 0.499999)), 2, 0),
    "last bits": (image((BOX, 0.5), (FAR, 0.3)), image((moved(BOX, 9e-4), 0.500009), (FAR, 0.3)), 2, 0),
    "either of two with equal scores": (
        image((FAR, 0.9), (BOX, 0.5)),
        image((FAR, 0.9), (SHIFTED, 0.500001)),
        1, 2,
    ),
    "what the other one of the two did not suppress": (
        image((BOX, 0.5), (TWICE, 0.3)),
        image((SHIFTED, 0.500001)),
        0, 3,
    ),
    "an overlap at the threshold": (image((BOX, 0.5), (HALF, 0.3)), image((BOX, 0.5)), 1, 1),
    "a score at the threshold": (image((BOX, 0.5), (FAR, 0.100001)), image((BOX, 0.5)), 1, 1),
    "the last of a full image": (
        image((BOX, 0.5), (FAR, 0.4), (OTHER, 0.3), (moved(FAR, 200), 0.2)),
        image((BOX, 0.5), (FAR, 0.4), (OTHER, 0.3), (moved(FAR, 300), 0.200001)),
        3, 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ALIKE)
def test_what_rounding_decides_counts_for_neither_side(name):
    one, other, shared, undecided = ALIKE[name]
    for sides in ((one, other), (other, one)):
        compared = assert_same_detections(*([side] for side in sides), SETTINGS, most_undecided=3)
        assert compared == (shared, undecided)
        if undecided:
            with pytest.raises(AssertionError, match=f"{undecided} detections hang on near-ties, of {shared}"):
                assert_same_detections(*([side] for side in sides), SETTINGS, most_undecided=undecided - 1)


KEPT = image((BOX, 0.5), (FAR, 0.3))
DIFFERENT = {
    "one less": (KEPT, image((BOX, 0.5)), 1),
    "another class": (KEPT, image((BOX, 0.5), (FAR, 0.3, 2)), 2),
    "another score": (KEPT, image((BOX, 0.5), (FAR, 0.30002)), 2),
    "another box": (KEPT, image((BOX, 0.5), (moved(FAR, 15.0), 0.3)), 2),
    "a box twice": (KEPT, image((BOX, 0.5), (FAR, 0.3), (FAR, 0.3)), 1),
    "nothing suppressed": (KEPT, image((BOX, 0.5), (SHIFTED, 0.4), (FAR, 0.3)), 1),
    "the worse of two": (image((BOX, 0.5)), image((SHIFTED, 0.4)), 2),
    "a near-tie with another class": (image((BOX, 0.5)), image((SHIFTED, 0.5, 2)), 2),
    "not the best of a full image": (
        image((BOX, 0.5), (FAR, 0.4), (OTHER, 0.3), (moved(FAR, 200), 0.2)),
        image((FAR, 0.4), (OTHER, 0.3), (moved(FAR, 200), 0.2), (moved(FAR, 300), 0.15)),
        1,
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_rounding_does_not_decide_is_a_fault_of_either_side(name):
    one, other, faults = DIFFERENT[name]
    for sides in ((one, other), (other, one)):
        with pytest.raises(AssertionError, match=f"^{faults} detections have no partner"):
            assert_same_detections(*([side] for side in sides), SETTINGS, most_undecided=9)


def test_each_side_is_ordered_and_has_every_image():
    with pytest.raises(AssertionError, match="image 0: what is expected is not ordered by score"):
        assert_same_detections([KEPT], [image((FAR, 0.3), (BOX, 0.5))], SETTINGS)
    with pytest.raises(ValueError, match="shorter"):
        assert_same_detections([KEPT, KEPT], [KEPT], SETTINGS)


def test_images_without_detections_are_the_same():
    nothing = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.int64)}
    assert assert_same_detections([nothing], [nothing], SETTINGS) == (0, 0)
    with pytest.raises(AssertionError, match="2 detections have no partner"):
        assert_same_detections([nothing], [KEPT], SETTINGS)
