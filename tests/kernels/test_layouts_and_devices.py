"""What tensors may look like in memory, and where: strides, addresses, half precision, devices, work buffers."""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import roi_align

from spnas_kernels import _library, assign_targets, copy_weights_, nms_grouped, nms_grouped_padded, roi_align_fpn
from spnas_kernels.references import roi_align_fpn as reference

pytestmark = pytest.mark.skipif(not _library.is_loaded(), reason="the native library was not built")

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
ROIS = torch.tensor([[0.0, 0.5, 1, 4, 5], [0, 1, 0, 3, 2]])


def with_strides_of(tensor, order, odd):
    """The same values, the dimensions in memory in this order, and those of size 1 with any stride."""
    strides, span = [0, 0, 0, 0], 1
    for dim in reversed(order):
        strides[dim] = span if tensor.shape[dim] != 1 else odd
        span *= tensor.shape[dim]
    result = tensor.new_empty(max(tensor.numel(), 1)).as_strided(tensor.shape, strides)
    return result.copy_(tensor)


@settings(max_examples=200)
@given(
    shape=st.tuples(*[st.sampled_from([1, 1, 2, 5, 17])] * 4),
    is_last=st.booleans(),
    odd=st.sampled_from([0, 1, 2, 3, 7, 1000]),
    direct=st.booleans(),
)
def test_strides_of_dimensions_of_size_one_mean_nothing(shape, is_last, odd, direct):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))
    feature = with_strides_of(values, (0, 2, 3, 1) if is_last else (0, 1, 2, 3), odd)
    assert torch.equal(feature, values)
    results = []
    for level in (feature, values.clone()):
        leaf = level.requires_grad_()
        if direct:
            pooled = torch.ops.spnas.roi_align_fpn([leaf], ROIS, [1.0], 2, 3, 2, False, 0, 4, 224.0)
        else:
            pooled = roi_align_fpn([leaf], ROIS, (2, 3), [1.0], sampling_ratio=2)
        (gradient,) = torch.autograd.grad(pooled.square().sum(), leaf)
        results.append((pooled.detach(), gradient))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_a_narrow_piece_of_channels_last_features_is_taken_as_it_is(device):
    feature = torch.randn(1, 8, 5, 6).to(memory_format=torch.channels_last)[:, :, :3].to(device)
    assert not feature.is_contiguous()
    pooled = torch.ops.spnas.roi_align_fpn([feature], ROIS.to(device), [1.0], 2, 2, 2, False, 0, 4, 224.0)
    torch.testing.assert_close(pooled, roi_align(feature.contiguous(), ROIS.to(device), 2, 1.0, 2))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("direct", [True, False])
def test_maps_and_scales_may_be_strided_or_expanded(direct, device):
    source = torch.arange(5.0 * 6 * 2, device=device).reshape(5, 6, 2)
    every = torch.tensor([4, 9, 0, 9, 2, 9])
    outputs, inputs = every[::2], torch.tensor([[5, 1, 1, 0]]).T.repeat(1, 3)[:, 1]
    assert not outputs.is_contiguous()
    assert not inputs.is_contiguous()
    scale = torch.tensor(0.5, dtype=torch.float64).expand(4)
    other_scale = torch.tensor([2.0, 9, 3, 9, 4, 9, 5, 9], dtype=torch.float64)[::2]
    found = [torch.empty(3, 4, 2, device=device) for _ in range(2)]
    arguments = found, [source] * 2, [outputs] * 2, [inputs] * 2, [scale, other_scale]
    if direct:
        torch.ops.spnas.copy_weights_(*arguments)
    else:
        copy_weights_(*arguments)
    mapped = source[outputs.to(device)][:, inputs.to(device)]
    assert torch.equal(found[0], mapped * 0.5)
    assert torch.equal(found[1], mapped * other_scale.float().to(device)[:, None])


