"""Operators captured in a CUDA graph: nothing waits for the device, and a replay computes from what is there then."""

import pytest
import torch

from spnas_kernels import assign_targets, copy_weights_, nms_grouped_padded, roi_align_fpn

pytestmark = pytest.mark.gpu


def captured(function, inputs):
    """A function from new inputs of the same shapes to the results of the replayed graph.

    Warmed up on a side stream, as a capture wants it: first calls load kernels and set up libraries. Whatever then
    waits for the device, or asks the driver for memory in a way that a graph can't hold, makes the capture fail.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            function(*inputs)
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = function(*inputs)

    def replay(*new):
        with torch.no_grad():
            for place, tensor in zip(inputs, new, strict=True):
                place.copy_(tensor)
        for output in outputs:
            output.detach().fill_(-7)  # what is not written again is seen
        graph.replay()
        torch.cuda.synchronize()
        return [output.detach().clone() for output in outputs]

    return replay


def assert_replays_like_eager(function, make_inputs, **tolerances):
    """Twice with other inputs than those of the capture, and a third time with the second's."""
    replay = captured(function, make_inputs(0))
    results = []
    for seed in (1, 2, 2):
        expected = [output.detach().clone() for output in function(*make_inputs(seed))]
        results.append(replay(*make_inputs(seed)))
        for ours, eager in zip(results[-1], expected, strict=True):
            torch.testing.assert_close(ours, eager, **tolerances)
    assert any(not torch.equal(one, other) for one, other in zip(results[0], results[1], strict=True))


def some_boxes(generator, *shape, size=200.0):
    corners = torch.rand(*shape, 2, 2, generator=generator) * size
    return torch.cat([corners.amin(-2), corners.amax(-2) + 1], dim=-1)


def some_pyramid(seed, dtype=torch.float32, layout=torch.contiguous_format):
    generator = torch.Generator().manual_seed(seed)
    levels = [torch.randn(2, 40, 256 // stride, 320 // stride, generator=generator) for stride in (4, 8, 16, 32)]
    rois = torch.cat([torch.randint(2, (150, 1), generator=generator).float(), some_boxes(generator, 150)], 1)
    return [*(level.to("cuda", dtype).contiguous(memory_format=layout) for level in levels), rois.cuda()]


def pool(*inputs):
    *levels, rois = inputs
    return roi_align_fpn(levels, rois, 7, [1 / 4, 1 / 8, 1 / 16, 1 / 32], sampling_ratio=2)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_roi_align_is_captured(dtype, layout):
    assert_replays_like_eager(lambda *inputs: [pool(*inputs)], lambda seed: some_pyramid(seed, dtype, layout))


@pytest.mark.parametrize("is_deterministic", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_backward_of_roi_align_is_captured(layout, is_deterministic):
    def gradients(*inputs):
        *levels, rois = inputs
        leaves = [level.detach().requires_grad_() for level in levels]
        return torch.autograd.grad(pool(*leaves, rois).square().sum(), leaves)

    torch.use_deterministic_algorithms(mode=is_deterministic)
    try:
        assert_replays_like_eager(gradients, lambda seed: some_pyramid(seed, layout=layout), atol=1e-3, rtol=1e-3)
    finally:
        torch.use_deterministic_algorithms(mode=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("images", [1, 3])
def test_padded_suppression_is_captured(images, dtype):
    def make_inputs(seed):
        generator = torch.Generator().manual_seed(seed)
        scores = torch.rand(images, 700, generator=generator)
        scores[:, ::5] = -torch.inf
        groups = torch.randint(3, (images, 700), generator=generator)
        return [some_boxes(generator, images, 700).to("cuda", dtype), scores.to("cuda", dtype), groups.cuda()]

    assert_replays_like_eager(lambda *inputs: nms_grouped_padded(*inputs, 0.5, 100), make_inputs)


@pytest.mark.parametrize("keeps_best", [False, True])
@pytest.mark.parametrize("shares_boxes", [False, True])
def test_assignment_is_captured(shares_boxes, keeps_best):
    def make_inputs(seed):
        generator = torch.Generator().manual_seed(seed)
        boxes = some_boxes(generator, *(() if shares_boxes else (2,)), 900)
        labels = torch.randint(-1, 3, (2, 12), generator=generator)
        return [boxes.cuda(), some_boxes(generator, 2, 12).cuda(), labels.cuda()]

    def assign(*inputs):
        return [assign_targets(*inputs, 0.5, 0.3, keeps_best=keeps_best)]

    assert_replays_like_eager(assign, make_inputs)


@pytest.mark.filterwarnings("ignore:The CUDA Graph is empty")
def test_weight_copies_are_captured_or_refused():
    """The table of a captured copy must outlive the call; where it can't, the capture is refused by name."""
    outputs, inputs = torch.tensor([3, 0, 1, 1, 2]), torch.tensor([2, 2, 0])

    def make_inputs(seed):
        generator = torch.Generator().manual_seed(seed)
        return [torch.randn(shape, generator=generator).cuda() for shape in ((4, 3, 3, 3), (1000,))]

    destinations = [torch.empty(5, 3, 3, 3, device="cuda"), torch.empty(1000, device="cuda")]

    def copy(*sources):
        copy_weights_(destinations, sources, [outputs, None], [inputs, None], [torch.tensor([0.5, 1.0, 2.0]), None])
        return destinations

    refusal = ""
    try:
        replay = captured(copy, make_inputs(0))
    except RuntimeError as error:
        refusal = str(error)
    if refusal:
        assert "copy_weights_" in refusal
        assert "graph" in refusal
        return
    for seed in (1, 2, 2):
        junk = [torch.randint(255, (1 << 20,), device="cuda", dtype=torch.uint8) for _ in range(8)]
        del junk  # memory that was freed too early has other values by now
        sources = make_inputs(seed)
        found = replay(*sources)
        factors = torch.tensor([0.5, 1.0, 2.0], device="cuda")[:, None, None]
        assert torch.equal(found[0], sources[0][outputs.cuda()][:, inputs.cuda()] * factors)
        assert torch.equal(found[1], sources[1])
