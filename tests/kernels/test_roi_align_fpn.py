import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyramids import SCALES, pyramid, random_rois
from torchvision.ops import MultiScaleRoIAlign, roi_align

from spnas_kernels import roi_align_fpn
from spnas_kernels.references import roi_align_fpn as reference

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])]


def torchvision_pools(features, rois, size, sampling, height, width, canonical_size=224, canonical_level=4):
    images = len(features[0])
    pooler = MultiScaleRoIAlign(
        [str(level) for level in range(len(features))],
        size,
        sampling,
        canonical_scale=canonical_size,
        canonical_level=canonical_level,
    )
    named = {str(level): feature for level, feature in enumerate(features)}
    pooled = pooler(named, [rois[rois[:, 0] == image, 1:] for image in range(images)], [(height, width)] * images)
    order = torch.cat([(rois[:, 0] == image).nonzero()[:, 0] for image in range(images)])
    return torch.empty_like(pooled).index_copy(0, order, pooled)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    channels=st.sampled_from([1, 3, 16, 17, 40]),
    images=st.integers(1, 3),
    levels=st.integers(1, 4),
    size=st.sampled_from([1, 2, 7, (3, 5), 14]),
    sampling=st.integers(0, 3),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    formats=st.tuples(*[st.booleans()] * 4),
    canonical=st.sampled_from([(224, 4), (64, 3), (100, 5)]),
)
def test_the_pyramid_is_pooled_as_torchvision_pools_it(
    seed, channels, images, levels, size, sampling, dtype, formats, canonical
):
    generator = torch.Generator().manual_seed(seed)
    height, width = 192, 256
    features = pyramid(images, channels, height, width, generator, dtype, formats, levels)
    rois = random_rois(40, images, height, width, generator, dtype)
    ours = roi_align_fpn(
        features,
        rois,
        size,
        SCALES[:levels],
        sampling_ratio=sampling,
        canonical_size=canonical[0],
        canonical_level=canonical[1],
    )
    theirs = torchvision_pools(features, rois, size, sampling, height, width, *canonical)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert ours.is_contiguous()


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    channels=st.integers(1, 20),
    scale=st.sampled_from([1.0, 0.25, 0.3]),
    aligned=st.booleans(),
    sampling=st.integers(0, 4),
    is_last=st.booleans(),
    count=st.sampled_from([30, 200]),
)
def test_one_level_is_pooled_as_torchvision_pools_it(seed, shape, channels, scale, aligned, sampling, is_last, count):
    generator = torch.Generator().manual_seed(seed)
    feature = torch.randn(2, channels, *shape, generator=generator)
    if is_last:
        feature = feature.contiguous(memory_format=torch.channels_last)
    rois = random_rois(count, 2, shape[0] / scale, shape[1] / scale, generator)
    ours = roi_align_fpn([feature], rois, (4, 5), [scale], sampling_ratio=sampling, aligned=aligned)
    theirs = roi_align(feature, rois, (4, 5), scale, sampling, aligned)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("formats", [(False,) * 4, (True,) * 4, (True, False, False, True)])
@pytest.mark.parametrize("sampling", [0, 2])
def test_gradients_are_those_of_torchvision(formats, sampling):
    generator = torch.Generator().manual_seed(sampling)
    height, width = 192, 256
    features = pyramid(2, 19, height, width, generator, formats=formats)
    rois = random_rois(120, 2, height, width, generator)
    gradients = []
    for pool in (
        lambda levels: roi_align_fpn(levels, rois, 7, SCALES, sampling_ratio=sampling),
        lambda levels: torchvision_pools(levels, rois, 7, sampling, height, width),
    ):
        leaves = [feature.clone().requires_grad_() for feature in features]
        pooled = pool(leaves)
        pooled.backward(torch.linspace(-1, 1, pooled.numel()).reshape(pooled.shape))
        gradients.append([leaf.grad for leaf in leaves])
    for ours, theirs, is_last in zip(*gradients, formats, strict=True):
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()
        assert ours.is_contiguous(memory_format=torch.channels_last if is_last else torch.contiguous_format)


