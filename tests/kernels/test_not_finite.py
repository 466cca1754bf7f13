"""RoIAlign of infinities and NaNs, in features and gradients: no bin learns of a pixel that it does not read."""

import math

import pytest
import torch
import torchvision

from spnas_kernels import _library, roi_align_fpn
from spnas_kernels.references.roi_align_fpn import roi_align_fpn as reference

BOXES = [(2.2, 2.2, 11.0, 11.9), (1.3, 1.3, 9.0, 10.0), (-0.4, 0.7, 5.3, 6.1), (2.2, 2.2, 4.9, 5.7)]


def native(feature, rois, pooled, sampling_ratio):
    if not _library.is_loaded():
        pytest.skip("the native library was not built")
    return roi_align_fpn([feature], rois, pooled, [1.0], sampling_ratio=sampling_ratio)


def plain(feature, rois, pooled, sampling_ratio):
    return reference([feature], rois, [1.0], pooled, pooled, sampling_ratio, False, 0, 4, 224.0)


def feature_with(value, channels_last=False):
    feature = torch.randn(1, 19, 12, 12, generator=torch.Generator().manual_seed(5))
    feature[0, :, 2, 2] = value
    return feature.to(memory_format=torch.channels_last) if channels_last else feature


def rois_of(*boxes):
    return torch.tensor([[0.0, *box] for box in boxes])


@pytest.mark.parametrize("pool", [native, plain])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 5])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_the_bins_that_read_a_pixel_are_those_of_torchvision(pool, channels_last, sampling_ratio, value):
    feature, rois = feature_with(value, channels_last), rois_of(*BOXES)
    for pooled in (4, 7):
        expected = torchvision.ops.roi_align(feature, rois, pooled, 1.0, sampling_ratio)
        assert 0 < expected.isfinite().sum() < expected.numel()
        torch.testing.assert_close(pool(feature, rois, pooled, sampling_ratio), expected, equal_nan=True)


@pytest.mark.parametrize("pool", [native, plain])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_the_pixels_that_a_gradient_reaches_are_those_of_torchvision(pool, sampling_ratio, value):
    rois, gradients = rois_of(*BOXES[:2]), []
    for function in (pool, lambda *arguments: torchvision.ops.roi_align(*arguments[:3], 1.0, arguments[3])):
        feature = feature_with(0.5).requires_grad_()
        pooled = function(feature, rois, 7, sampling_ratio)
        incoming = torch.ones_like(pooled)
        incoming[0, :, 3, 3] = value
        pooled.backward(incoming)
        gradients.append(feature.grad)
    assert 0 < gradients[1].isfinite().sum() < gradients[1].numel()
    torch.testing.assert_close(*gradients, equal_nan=True)


@pytest.mark.parametrize("pool", [native, plain])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_sample_on_a_pixel_does_not_read_its_neighbour(pool, channels_last):
    """Where torchvision multiplies the neighbour by zero: the sample lies on pixel (1, 1), the infinity on (2, 2)."""
    feature = feature_with(math.inf, channels_last).requires_grad_()
    pooled = pool(feature, rois_of((0.5, 0.5, 1.5, 1.5)), 1, 1)
    assert torch.equal(pooled[0, :, 0, 0], feature[0, :, 1, 1])
    pooled.backward(torch.full_like(pooled, math.inf))
    assert feature.grad.isinf().sum() == feature.shape[1]