HALVES = [torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize("size", [1.0, 1e-5, 4e4])
def test_half_precision_is_float32_rounded_once(dtype, is_last, size):
    """Among subnormal numbers, and where sums of gradients are infinite, too."""
    generator = torch.Generator().manual_seed(0)
    rois = torch.rand(40, 5, generator=generator) * 20
    rois[:, 0] = torch.randint(2, (40,), generator=generator)
    rois[:, 3:] += rois[:, 1:3]
    feature = (torch.randn(2, 18, 24, 30, generator=generator) * size).clamp(-6e4, 6e4).to(dtype)
    if is_last:
        feature = feature.contiguous(memory_format=torch.channels_last)
    results = []
    for kind in (dtype, torch.float32):
        leaf = feature.detach().to(kind).requires_grad_()
        pooled = roi_align_fpn([leaf], rois, 5, [0.7], sampling_ratio=2)
        assert pooled.dtype == kind
        weights = (torch.linspace(-1, 1, pooled.numel()).reshape(pooled.shape) * size).to(dtype).to(kind)
        pooled.backward(weights)
        results.append([pooled.detach().to(dtype), leaf.grad.to(dtype)])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
        assert one.abs().sum() > 0


@pytest.mark.parametrize("flushes", [False, True])
@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_every_finite_half_number_passes_unchanged(isa, flushes, tmp_path):
    """At a pixel's centre, on every instruction set, and where the processor flushes subnormal numbers of float32."""
    script = (
        "import torch; from spnas_kernels import roi_align_fpn\n"
        f"torch.set_flush_denormal({flushes})\n"
        "every = torch.arange(-(2**15), 2**15, dtype=torch.int16)\n"
        "every = torch.where(every.view(torch.float16).isfinite(), every, 0)\n"
        "image = every.view(torch.float16).reshape(1, 16, 64, 64)\n"
        "y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing='ij')\n"
        "centres = torch.stack([x, y, x, y], -1).reshape(-1, 4) + 0.5\n"
        "rois = torch.cat([torch.zeros(4096, 1), centres], 1)\n"
        "for feature in (image, image.contiguous(memory_format=torch.channels_last)):\n"
        "    pooled = roi_align_fpn([feature], rois, 1, [1.0], sampling_ratio=1, aligned=True)\n"
        "    got = pooled[:, :, 0, 0].T.reshape(16, 64, 64).contiguous().view(torch.int16)\n"
        "    wanted = image[0].view(torch.int16)\n"
        "    assert bool(((got == wanted) | ((got == 0) & (wanted == -32768))).all())\n"
    )
    environment = {**os.environ, "SPNAS_KERNELS_ISA": isa}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, cwd=tmp_path)


def shifted(tensor, items=1):
    """The same values at an address that many items behind a multiple of 64."""
    memory = torch.empty(tensor.numel() + items, dtype=tensor.dtype, device=tensor.device)
    result = memory[items:].view(tensor.shape).copy_(tensor)
    assert result.data_ptr() % 16 != 0
    return result


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("items", [1, 3])
def test_no_operator_asks_for_aligned_addresses(device, items):
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(3, 200, 4, generator=generator) * 50
    boxes[..., 2:] += boxes[..., :2]
    scores, groups = torch.rand(3, 200, generator=generator), torch.randint(3, (3, 200), generator=generator)
    boxes, scores, groups = boxes.to(device), scores.to(device), groups.to(device)
    objects, labels = boxes[:, :7].contiguous(), groups[:, :7] - 1
    feature = torch.randn(3, 33, 20, 24, generator=generator).to(device)
    rois = torch.cat([torch.arange(3.0, device=device)[:, None, None].expand(-1, 9, 1), boxes[:, :9]], -1).reshape(
        -1, 5
    )

    def every_operator(move):
        yield assign_targets(move(boxes), move(objects), move(labels), 0.5, 0.3, keeps_best=True)
        yield assign_targets(move(boxes[0]), move(objects), move(labels), 0.5, 0.3, keeps_best=True)
        for dtype in (torch.float32, torch.float64):
            image = move(boxes[0].to(dtype)), move(scores[0].to(dtype)), move(groups[0])
            yield nms_grouped(*image, 0.4)
        yield from nms_grouped_padded(move(boxes), move(scores), move(groups), 0.4, 50)
        for layout in (torch.contiguous_format, torch.channels_last):
            last = layout == torch.channels_last
            values = feature.permute(0, 2, 3, 1).contiguous() if last else feature
            level = (move(values).permute(0, 3, 1, 2) if last else move(values)).requires_grad_()
            pooled = roi_align_fpn([level], move(rois), 3, [0.3], sampling_ratio=2)
            yield pooled.detach()
            yield torch.autograd.grad(pooled, level, move(torch.ones_like(pooled)))[0]
        copies = [move(torch.zeros_like(feature)), move(torch.zeros(5, 7, device=device))]
        copy_weights_(
            copies,
            [move(feature), move(feature[0, :5, 0, :9].contiguous())],
            [None, move(torch.tensor([4, 0, 1, 1, 3]))],
            [None, move(torch.tensor([8, 0, 1, 1, 3, 2, 5]))],
            [None, move(torch.linspace(1, 2, 7, dtype=torch.float64))],
        )
        yield from copies

    def move(tensor):
        return shifted(tensor, 1 if tensor.element_size() == 8 else items)

    for ours, plain in zip(every_operator(move), every_operator(torch.clone), strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-5 if ours.is_floating_point() else 0, rtol=0)


