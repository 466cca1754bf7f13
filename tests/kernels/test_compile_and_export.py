"""Operators inside graphs: how often they are compiled, what export keeps open, and what torch.vmap gives."""

import pytest
import torch
from torch._dynamo import config
from torch._dynamo.testing import CompileCounterWithBackend
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim, export
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from spnas_kernels import _library, assign_targets, copy_weights_, nms_grouped, nms_grouped_padded, roi_align_fpn

pytestmark = pytest.mark.skipif(not _library.is_loaded(), reason="the native library was not built")

SIZES = [(64, 64), (80, 96), (112, 64), (48, 160), (128, 96)]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def some_boxes(generator, *shape, size=64.0):
    corners = torch.rand(*shape, 2, 2, generator=generator) * size
    return torch.cat([corners.amin(-2), corners.amax(-2) + 4], dim=-1)


def training_step(features, rois, anchors, objects, labels, scores, groups):
    rows = assign_targets(anchors, objects, labels, 0.7, 0.3, keeps_best=True)
    keep, counts = nms_grouped_padded(anchors.expand(features[0].shape[0], -1, -1), scores, groups, 0.5, 20)
    pooled = roi_align_fpn(features, rois, 3, [1 / 4, 1 / 8], sampling_ratio=2, canonical_size=32)
    return pooled.square().sum(), rows, keep, counts