@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize("size", [7, (3, 5)])
def test_results_too_large_for_the_caches_are_the_same(is_last, size):
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(1, 40, 344, 321, generator=generator)
    if is_last:
        feature = feature.contiguous(memory_format=torch.channels_last)
    rois = random_rois(8000, 1, 344, 321, generator)
    pooled = roi_align_fpn([feature.requires_grad_()], rois, size, [1.0], sampling_ratio=1)
    expected = roi_align(feature, rois, size, 1.0, 1)
    assert min(pooled.nbytes, feature.nbytes) > 1 << 24
    torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=0)
    weight = torch.linspace(-1, 1, pooled.numel()).reshape(pooled.shape)
    ours, theirs = (torch.autograd.grad(result, feature, weight)[0] for result in (pooled, expected))
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()
    narrow = roi_align_fpn([feature.detach().bfloat16()], rois, size, [1.0], sampling_ratio=1)
    assert (narrow.float() - expected).abs().max() <= 2**-7 * expected.abs().max()


def test_gradients_are_those_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    features = [
        torch.randn(2, 3, 9, 7, generator=generator, dtype=torch.float64).requires_grad_(),
        torch.randn(2, 3, 5, 4, generator=generator, dtype=torch.float64)
        .contiguous(memory_format=torch.channels_last)
        .requires_grad_(),
    ]
    rois = random_rois(12, 2, 36, 28, generator, torch.float64)

    def pool(*levels):
        return roi_align_fpn(levels, rois, 2, [1 / 4, 1 / 8], sampling_ratio=2, canonical_size=16, canonical_level=3)

    assert torch.autograd.gradcheck(pool, features)


def test_gradients_flow_to_the_levels_that_want_them():
    features = pyramid(1, 4, 64, 64, torch.Generator().manual_seed(0))
    features[1].requires_grad_()
    rois = random_rois(60, 1, 64, 64, torch.Generator().manual_seed(1))
    roi_align_fpn(features, rois, 3, SCALES, canonical_size=32).sum().backward()
    assert features[1].grad.abs().sum() > 0
    assert features[0].grad is None


def test_a_second_derivative_is_refused():
    feature = torch.randn(1, 2, 8, 8, requires_grad=True)
    pooled = roi_align_fpn([feature], torch.tensor([[0.0, 1, 1, 6, 6]]), 2, [1.0])
    (gradient,) = torch.autograd.grad((pooled**2).sum(), feature, create_graph=True)
    with pytest.raises(RuntimeError, match="roi_align_fpn can be differentiated once only"):
        gradient.sum().backward()


def test_the_backward_repeats_to_the_bit_with_any_number_of_threads():
    generator = torch.Generator().manual_seed(0)
    features = [feature.requires_grad_() for feature in pyramid(2, 33, 128, 160, generator)]
    rois = random_rois(300, 2, 128, 160, generator)
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 1, 3):
            torch.set_num_threads(count)
            pooled = roi_align_fpn(features, rois, 7, SCALES)
            found.append([pooled.detach(), *torch.autograd.grad(pooled.square().sum(), features)])
    finally:
        torch.set_num_threads(threads)
    for again in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], again, strict=True))


@pytest.mark.parametrize("is_last", [False, True])
def test_bfloat16_is_float32_rounded_once(is_last):
    generator = torch.Generator().manual_seed(0)
    features = [f.bfloat16() for f in pyramid(2, 18, 128, 160, generator, formats=(is_last,) * 4)]
    rois = random_rois(80, 2, 128, 160, generator)
    results = []
    for dtype in (torch.bfloat16, torch.float32):
        leaves = [feature.detach().to(dtype).requires_grad_() for feature in features]
        pooled = roi_align_fpn(leaves, rois, 7, SCALES, sampling_ratio=2)
        assert pooled.dtype == dtype
        pooled.backward(torch.ones_like(pooled))
        results.append([pooled.detach().bfloat16(), *(leaf.grad.bfloat16() for leaf in leaves)])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize("sampling", [0, 2])
