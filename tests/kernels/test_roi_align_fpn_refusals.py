"""What RoIAlign refuses, and what it says of it."""

import pytest
import torch

from spnas_kernels import _library, roi_align_fpn
from spnas_kernels.references import roi_align_fpn as reference

FEATURE = torch.zeros(2, 3, 8, 8)
ROIS = torch.tensor([[0.0, 1, 1, 5, 5]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": []}, "features is empty"),
        (
            {"features": [FEATURE.long()]},
            "features are torch.int64 on cpu: they must be float32, float64, float16, bfloat16",
        ),
        ({"features": [FEATURE[0]]}, r"features\[0\] has shape \(3, 8, 8\)"),
        ({"features": [FEATURE[:, :, :0]]}, r"features\[0\] has shape \(2, 3, 0, 8\)"),
        (
            {"features": [FEATURE, FEATURE[:, :2]], "spatial_scales": [1, 0.5]},
            r"features\[1\] has 2 images and 2 channels, features\[0\] 2 and 3",
        ),
        ({"features": [FEATURE, FEATURE.double()], "spatial_scales": [1, 0.5]}, r"features\[1\] is torch.float64"),
        ({"rois": ROIS[:, :4]}, r"rois has shape \(1, 4\)"),
        ({"rois": ROIS.double()}, "rois are torch.float64"),
        ({"output_size": 0}, "output_size is 0 x 0"),
        ({"output_size": (2048, 2048)}, "output_size is 2048 x 2048"),
        ({"spatial_scales": [1.0, 0.5]}, "for 1 levels"),
        ({"spatial_scales": [0.0]}, "one positive number each"),
        ({"sampling_ratio": -1}, "sampling_ratio is -1"),
        ({"canonical_size": 0.0}, "canonical_size is 0.0"),
        ({"rois": ROIS.expand(60_000_000, 5)}, "give 2\\^31 elements or more"),
    ],
)
def test_impossible_arguments_are_refused(change, message):
    arguments = {"features": [FEATURE], "rois": ROIS, "output_size": 7, "spatial_scales": [1.0]} | change
    with pytest.raises(ValueError, match=message):
        roi_align_fpn(
            arguments.pop("features"),
            arguments.pop("rois"),
            arguments.pop("output_size"),
            arguments.pop("spatial_scales"),
            **arguments,
        )


@pytest.mark.parametrize(
    ("roi", "message"),
    [
        ([2.0, 1, 1, 5, 5], r"rois\[0\] is of image 2: the features hold images 0 to 1"),
        ([-1.0, 1, 1, 5, 5], r"rois\[0\] is of image -1"),
        ([0.5, 1, 1, 5, 5], r"rois\[0\] is of image 0.5"),
        ([0.0, torch.nan, 1, 5, 5], r"rois\[0, 1\] is nan"),
        ([0.0, 1, 1, torch.inf, 5], r"rois\[0, 3\] is inf"),
        ([0.0, 1, 1, 1e9, 5], r"rois\[0, 3\] is 1e\+09"),
        ([0.0, 5, 1, 1, 5], r"rois\[0\] is \(5, 1, 1, 5\): x1 <= x2"),
    ],
)
def test_impossible_rois_are_refused_by_operator_and_reference(roi, message):
    rois = torch.tensor([roi])
    with pytest.raises(RuntimeError, match=message):
        roi_align_fpn([FEATURE], rois, 2, [1.0])
    with pytest.raises(RuntimeError, match=message):
        reference.roi_align_fpn([FEATURE], rois, [1.0], 2, 2, 0, False, 0, 4, 224.0)


def test_the_first_impossible_roi_is_the_one_that_is_named():
    rois = torch.tensor([[0.0, 5, 1, 1, 5], [9.0, 1, 1, 5, 5], [0.0, torch.nan, 1, 5, 5]])
    for pool in (
        lambda: roi_align_fpn([FEATURE], rois, 2, [1.0]),
        lambda: reference.roi_align_fpn([FEATURE], rois, [1.0], 2, 2, 0, False, 0, 4, 224.0),
    ):
        with pytest.raises(RuntimeError, match=r"rois\[0\] is \(5, 1, 1, 5\)"):
            pool()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: torch.zeros(1, 4)}, r"rois must be a contiguous Tensor\[K, 5\]"),
        ({1: ROIS.double()}, "rois must be float32"),
        ({3: [-1]}, r"features\[0\] can't hold 2 images of -1 x 8 pixels"),
        ({5: []}, "must have one entry per level"),
        ({0: torch.zeros(1, 3, 2, 3)}, "the gradient must be a contiguous Tensor"),
        ({8: 2**62}, r"the pooled size must be positive and have at most 2\^20 bins"),
    ],
)
def test_the_backward_operator_checks_for_itself(change, message):
    arguments = [torch.zeros(1, 3, 2, 2), ROIS, 2, [8], [8], [0], False, [1.0], 2, 2, 0, False, 0, 4, 224.0]
    for place, value in change.items():
        arguments[place] = value
    with pytest.raises(RuntimeError, match=message):
        torch.ops.spnas.roi_align_fpn_backward(*arguments)


@pytest.mark.skipif(not _library.is_loaded(), reason="the native library was not built")
def test_more_pixels_of_an_axis_than_can_be_counted_are_refused():
    tall, roi = torch.zeros(1, 1, 4096, 1), torch.tensor([[0.0, 0, 0, 1, 4095]])
    with pytest.raises(RuntimeError, match=r"rois\[0\] reads up to 4294967296 pixels along one axis in 1048576 bins"):
        roi_align_fpn([tall], roi, (2**20, 1), [1.0], sampling_ratio=2048)
