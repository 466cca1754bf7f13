"""On a GPU RoIAlign gives what the CPU gives, in every memory format and type, with few bins and with many."""

import itertools

import pytest
import torch
from pyramids import SCALES, pyramid, random_rois
from torchvision.ops import roi_align

from spnas_kernels import roi_align_fpn

pytestmark = pytest.mark.gpu

PLANAR, LAST, MIXED = (False,) * 4, (True,) * 4, (True, False, False, True)


def both(features, rois, size, sampling, aligned, weight):
    """Pooled values and gradients on the CPU in float32, and on the GPU in the features' own type."""
    found = []
    for device, dtype in (("cpu", torch.float32), ("cuda", features[0].dtype)):
        leaves = [feature.to(device, dtype).requires_grad_() for feature in features]
        pooled = roi_align_fpn(leaves, rois.to(device), size, SCALES, sampling_ratio=sampling, aligned=aligned)
        assert pooled.is_contiguous()
        gradients = torch.autograd.grad(pooled, leaves, weight.to(device, dtype))
        found.append([pooled.detach().cpu().float(), *(gradient.cpu().float() for gradient in gradients)])
    return found


@pytest.mark.parametrize("formats", [PLANAR, LAST, MIXED])
@pytest.mark.parametrize("size", [1, 7, (3, 5), 14, (16, 2), (17, 3), 33])
@pytest.mark.parametrize("sampling", [0, 1, 2, 5])
@pytest.mark.parametrize("channels", [1, 20, 64, 130])
def test_values_and_gradients_are_those_of_the_cpu(formats, size, sampling, channels):
    generator = torch.Generator().manual_seed(channels)
    features = pyramid(2, channels, 192, 256, generator, formats=formats)
    rois = random_rois(60, 2, 192, 256, generator)
    height, width = (size, size) if isinstance(size, int) else size
    weight = torch.randn(60, channels, height, width, generator=generator)
    ours, theirs = both(features, rois, size, sampling, channels == 20, weight)[::-1]
    torch.testing.assert_close(ours[0], theirs[0], atol=2e-5, rtol=0)
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        assert (one - other).abs().max() <= 1e-4 * other.abs().max().clamp(min=1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("formats", [PLANAR, LAST])
def test_halves_are_computed_in_float32_and_rounded_once(dtype, formats):
    generator = torch.Generator().manual_seed(0)
    features = [feature.to(dtype) for feature in pyramid(2, 64, 192, 256, generator, formats=formats)]
    rois = random_rois(60, 2, 192, 256, generator)
    weight = torch.randn(60, 64, 7, 7, generator=generator).to(dtype)
    theirs, ours = both(features, rois, 7, 2, False, weight.float())
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(
            one, other.to(dtype).float(), atol=1e-4, rtol=2**-7 if dtype == torch.bfloat16 else 2**-10
        )


@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize("sampling", [0, 2])
def test_boxes_far_larger_than_the_image_are_pooled_as_torchvision_pools_them(is_last, sampling):
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(1, 8, 50, 70, generator=generator)
    if is_last:
        feature = feature.contiguous(memory_format=torch.channels_last)
    rois = torch.tensor([[0, -2e5, -2e5, 2e5, 2e5], [0, -30, -4000, 300, 4000], [0, 1, 2, 70, 50]], dtype=torch.float32)
    if sampling == 0:
        rois = rois[1:]  # torchvision's samples of the first one overflow
    ours = roi_align_fpn([feature.cuda()], rois.cuda(), 7, [1.0], sampling_ratio=sampling)
    torch.testing.assert_close(ours.cpu(), roi_align(feature, rois, 7, 1.0, sampling), atol=1e-4, rtol=1e-4)


def test_a_box_of_a_billion_samples_is_pooled_and_finite():
    feature = torch.ones(1, 4, 50, 70, device="cuda", requires_grad=True)
    rois = torch.tensor([[0, -2e5, -2e5, 2e5, 2e5]], device="cuda")
    for deterministic in (False, True):
        torch.use_deterministic_algorithms(deterministic)
        pooled = roi_align_fpn([feature], rois, 7, [1.0])
        # Everything that is inside lies in the middle bin: (50 + 1) (70 + 1) of 57143 by 57143 samples.
        expected = torch.zeros(7, 7)
        expected[3, 3] = 51 * 71 / 57143**2
        torch.testing.assert_close(pooled[0, 0].cpu(), expected, atol=1e-8, rtol=1e-2)
        (gradient,) = torch.autograd.grad(pooled.sum(), feature)
        assert gradient.sum() == pytest.approx(float(pooled.sum()), rel=1e-3)


def test_pixels_that_no_sample_touches_do_not_count():
    for is_last, size in itertools.product((False, True), (7, 20)):
        feature = torch.full((1, 4, 40, 40), torch.nan, device="cuda")
        feature[:, :, 8:33, 8:33] = 1
        feature = feature.contiguous(memory_format=torch.channels_last if is_last else torch.contiguous_format)
        rois = torch.tensor([[0.0, 10, 10, 30, 30]], device="cuda")
        assert torch.allclose(roi_align_fpn([feature], rois, size, [1.0], sampling_ratio=2), feature.new_ones(()))


def test_an_impossible_roi_gives_zeros_and_no_gradient():
    rois = torch.tensor([[7.0, 0, 0, 9, 9], [0, 9, 9, 0, 0], [0, torch.nan, 0, 9, 9], [0, 0, 0, 9, 9]], device="cuda")
    for formats in (PLANAR, LAST, MIXED):
        generator = torch.Generator().manual_seed(0)
        features = [f.cuda().requires_grad_() for f in pyramid(2, 8, 64, 64, generator, formats=formats)]
        pooled = roi_align_fpn(features, rois, 7, SCALES, sampling_ratio=2)
        assert not pooled[:3].any()
        assert pooled[3].any()
        assert not any(g.any() for g in torch.autograd.grad(pooled[:3].sum(), features))
