"""Arguments of the wrong kind are refused by name, and what means the same as a right one is taken."""

import re

import numpy as np
import pytest
import torch

from spnas_kernels import (
    CopyPlan,
    assign_targets,
    copy_weights_,
    match_detections,
    nms_grouped,
    nms_grouped_padded,
    roi_align_fpn,
)

FEATURES = [torch.randn(2, 8, 16, 16), torch.randn(2, 8, 8, 8)]
ROIS = torch.tensor([[0.0, 1, 1, 40, 40]])
BOXES = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 3], [9, 9, 10, 10]])
SCORES = torch.tensor([0.5, 0.9, 0.1])
GROUPS = torch.zeros(3, dtype=torch.int64)


def pool(features=FEATURES, rois=ROIS, output_size=7, spatial_scales=(1 / 4, 1 / 8), **options):
    return roi_align_fpn(features, rois, output_size, spatial_scales, **options)


def suppress(boxes=BOXES, scores=SCORES, groups=GROUPS, iou_threshold=0.5, max_keep=None):
    return nms_grouped(boxes, scores, groups, iou_threshold, max_keep)


def suppress_padded(max_keep):
    return nms_grouped_padded(BOXES[None], SCORES[None], GROUPS[None], 0.5, max_keep)


def assign(boxes=BOXES, objects=BOXES[None], labels=GROUPS[None] + 1, foreground=0.5, background=0.4, **options):
    return assign_targets(boxes, objects, labels, foreground, background, **options)


def copy(destinations=None, sources=None, **options):
    destinations = [torch.zeros(2, 3)] if destinations is None else destinations
    copy_weights_(destinations, [torch.ones(2, 3)] if sources is None else sources, **options)


def match(**options):
    boxes, images = np.zeros((2, 4)), np.zeros(2, np.int64)
    return match_detections(boxes, np.zeros(2), images, boxes, images, np.zeros(2, np.bool_), **options)


REFUSED = [
    (pool, "output_size", 7.0, "output_size must be a whole number, not 7.0"),
    (pool, "output_size", (7.0, 7), "output_size must be a whole number, not 7.0"),
    (pool, "output_size", (7, 7, 7), "output_size is (7, 7, 7): height and width, or one number for both, are needed"),
    (pool, "output_size", None, "output_size must be a whole number, not None"),
    (pool, "output_size", True, "output_size must be a whole number, not True"),
    (pool, "output_size", "77", "output_size must be a whole number, not '77'"),
    (pool, "output_size", torch.tensor(7), "output_size must be a whole number, not Tensor"),
    (pool, "spatial_scales", 0.25, "spatial_scales must be a sequence, not 0.25"),
    (pool, "spatial_scales", ("a", "b"), "spatial_scales[0] must be a number, not 'a'"),
    (pool, "spatial_scales", {"p2": 0.25, "p3": 0.125}, "spatial_scales must be a sequence, not dict"),
    (pool, "sampling_ratio", 2.5, "sampling_ratio must be a whole number, not 2.5"),
    (pool, "sampling_ratio", None, "sampling_ratio must be a whole number, not None"),
    (pool, "canonical_level", 4.5, "canonical_level must be a whole number, not 4.5"),
    (pool, "first_level", 2.0, "first_level must be a whole number, not 2.0"),
    (pool, "first_level", 2**70, f"first_level is {2**70}: it must fit into 64 bits"),
    (pool, "canonical_size", "224", "canonical_size must be a number, not '224'"),
    (pool, "aligned", "no", "aligned must be True or False, not 'no'"),
    (pool, "rois", [ROIS[:, 1:]], "rois must be a tensor, not list"),
    (pool, "rois", None, "rois must be a tensor, not None"),
    (pool, "rois", ROIS.to_sparse(), "rois must be a dense tensor, not a sparse_coo one"),
    (pool, "features", dict(enumerate(FEATURES)), "features must be a sequence, not dict"),
    (pool, "features", None, "features must be a sequence, not None"),
    (pool, "features", [FEATURES[0], None], "features[1] must be a tensor, not None"),
    (pool, "features", [level.numpy() for level in FEATURES], "features[0] must be a tensor, not ndarray"),
    (
        pool,
        "features",
        [level.to_sparse() for level in FEATURES],
        "features[0] must be a dense tensor, not a sparse_coo",
    ),
    (
        pool,
        "features",
        [level.to_mkldnn() for level in FEATURES],
        "features[0] must be a dense tensor, not a _mkldnn one",
    ),
    (suppress, "boxes", BOXES.tolist(), "boxes must be a tensor, not list"),
    (suppress, "scores", SCORES.to_sparse(), "scores must be a dense tensor, not a sparse_coo one"),
    (suppress, "groups", None, "groups must be a tensor, not None"),
    (suppress, "iou_threshold", "a", "iou_threshold must be a number, not 'a'"),
    (suppress, "iou_threshold", 0.5j, "iou_threshold must be a number, not 0.5j"),
    (suppress, "max_keep", 2.5, "max_keep must be a whole number, not 2.5"),
    (suppress, "max_keep", True, "max_keep must be a whole number, not True"),
    (suppress_padded, "max_keep", None, "max_keep must be a whole number, not None"),
    (suppress_padded, "max_keep", 10**30, f"max_keep is {10**30}: it must fit into 64 bits"),
    (assign, "boxes", BOXES.tolist(), "boxes must be a tensor, not list"),
    (assign, "labels", [[1, 1, 1]], "labels must be a tensor, not list"),
    (assign, "foreground", "a", "foreground must be a number, not 'a'"),
    (assign, "keeps_best", "x", "keeps_best must be True or False, not 'x'"),
    (assign, "keeps_best", 2, "keeps_best must be True or False, not 2"),
    (copy, "destinations", {"weight": torch.zeros(2, 3)}, "destinations must be a sequence, not dict"),
    (copy, "sources", [None], "sources[0] must be a tensor, not None"),
    (copy, "sources", [torch.ones(2, 3).to_sparse()], "sources[0] must be a dense tensor, not a sparse_coo one"),
    (copy, "output_maps", [[1, 0]], "output map 0 must be a tensor, not list"),
    (copy, "input_maps", [np.array([1, 0, 2])], "input map 0 must be a tensor, not ndarray"),
    (copy, "output_maps", 1, "output_maps must be a sequence, not 1"),
    (copy, "scales", ["a"], "scale 0 is 'a': scales are numbers or tensors on the CPU"),
    (copy, "scales", [1j], "scale 0 is 1j: scales are numbers or tensors on the CPU"),
    (match, "inclusive", np.array([True, False]), "inclusive must be True or False, not ndarray"),
    (match, "threads", True, "threads must be a whole number from 1 on, or None, not True"),
]