def test_nor_does_one_on_processors_without_avx(tmp_path):
    """Whose instructions fault where a wider one takes any address."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "aligned_addresses and cpu",
        __file__,
    ]
    environment = os.environ | {"SPNAS_KERNELS_ISA": "baseline"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


BOXES, SCORES, GROUPS = torch.zeros(2, 3, 4), torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int64)
FEATURE = torch.zeros(1, 2, 4, 4)
GEOMETRY = ([1.0], 2, 2, 2, False, 0, 4, 224.0)
BACKWARD = (torch.zeros(2, 2, 2, 2), ROIS, 1, [4], [4], [0], False, *GEOMETRY)


@pytest.mark.parametrize("key", ["CPU", "Meta"])
@pytest.mark.parametrize(
    ("operator", "arguments", "place", "message"),
    [
        ("nms_grouped", (BOXES[0], SCORES[0], GROUPS[0], 0.5), 1, "scores must be on the device of boxes, cpu"),
        ("nms_grouped", (BOXES[0], SCORES[0], GROUPS[0], 0.5), 2, "groups must be on the device of boxes, cpu"),
        ("nms_grouped_padded", (BOXES, SCORES, GROUPS, 0.5, 2), 1, "scores must be on the device of boxes, cpu"),
        ("nms_grouped_padded", (BOXES, SCORES, GROUPS, 0.5, 2), 2, "groups must be on the device of boxes, cpu"),
        (
            "assign_targets",
            (BOXES, BOXES, GROUPS, 0.7, 0.3, True, 0.5),
            1,
            "objects must be on the device of boxes, cpu",
        ),
        (
            "assign_targets",
            (BOXES, BOXES, GROUPS, 0.7, 0.3, True, 0.5),
            2,
            "labels must be on the device of boxes, cpu",
        ),
        ("roi_align_fpn", ([FEATURE], ROIS, *GEOMETRY), 1, "rois must be on the device of "),
        ("roi_align_fpn_backward", BACKWARD, 1, "rois must be on the device of "),
        ("copy_weights_", ([FEATURE], [FEATURE], [None], [None], [None]), 1, "source 0 must be on the device of dest"),
    ],
)
def test_operators_refuse_tensors_of_several_devices(key, operator, arguments, place, message):
    """Sent to one device's kernel by hand, as dispatch sends a tensor on the CPU to CUDA's."""
    mixed = list(arguments)
    entry = mixed[place]
    mixed[place] = [entry[0].to("meta")] if isinstance(entry, list) else entry.to("meta")
    keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, key))
    with pytest.raises(RuntimeError, match=message):
        getattr(torch.ops.spnas, operator).default.redispatch(keys, *mixed)


@pytest.mark.gpu
def test_operators_refuse_tensors_on_the_cpu_beside_those_on_a_gpu():
    boxes, scores, groups = BOXES[0].cuda(), SCORES[0].cuda(), GROUPS[0].cuda()
    with pytest.raises(RuntimeError, match="scores must be on the device of boxes, cuda:0, not on cpu"):
        torch.ops.spnas.nms_grouped(boxes, SCORES[0], groups, 0.5)
    with pytest.raises(RuntimeError, match="groups must be on the device of boxes, cuda:0, not on cpu"):
        torch.ops.spnas.nms_grouped_padded(boxes[None], scores[None], GROUPS[:1], 0.5, 2)
    with pytest.raises(RuntimeError, match="labels must be on the device of boxes, cuda:0, not on cpu"):
        torch.ops.spnas.assign_targets(BOXES.cuda(), BOXES.cuda(), GROUPS, 0.7, 0.3, True, 0.5)
    with pytest.raises(RuntimeError, match="rois must be on the device of the features, cuda:0, not on cpu"):
        torch.ops.spnas.roi_align_fpn([FEATURE.cuda()], ROIS, *GEOMETRY)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("deterministic", [True, False])
def test_an_empty_level_is_refused_in_both_directions(deterministic, device):
    geometry = ([1.0, 0.5], *GEOMETRY[1:])
    rois = ROIS.to(device)
    message = r"features\[1\] is empty, 0 x 4: every level needs at least one pixel"
    with pytest.raises(RuntimeError, match=message):
        torch.ops.spnas.roi_align_fpn([FEATURE.to(device), FEATURE[:, :, :0].to(device)], rois, *geometry)
    gradient = torch.zeros(2, 2, 2, 2, device=device)
    with pytest.raises(RuntimeError, match=message):
        torch.ops.spnas.roi_align_fpn_backward(gradient, rois, 1, [4, 0], [4, 4], [0, 0], deterministic, *geometry)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("side", [4e5, 3e6])
def test_adaptive_samples_of_a_huge_box_are_counted_right(side, aligned, device):
    """57 143 samples per bin and axis: their product is no int32."""
    feature = torch.randn(1, 20, 9, 11, generator=torch.Generator().manual_seed(0))
    rois = torch.tensor([[0.0, -side / 3, -side / 5, side * 2 / 3, side * 4 / 5], [0, 0, 0, side, side]])
    leaf = feature.clone().to(device).requires_grad_()
    pooled = roi_align_fpn([leaf], rois.to(device), 7, [1.0], aligned=aligned)
    expected = reference.roi_align_fpn([feature], rois, [1.0], 7, 7, 0, aligned, 0, 4, 224.0)
    smallest = 1e-3 * float(expected.abs().max())
    assert smallest > 0
    torch.testing.assert_close(pooled.cpu(), expected, atol=smallest, rtol=1e-3)
    # A bin's samples are shared out among the pixels: what comes back is the share of them that lies on the map.
    (gradient,) = torch.autograd.grad(pooled.sum(), leaf)
    ones = reference.roi_align_fpn([torch.ones_like(feature)], rois, [1.0], 7, 7, 0, aligned, 0, 4, 224.0)
    torch.testing.assert_close(gradient.sum().cpu(), ones.sum(), rtol=1e-3, atol=0)


def test_work_buffers_are_given_back(tmp_path):
    """Two blocks of 16 channels as float32 of 1 000 x 1 500 pixels are 183 MiB, with two threads."""
    script = (
        "import gc, torch; from spnas_kernels import roi_align_fpn\n"
        "torch.set_num_threads(2)\n"
        "def resident():\n"
        "    gc.collect()\n"
        "    with open('/proc/self/statm') as file: return int(file.read().split()[1]) * 4096 / 2**20\n"
        "def work(height, width):\n"
        "    feature = torch.ones(1, 32, height, width, requires_grad=True)\n"
        "    rois = torch.tensor([[0.0, 0, 0, width, height]]).repeat(4, 1)\n"
        "    roi_align_fpn([feature], rois, 7, [1.0]).sum().backward()\n"
        "work(30, 30)\n"
        "before = resident()\n"
        "work(1000, 1500)\n"
        "print(resident() - before)\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", script], check=True, env=environment, capture_output=True, text=True)
    assert float(done.stdout) < 60