def step_inputs(height, width):
    """What a step gets of two images of this size: anchors, and so scores, are as many as there are pixels."""
    generator = torch.Generator().manual_seed(height * 1000 + width)
    shapes = [(2, 4, height // stride, width // stride) for stride in (4, 8)]
    features = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    count = shapes[0][2] * shapes[0][3]
    rois = torch.cat([torch.randint(2, (10, 1), generator=generator).float(), some_boxes(generator, 10)], 1)
    objects, labels = some_boxes(generator, 2, 6), torch.ones(2, 6, dtype=torch.int64)
    scores, groups = torch.rand(2, count, generator=generator), torch.randint(3, (2, count), generator=generator)
    return features, rois, some_boxes(generator, count), objects, labels, scores, groups


def test_a_training_step_of_changing_image_sizes_is_compiled_twice():
    compilations = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(training_step, fullgraph=True, backend=compilations)
    counts = []
    for height, width in SIZES:
        arguments = step_inputs(height, width)
        ours, plain = compiled(*arguments), training_step(*arguments)
        gradients = [torch.autograd.grad(result[0], arguments[0]) for result in (ours, plain)]
        for one, other in zip((*ours, *gradients[0]), (*plain, *gradients[1]), strict=True):
            torch.testing.assert_close(one, other)
        counts.append(compilations.frame_count)
    assert counts == [1, 2, 2, 2, 2]  # the second time for any size


@config.patch(capture_dynamic_output_shape_ops=True)
def test_a_number_of_boxes_that_only_values_tell_stays_in_one_graph():
    def detect(feature, boxes, scores, groups):
        keep = nms_grouped(boxes, scores, groups, 0.5)
        rois = torch.cat([torch.zeros_like(scores[keep])[:, None], boxes[keep]], 1)
        return roi_align_fpn([feature], rois, 2, [1 / 4])

    compilations = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(detect, fullgraph=True, backend=compilations)
    for height, width in SIZES:
        features, _, boxes, _, _, scores, groups = step_inputs(height, width)
        arguments = (features[0].detach()[:1], boxes, scores[0], groups[0])
        assert torch.equal(compiled(*arguments), detect(*arguments))
    assert compilations.frame_count == 2


def test_how_many_are_kept_can_depend_on_a_size():
    def keep_half(boxes, scores, groups):
        return nms_grouped_padded(boxes, scores, groups, 0.5, boxes.shape[1] // 2)

    compilations = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(keep_half, fullgraph=True, backend=compilations)
    generator = torch.Generator().manual_seed(0)
    for count in (8, 20, 30, 44):
        arguments = some_boxes(generator, 2, count), torch.rand(2, count), torch.zeros(2, count, dtype=torch.int64)
        for ours, plain in zip(compiled(*arguments), keep_half(*arguments), strict=True):
            assert torch.equal(ours, plain)
    assert compilations.frame_count == 2


class Detector(torch.nn.Module):
    def forward(self, feature, boxes, scores, groups):
        keep = nms_grouped(boxes, scores, groups, 0.5)
        rois = torch.cat([torch.zeros_like(scores[keep])[:, None], boxes[keep]], 1)
        return roi_align_fpn([feature], rois, 2, [1 / 4])


class Assigner(torch.nn.Module):
    def forward(self, boxes, objects, labels, scores, groups):
        rows = assign_targets(boxes, objects, labels, 0.7, 0.3, keeps_best=True)
        return rows, *nms_grouped_padded(boxes, scores, groups, 0.5, 7)


@pytest.mark.parametrize("strict", [True, False])
def test_export_keeps_counts_and_sizes_open(strict):
    generator = torch.Generator().manual_seed(0)

    def detector_inputs(count, height, width):
        groups = torch.zeros(count, dtype=torch.int64)
        feature = torch.randn(1, 3, height, width, generator=generator)
        return feature, some_boxes(generator, count), torch.rand(count, generator=generator), groups

    count = {0: Dim.DYNAMIC}  # an error if export settles on a number
    shapes = ({2: Dim.DYNAMIC, 3: Dim.DYNAMIC}, count, count, count)
    exported = export(Detector(), detector_inputs(12, 16, 18), dynamic_shapes=shapes, strict=strict).module()
    arguments = detector_inputs(50, 21, 33)
    assert torch.equal(exported(*arguments), Detector()(*arguments))


@pytest.mark.parametrize("strict", [True, False])
def test_export_keeps_images_anchors_and_objects_open(strict):
    generator = torch.Generator().manual_seed(0)

    def assigner_inputs(images, anchors, objects):
        boxes, targets = some_boxes(generator, images, anchors), some_boxes(generator, images, objects)
        labels, groups = (torch.ones(images, count, dtype=torch.int64) for count in (objects, anchors))
        return boxes, targets, labels, torch.rand(images, anchors, generator=generator), groups

    both = {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}
    exported = export(Assigner(), assigner_inputs(2, 12, 5), dynamic_shapes=(both,) * 5, strict=strict).module()
    arguments = assigner_inputs(3, 40, 9)
    for ours, plain in zip(exported(*arguments), Assigner()(*arguments), strict=True):
        assert torch.equal(ours, plain)


def one_by_one(function, in_dims, arguments):
    """What torch.vmap must give, stacked."""
    calls = []
    for number in range(3):
        parts = zip(arguments, in_dims, strict=True)
        calls.append(function(*(tensor if dim is None else tensor.select(dim, number) for tensor, dim in parts)))
    return [torch.stack(results) for results in zip(*calls, strict=True)]


def pool_two(fine, coarse, rois):
    return (roi_align_fpn([fine, coarse], rois, 3, [1 / 2, 1 / 4], canonical_size=8, sampling_ratio=2),)


def some_levels(generator, *lead):
    fine, coarse = (torch.randn(*lead, 2, 4, size, size, generator=generator) for size in (16, 8))
    rois = torch.cat(
        [torch.randint(2, (*lead, 5, 1), generator=generator).float(), some_boxes(generator, *lead, 5)], -1
    )
    return fine, coarse, rois


@pytest.mark.parametrize("in_dims", [(0, 0, 0), (0, None, None), (None, 0, 0), (None, None, 0), (3, 1, 2)])
def test_vmap_of_roi_align_is_one_call_after_the_other(in_dims):
    arguments = [
        tensor[0] if dim is None else tensor.movedim(0, dim)
        for tensor, dim in zip(some_levels(torch.Generator().manual_seed(0), 3), in_dims, strict=True)
    ]
    expected = one_by_one(pool_two, in_dims, arguments)
    (ours,) = torch.vmap(pool_two, in_dims=in_dims)(*arguments)
    assert torch.equal(ours, expected[0])


def test_vmap_leaves_an_image_that_does_not_exist_with_its_own_call():
    fine, coarse, rois = some_levels(torch.Generator().manual_seed(0), 3)
    for index in (2.0, -1.0):  # were it shifted, 2 would be the next call's first image
        rois[0, 0, 0] = index
        with pytest.raises(RuntimeError, match="is of image"):
            torch.vmap(pool_two)(fine, coarse, rois)


def test_gradients_flow_through_vmap_and_vmap_goes_through_gradients():
    fine, coarse, rois = some_levels(torch.Generator().manual_seed(0), 3)
    leaves = [fine.requires_grad_(), coarse.requires_grad_()]
    batched, expected = (
        torch.vmap(pool_two)(fine, coarse, rois)[0],
        one_by_one(pool_two, (0, 0, 0), (fine, coarse, rois)),
    )
    for ours, plain in zip(
        torch.autograd.grad(batched.square().sum(), leaves),
        torch.autograd.grad(expected[0].square().sum(), leaves),
        strict=True,
    ):
        assert torch.equal(ours, plain)
    (pooled,) = pool_two(fine[0], coarse[0], rois[0])
    directions = torch.randn(3, *pooled.shape, generator=torch.Generator().manual_seed(1))

    def backward(direction):
        return torch.autograd.grad(pooled, leaves, direction, retain_graph=True)

    for ours, plain in zip(torch.vmap(backward)(directions), one_by_one(backward, (0,), (directions,)), strict=True):
        assert torch.equal(ours, plain)


@pytest.mark.parametrize("shared_boxes", [True, False])
@pytest.mark.parametrize(
    "in_dims", [(0, 0, 0), (None, 0, 0), (0, None, None), (0, None, 0), (1, 2, 1), (None, 0, None)]
)
def test_vmap_of_assignment_is_one_call_after_the_other(in_dims, shared_boxes):
    generator = torch.Generator().manual_seed(0)
    boxes = some_boxes(generator, 3, 9) if shared_boxes else some_boxes(generator, 3, 2, 9)
    tensors = boxes, some_boxes(generator, 3, 2, 4), torch.randint(-1, 2, (3, 2, 4), generator=generator)
    arguments = [t[0] if dim is None else t.movedim(0, dim) for t, dim in zip(tensors, in_dims, strict=True)]

    def assign(boxes, objects, labels):
        return (assign_targets(boxes, objects, labels, 0.5, 0.2, keeps_best=True),)

    (ours,) = torch.vmap(assign, in_dims=in_dims)(*arguments)
    assert torch.equal(ours, one_by_one(assign, in_dims, arguments)[0])


@pytest.mark.parametrize("in_dims", [(0, 0, 0), (0, 1, None), (None, 0, None)])
def test_vmap_of_padded_suppression_is_one_call_after_the_other(in_dims):
    generator = torch.Generator().manual_seed(0)
    tensors = some_boxes(generator, 3, 2, 20), torch.rand(3, 2, 20, generator=generator), torch.randint(2, (3, 2, 20))
    arguments = [t[0] if dim is None else t.movedim(0, dim) for t, dim in zip(tensors, in_dims, strict=True)]

    def suppress(boxes, scores, groups):
        return nms_grouped_padded(boxes, scores, groups, 0.4, 9)

    ours = torch.vmap(suppress, in_dims=in_dims)(*arguments)
    for one, other in zip(ours, one_by_one(suppress, in_dims, arguments), strict=True):
        assert torch.equal(one, other)


def test_vmap_is_refused_where_calls_are_not_alike():
    boxes, scores, groups = torch.zeros(3, 5, 4), torch.zeros(3, 5), torch.zeros(3, 5, dtype=torch.int64)
    with pytest.raises(
        RuntimeError, match=r"nms_grouped can't be called under torch\.vmap: each call keeps another number"
    ):
        torch.vmap(lambda *arguments: nms_grouped(*arguments, 0.5))(boxes, scores, groups)
    with pytest.raises(RuntimeError, match=r"copy_weights_ can't be called under torch\.vmap: it writes into tensors"):
        torch.vmap(lambda tensor: copy_weights_([tensor], [tensor]))(boxes)


@pytest.mark.parametrize("mode", ["fake", "symbolic"])
def test_other_tracers_keep_a_number_of_boxes_open_that_only_values_tell(mode):
    def detect(feature, boxes, scores, groups):
        keep = nms_grouped(boxes, scores, groups, 0.5)
        again = nms_grouped(boxes[keep], scores[keep], groups[keep], 0.4)
        rows = assign_targets(boxes[keep], boxes[None, :2], torch.ones_like(groups[None, :2]), 0.7, 0.3)
        rois = torch.cat([torch.zeros_like(scores[keep])[:, None], boxes[keep]], 1)
        return roi_align_fpn([feature], rois, 2, [1 / 4]), again, rows

    features, _, boxes, _, _, scores, groups = step_inputs(48, 32)
    arguments = (features[0].detach()[:1], boxes, scores[0], groups[0])
    graph = make_fx(detect, tracing_mode=mode)(*arguments)
    other = torch.rand(len(boxes))  # of the same sizes, and so another number that is kept
    for ours, plain in zip(
        graph(*arguments[:2], other, groups[0]), detect(*arguments[:2], other, groups[0]), strict=True
    ):
        torch.testing.assert_close(ours, plain)
    with FakeTensorMode(shape_env=ShapeEnv()) as fake:
        pooled, _, rows = detect(*(fake.from_tensor(argument) for argument in arguments))
    assert isinstance(pooled.shape[0], torch.SymInt)
    assert pooled.shape[1:] == (4, 2, 2)
    assert isinstance(rows.shape[1], torch.SymInt)