@pytest.mark.parametrize(
    ("call", "name", "given", "words"), REFUSED, ids=lambda value: getattr(value, "__name__", None)
)
def test_an_argument_of_the_wrong_kind_is_refused_by_name(call, name, given, words):
    with pytest.raises(ValueError, match="^" + re.escape(words)):
        call(**{name: given})


def test_features_under_autocast_are_cast_only_where_all_are_floating_point():
    mixed = [FEATURES[0], FEATURES[1].int()]
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(ValueError, match=r"features\[1\] is torch\.int32 on cpu"),
    ):
        pool(mixed)
    with torch.autocast("cpu", torch.bfloat16):
        assert pool([FEATURES[0], FEATURES[1].bfloat16()]).dtype == torch.bfloat16


def test_numbers_of_numpy_and_of_tensors_are_taken():
    expected = pool()
    assert torch.equal(pool(output_size=np.int64(7)), expected)
    assert torch.equal(pool(output_size=[np.int32(7), 7], aligned=np.bool_(False)), expected)
    assert torch.equal(pool(spatial_scales=torch.tensor([0.25, 0.125])), expected)
    assert torch.equal(pool(spatial_scales=np.array([0.25, 0.125])), expected)
    assert suppress(iou_threshold=torch.tensor(0.5), max_keep=np.int64(1)).tolist() == [1]
    assert suppress(max_keep=10**12).tolist() == [1, 2]


def test_any_iterable_of_tensors_is_taken():
    weights, new = {"a": torch.zeros(2), "b": torch.zeros(3)}, {"a": torch.ones(2), "b": torch.ones(3)}
    copy_weights_(weights.values(), new.values())
    assert all(bool((weight == 1).all()) for weight in weights.values())
    copy_weights_((weight for weight in weights.values()), (2 * one for one in new.values()))
    CopyPlan(weights.values(), (3 * one for one in new.values()), scales=iter([1.0, None])).run()
    assert all(bool((weight == 3).all()) for weight in weights.values())
    assert torch.equal(pool(features=tuple(FEATURES)), pool(features=iter(FEATURES)))
