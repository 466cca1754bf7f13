"""RoIAlign under torch.func and in forward mode, and batches of calls that are empty."""

import pytest
import torch
from torch import func
from torch.autograd import forward_ad

from spnas_kernels import _library, assign_targets, nms_grouped_padded, roi_align_fpn

pytestmark = [
    pytest.mark.skipif(not _library.is_loaded(), reason="the native library was not built"),
    # torch scripts its own decompositions when forward mode is first used.
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
]

ROIS = torch.tensor([[0, 1.0, 1, 8, 8], [1, 0.3, 2.2, 4, 9.1]], dtype=torch.float64)


def feature_of(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pool(*levels, rois=ROIS):
    scales = [0.5**level for level in range(len(levels))]
    return roi_align_fpn(levels, rois, 2, scales, sampling_ratio=2, canonical_size=4, canonical_level=1)


def energy(*levels):
    return pool(*levels).square().sum() / 2


@pytest.fixture
def levels():
    return feature_of(2, 3, 10, 10), feature_of(2, 3, 5, 5, seed=1)


@pytest.fixture
def tangents():
    return feature_of(2, 3, 10, 10, seed=2), feature_of(2, 3, 5, 5, seed=3)


def test_the_forward_derivative_is_the_pooled_tangent(levels, tangents):
    pooled, derivative = func.jvp(pool, levels, tangents)
    torch.testing.assert_close(pooled, pool(*levels))
    torch.testing.assert_close(derivative, pool(*tangents))
    assert derivative.abs().max() > 0.1


@pytest.mark.parametrize("requires_grad", [False, True])
def test_dual_tensors_carry_their_tangents_through(levels, tangents, requires_grad):
    levels = [level.requires_grad_(requires_grad) for level in levels]
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(*pair) for pair in zip(levels, tangents, strict=True)]
        derivative = forward_ad.unpack_dual(pool(*duals)).tangent
    torch.testing.assert_close(derivative, pool(*tangents))


def test_a_level_without_a_tangent_counts_as_constant(levels, tangents):
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(levels[0], tangents[0])
        derivative = forward_ad.unpack_dual(pool(dual, levels[1])).tangent
    torch.testing.assert_close(derivative, pool(tangents[0], torch.zeros_like(levels[1])))


def test_forward_and_backward_derivatives_pass_gradcheck(levels):
    inputs = [level[:, :1].clone().requires_grad_() for level in levels]
    assert torch.autograd.gradcheck(pool, inputs, check_forward_ad=True)


def test_gradients_and_jacobians_are_those_of_autograd(levels):
    leaves = [level.clone().requires_grad_() for level in levels]
    expected = torch.autograd.grad(energy(*leaves), leaves)
    for ours, theirs in zip(func.grad(energy, argnums=(0, 1))(*levels), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    jacobian = func.jacrev(pool)(*levels)
    torch.testing.assert_close(func.jacfwd(pool)(*levels), jacobian)
    torch.testing.assert_close(torch.tensordot(pool(*levels), jacobian, 4), expected[0])


def test_the_hessian_of_what_is_pooled_is_known_forward_over_reverse(levels):
    jacobian = func.jacrev(pool)(*levels).flatten(0, 3).flatten(1)
    hessian = func.hessian(energy)(*levels).flatten(0, 3).flatten(1)
    torch.testing.assert_close(hessian, jacobian.T @ jacobian)


def test_reverse_over_reverse_is_refused_by_name(levels):
    with pytest.raises(RuntimeError, match="roi_align_fpn can be differentiated once only"):
        func.jacrev(func.jacrev(energy))(*levels)


@pytest.mark.parametrize("batched", ["features", "rois", "both"])
def test_gradients_of_a_batch_are_those_of_its_calls(batched):
    features, rois = feature_of(3, 2, 3, 10, 10), torch.stack([ROIS, ROIS * 0.9, ROIS.flip(0)])
    rois[..., 0] = rois[..., 0].round()

    def gradient(feature, rois):
        return func.grad(lambda given: pool(given, rois=rois).square().sum())(feature)

    dims = (0 if batched != "rois" else None, 0 if batched != "features" else None)
    given = (features if dims[0] == 0 else features[0], rois if dims[1] == 0 else rois[0])
    ours = func.vmap(gradient, dims)(*given)
    for call in range(3):
        one = [value[call] if dim == 0 else value for value, dim in zip(given, dims, strict=True)]
        torch.testing.assert_close(ours[call], gradient(*one))


def test_gradients_through_a_batch_are_those_of_its_calls():
    features = feature_of(3, 2, 3, 10, 10)
    ours = func.grad(lambda given: func.vmap(pool)(given).square().sum())(features)
    for call in range(3):
        torch.testing.assert_close(ours[call], func.grad(lambda given: pool(given).square().sum())(features[call]))


def test_channels_last_levels_are_transformed_too():
    feature, tangent = (feature_of(2, 3, 10, 10, seed=seed) for seed in (0, 1))
    dense = (feature.to(memory_format=torch.channels_last), tangent.transpose(2, 3).contiguous().transpose(2, 3))
    torch.testing.assert_close(func.jvp(pool, dense[:1], dense[1:])[1], pool(tangent))
    torch.testing.assert_close(func.grad(energy)(dense[0]), func.grad(energy)(feature))


def test_a_batch_of_no_calls_gives_no_results():
    rois, none = ROIS.float(), torch.zeros(0)
    pooled = func.vmap(lambda feature: roi_align_fpn([feature], rois, 2, [1.0]))(none.new_zeros(0, 2, 3, 10, 10))
    assert pooled.shape == (0, 2, 3, 2, 2)
    pooled = func.vmap(lambda each: roi_align_fpn([torch.ones(2, 3, 9, 9)], each, 2, [1.0]))(none.new_zeros(0, 4, 5))
    assert pooled.shape == (0, 4, 3, 2, 2)
    gradient = func.vmap(func.grad(lambda feature: roi_align_fpn([feature], rois, 2, [1.0]).sum()))
    assert gradient(none.new_zeros(0, 2, 3, 10, 10)).shape == (0, 2, 3, 10, 10)
    labels = torch.zeros(0, 2, 3, dtype=torch.int64)
    rows = func.vmap(lambda *given: assign_targets(torch.ones(5, 4), *given, 0.5, 0.4))(
        labels.new_zeros(0, 2, 3, 4).float(), labels
    )
    assert rows.shape == (0, 2, 5)
    keep, counts = func.vmap(lambda *given: nms_grouped_padded(*given, 0.5, 6))(
        none.new_zeros(0, 2, 3, 4), none.new_zeros(0, 2, 3), labels
    )
    assert keep.shape == (0, 2, 6)
    assert counts.shape == (0, 2)