def test_the_operator_equals_its_reference(device, is_last, sampling):
    generator = torch.Generator().manual_seed(sampling)
    features = [
        feature.to(device).requires_grad_() for feature in pyramid(2, 21, 128, 160, generator, formats=(is_last,) * 4)
    ]
    rois = random_rois(100, 2, 128, 160, generator).to(device)
    ours = roi_align_fpn(features, rois, (3, 7), SCALES, sampling_ratio=sampling, aligned=True)
    theirs = reference.roi_align_fpn(features, rois, SCALES, 3, 7, sampling, True, 2, 4, 224.0)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    weights = torch.linspace(0, 1, ours.numel(), device=device).reshape(ours.shape)
    gradients = [torch.autograd.grad((pooled * weights).sum(), features) for pooled in (ours, theirs)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_on_a_gpu_is_float32_rounded(dtype):
    generator = torch.Generator().manual_seed(0)
    features = [feature.to("cuda", dtype) for feature in pyramid(2, 64, 256, 256, generator)]
    rois = random_rois(200, 2, 256, 256, generator).cuda()
    ours = roi_align_fpn(features, rois, 7, SCALES, sampling_ratio=2)
    exact = roi_align_fpn([feature.float() for feature in features], rois, 7, SCALES, sampling_ratio=2)
    torch.testing.assert_close(ours.float(), exact, atol=1e-2, rtol=1e-2)


@pytest.mark.gpu
@needs_gpu
def test_the_deterministic_backward_on_a_gpu_repeats_and_equals_the_other():
    generator = torch.Generator().manual_seed(0)
    features = [feature.cuda().requires_grad_() for feature in pyramid(2, 20, 256, 256, generator)]
    rois = random_rois(300, 2, 256, 256, generator).cuda()
    pooled = roi_align_fpn(features, rois, 7, SCALES, sampling_ratio=2)
    usual = torch.autograd.grad(pooled.sum(), features, retain_graph=True)
    torch.use_deterministic_algorithms(mode=True)
    try:
        found = [torch.autograd.grad(pooled.sum(), features, retain_graph=True) for _ in range(3)]
    finally:
        torch.use_deterministic_algorithms(mode=False)
    for one, other, third, atomic in zip(*found, usual, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, third)
        torch.testing.assert_close(one, atomic, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_nothing_in_gives_nothing_out(device):
    feature = torch.randn(2, 5, 8, 8, device=device, requires_grad=True)
    pooled = roi_align_fpn([feature], torch.empty(0, 5, device=device), 7, [0.5])
    assert pooled.shape == (0, 5, 7, 7)
    pooled.sum().backward()
    assert not feature.grad.any()
    no_channels = roi_align_fpn([feature[:, :0].detach()], torch.tensor([[1.0, 0, 0, 4, 4]], device=device), 3, [0.5])
    assert no_channels.shape == (1, 0, 3, 3)
    no_images = roi_align_fpn([feature[:0].detach()], torch.empty(0, 5, device=device), 3, [0.5])
    assert no_images.shape == (0, 5, 3, 3)


def test_meta_tensors_give_the_shape():
    feature = torch.empty(1, 3, 8, 8, device="meta")
    assert roi_align_fpn([feature], torch.empty(4, 5, device="meta"), (2, 3), [1.0]).shape == (4, 3, 2, 3)


def test_the_reference_gives_a_gradient_to_levels_without_rois():
    features = [feature.requires_grad_() for feature in pyramid(1, 2, 64, 64, torch.Generator().manual_seed(0))]
    pooled = reference.roi_align_fpn(features, torch.tensor([[0.0, 0, 0, 9, 9]]), SCALES, 2, 2, 0, False, 2, 4, 224.0)
    pooled.sum().backward()
    assert [bool(feature.grad.any()) for feature in features] == [True, False, False, False]


def test_an_roi_far_outside_gives_zeros():
    feature = torch.full((1, 3, 8, 8), torch.nan)
    rois = torch.tensor([[0.0, 900, 900, 950, 950], [0.0, -90, -90, -50, -50]])
    assert not roi_align_fpn([feature], rois, 2, [1.0], sampling_ratio=2).any()


def test_features_with_gaps_between_their_rows_are_copied_first():
    feature = torch.randn(2, 3, 20, 24)
    rois = torch.tensor([[0.0, 1, 2, 9, 11], [1.0, 0, 0, 10, 10]])
    ours = roi_align_fpn([feature[:, :, ::2, ::2]], rois, 3, [1.0])
    assert torch.equal(ours, roi_align_fpn([feature[:, :, ::2, ::2].contiguous()], rois, 3, [1.0]))


# torch 2.15's check looks at .grad of its copies of listed tensors, and hides the warning only where it is no error.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("device", DEVICES)
def test_torch_accepts_the_operators(device):
    features = [f.to(device).requires_grad_() for f in pyramid(2, 4, 64, 64, torch.Generator().manual_seed(0))]
    rois = random_rois(9, 2, 64, 64, torch.Generator().manual_seed(1)).to(device)
    geometry = (SCALES, 3, 3, 2, False, 2, 4, 224.0)
    torch.library.opcheck(torch.ops.spnas.roi_align_fpn, (features, rois, *geometry))
    gradient = torch.randn(9, 4, 3, 3, device=device)
    sizes = ([16, 8, 4, 2], [16, 8, 4, 2], [0, 1, 0, 1])
    torch.library.opcheck(torch.ops.spnas.roi_align_fpn_backward, (gradient, rois, 2, *sizes, True, *geometry))


def test_it_compiles_into_one_graph():
    features = [feature.requires_grad_() for feature in pyramid(2, 4, 64, 64, torch.Generator().manual_seed(0))]
    rois = random_rois(9, 2, 64, 64, torch.Generator().manual_seed(1))

    def score(*levels):
        return roi_align_fpn(levels, rois, 3, SCALES, sampling_ratio=2).square().sum()

    compiled = torch.compile(score, fullgraph=True, backend="aot_eager")
    for ours, plain in zip(
        torch.autograd.grad(compiled(*features), features), torch.autograd.grad(score(*features), features), strict=True
    ):
        torch.testing.assert_close(ours, plain)


def test_autocast_keeps_coordinates_exact():
    features = pyramid(1, 4, 64, 64, torch.Generator().manual_seed(0))
    mixed = [features[0].bfloat16(), *features[1:]]
    rois = random_rois(9, 1, 64, 64, torch.Generator().manual_seed(1)).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = roi_align_fpn(mixed, rois, 3, SCALES)
    assert torch.equal(pooled, roi_align_fpn([f.bfloat16() for f in features], rois.float(), 3, SCALES))


@pytest.mark.parametrize("isa", ["baseline", "avx2"])
@pytest.mark.parametrize(
    "shape", [pytest.param((2, 20, 128, 160, 60), id="small"), pytest.param((1, 64, 1024, 1024, 1500), id="large")]
)
def test_every_instruction_set_gives_the_same(isa, shape, tmp_path):
    generator = torch.Generator().manual_seed(0)
    images, channels, height, width, count = shape
    features = pyramid(images, channels, height, width, generator, formats=(True, False, False, True))
    rois = random_rois(count, images, height, width, generator)
    torch.save([features, rois], tmp_path / "in.pt")
    script = (
        "import torch; from spnas_kernels import roi_align_fpn\n"
        f"features, rois = torch.load({str(tmp_path / 'in.pt')!r})\n"
        "features = [f.requires_grad_() for f in features]\n"
        f"pooled = roi_align_fpn(features, rois, 7, {SCALES})\n"
        f"torch.save([pooled.detach(), *torch.autograd.grad(pooled.sum(), features)], {str(tmp_path / 'out.pt')!r})\n"
    )
    environment = {**os.environ, "SPNAS_KERNELS_ISA": isa}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, cwd=Path(tmp_path))
    leaves = [feature.requires_grad_() for feature in features]
    pooled = roi_align_fpn(leaves, rois, 7, SCALES)
    here = [pooled.detach(), *torch.autograd.grad(pooled.sum(), leaves)]
    for one, other in zip(here, torch.load(tmp_path / "out.pt"), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
