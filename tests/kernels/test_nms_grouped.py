"""Suppression in groups against torchvision, its plain-PyTorch reference, and itself in other shapes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import nms

import spnas_kernels
from spnas_kernels import _library, nms_grouped, nms_grouped_padded
from spnas_kernels.references import nms_grouped as reference

needs_native = pytest.mark.skipif(not _library.is_loaded(), reason="the native library was not built")
devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])

Problem = tuple[Tensor, Tensor, Tensor]


def in_torchvision(boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float) -> Tensor:
    """Kept indices by descending score and ascending index, from one torchvision call per group."""
    kept = [torch.empty(0, dtype=torch.int64)]
    for group in groups.unique():
        members = (groups == group).nonzero()[:, 0]
        kept.append(members[nms(boxes[members], scores[members], iou_threshold)])
    together = torch.cat(kept).sort().values
    return together[scores[together].sort(descending=True, stable=True).indices]


def scattered(count: int, groups: int, seed: int, dtype: torch.dtype = torch.float32) -> Problem:
    """Boxes anywhere."""
    rng = torch.Generator().manual_seed(seed)
    centres = torch.rand(count, 2, generator=rng, dtype=dtype) * 600 - 200
    sizes = torch.rand(count, 2, generator=rng, dtype=dtype) * 120
    scores = torch.rand(count, generator=rng, dtype=dtype)
    return (
        torch.cat([centres - sizes / 2, centres + sizes / 2], 1),
        scores,
        torch.randint(groups, (count,), generator=rng),
    )


def clustered(count: int, groups: int, seed: int, dtype: torch.dtype = torch.float32) -> Problem:
    """Boxes around few objects, as a detector puts them out."""
    rng = torch.Generator().manual_seed(seed)
    objects, _, object_groups = scattered(max(1, count // 20), groups, seed + 1, dtype)
    chosen = torch.randint(len(objects), (count,), generator=rng)
    sizes = (objects[chosen, 2:] - objects[chosen, :2]).repeat(1, 2)
    boxes = objects[chosen] + torch.randn(count, 4, generator=rng, dtype=dtype) * sizes * 0.1
    boxes = torch.cat([boxes[:, :2], boxes[:, 2:].maximum(boxes[:, :2])], 1)
    return boxes, torch.rand(count, generator=rng, dtype=dtype), object_groups[chosen]


def on_grid(count: int, groups: int, seed: int, dtype: torch.dtype = torch.float32) -> Problem:
    """Small integers: ties of scores, duplicates, no area, and IoUs on the usual thresholds."""
    rng = torch.Generator().manual_seed(seed)
    corners = torch.randint(-4, 5, (count, 2), generator=rng)
    sizes = torch.randint(0, 5, (count, 2), generator=rng)
    scores = torch.randint(-2, 3, (count,), generator=rng).to(dtype) / 2
    scores[scores == 0] *= -1  # zeros of both signs are one score
    scores[::3] = scores[::3].abs()
    return torch.cat([corners, corners + sizes], 1).to(dtype), scores, torch.randint(groups, (count,), generator=rng)


KINDS = {"scattered": scattered, "clustered": clustered, "on_grid": on_grid}


def assert_as_torchvision(problem: Problem, iou_threshold: float, device: str = "cpu") -> None:
    """Compare index lists."""
    found = nms_grouped(*(tensor.to(device) for tensor in problem), iou_threshold)
    assert found.dtype == torch.int64
    assert found.cpu().tolist() == in_torchvision(*problem, iou_threshold).tolist()


@devices
@dtypes
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("iou_threshold", [0.0, 0.25, 0.3, 0.5, 0.7, 1.0])
def test_same_indices_as_torchvision(kind: str, iou_threshold: float, dtype: torch.dtype, device: str) -> None:
    """Whatever the size, the number of groups, the threshold."""
    for seed, (count, groups) in enumerate([(1, 1), (7, 1), (40, 3), (65, 1), (130, 2), (300, 1), (300, 7), (500, 3)]):
        assert_as_torchvision(KINDS[kind](count, groups, seed, dtype), iou_threshold, device)


@devices
@pytest.mark.parametrize("iou_threshold", [0.3, 0.5, 0.7])
@pytest.mark.parametrize(("count", "groups"), [(3000, 1), (3000, 1000), (4100, 4), (9000, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_same_indices_as_torchvision_in_large_calls(
    kind: str, count: int, groups: int, iou_threshold: float, device: str
) -> None:
    """One large group, many small ones, and enough boxes for the longer radix sort."""
    assert_as_torchvision(KINDS[kind](count, groups, count), iou_threshold, device)


corner = st.integers(-6, 6).map(float) | st.sampled_from([0.1, 0.3, 1e7, -1e7, 1e-22, 1e20, 3e38, float("inf")])
size = st.integers(0, 6).map(float) | st.sampled_from([1 / 3, 1e-22, 1e-3, 1e20, 3e38])
row = st.tuples(
    corner, corner, size, size, st.sampled_from([0.0, -0.0, 0.5, 1.0, -1.0, float("inf")]), st.integers(0, 2)
)


@devices
@settings(max_examples=300)
@given(
    rows=st.lists(row, min_size=1, max_size=100),
    repeats=st.sampled_from([1, 1, 70]),
    iou_threshold=st.sampled_from([0.0, 1e-30, 0.1, 0.25, 0.3, 1 / 3, 0.5, 0.6, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_same_indices_as_torchvision_for_odd_numbers(
    rows: list[tuple[float, ...]], repeats: int, iou_threshold: float, dtype: torch.dtype, device: str
) -> None:
    """Overflow, underflow, infinities, signed zeros, duplicates."""
    table = torch.tensor(rows, dtype=torch.float64).repeat(repeats, 1)[:200].to(dtype)
    boxes = torch.cat([table[:, :2], table[:, :2] + table[:, 2:4]], 1)
    assert_as_torchvision((boxes, table[:, 4].clone(), table[:, 5].long()), iou_threshold, device)


@devices
@dtypes
@pytest.mark.parametrize("copies", [1, 200])
def test_a_box_at_the_threshold_stays(copies: int, dtype: torch.dtype, device: str) -> None:
    """Whether the groups are small or large enough for a grid."""
    pair = torch.tensor([[0, 0, 2, 1], [0, 0, 1, 1]], dtype=dtype, device=device)  # IoU 1/2
    boxes = torch.cat([pair + 10 * i for i in range(copies)])
    scores = torch.arange(2 * copies, 0, -1, device=device).to(dtype)
    groups = torch.zeros(2 * copies, dtype=torch.int64, device=device)
    assert nms_grouped(boxes, scores, groups, 0.5).tolist() == list(range(2 * copies))
    just_below = torch.nextafter(torch.tensor(0.5, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)).item()
    assert nms_grouped(boxes, scores, groups, just_below).tolist() == list(range(0, 2 * copies, 2))


@devices
def test_the_threshold_is_not_rounded_to_the_dtype(device: str) -> None:
    """An IoU that rounds to float32(0.3), which is above 0.3, is above the threshold."""
    boxes = torch.tensor([[0.0, 0, 10, 1], [0, 0, 3, 1]], device=device)
    assert nms_grouped(
        boxes, torch.tensor([2.0, 1], device=device), torch.zeros(2, dtype=torch.int64, device=device), 0.3
    ).tolist() == [0]
    assert_as_torchvision((boxes.cpu(), torch.tensor([2.0, 1]), torch.zeros(2, dtype=torch.int64)), 0.3, device)


@devices
def test_group_values_are_arbitrary(device: str) -> None:
    """Far apart, negative, the extremes: only equality counts."""
    boxes, scores, groups = scattered(900, 40, 0)
    values = torch.randint(-(2**62), 2**62, (40,), generator=torch.Generator().manual_seed(1))
    values[:2] = torch.tensor([-(2**63), 2**63 - 1])
    expected = nms_grouped(boxes, scores, groups, 0.4)
    found = nms_grouped(boxes.to(device), scores.to(device), values[groups].to(device), 0.4)
    assert found.cpu().tolist() == expected.tolist()


@devices
def test_ties_go_to_the_lower_index(device: str) -> None:
    """Inside groups and between them."""
    boxes = torch.tensor([[0.0, 0, 1, 1]], device=device).repeat(200, 1)
    groups = torch.arange(200, device=device).flip(0) // 2
    assert nms_grouped(boxes, torch.ones(200, device=device), groups, 0.5).tolist() == list(range(0, 200, 2))


@devices
def test_empty(device: str) -> None:
    """No boxes, no images."""
    none = torch.empty(0, dtype=torch.int64, device=device)
    assert nms_grouped(torch.empty(0, 4, device=device), torch.empty(0, device=device), none, 0.5).shape == (0,)
    for images, count in ((0, 5), (3, 0), (0, 0)):
        scores = torch.zeros(images, count, device=device)
        keep, counts = nms_grouped_padded(torch.zeros(images, count, 4, device=device), scores, scores.long(), 0.5, 2)
        assert keep.tolist() == [[-1, -1]] * images
        assert counts.tolist() == [0] * images


@devices
@pytest.mark.parametrize("max_keep", [0, 1, 17, 10_000])
@pytest.mark.parametrize("kind", KINDS)
def test_padded_is_ragged_per_image(kind: str, max_keep: int, device: str) -> None:
    """With padding and masked boxes, which nothing else may notice."""
    problems = [KINDS[kind](600, 5, seed) for seed in range(3)]
    boxes, scores, groups = (torch.stack(parts).to(device) for parts in zip(*problems, strict=True))
    masked = torch.rand(scores.shape, generator=torch.Generator().manual_seed(0)).to(device) < 0.3
    masked[2] = True
    masked[1, 400:] = True
    boxes[1, 500:] = 0
    scores[masked] = -torch.inf
    keep, counts = nms_grouped_padded(boxes, scores, groups, 0.5, max_keep)
    assert keep.shape == (3, max_keep)
    for image in range(3):
        there = (~masked[image]).nonzero()[:, 0]
        best = there[nms_grouped(boxes[image, there], scores[image, there], groups[image, there], 0.5, max_keep)]
        assert counts[image] == len(best)
        assert keep[image].tolist() == best.tolist() + [-1] * (max_keep - len(best))
    assert counts[2] == 0


def test_max_keep_cuts_the_list() -> None:
    """The best stay."""
    problem = scattered(200, 3, 0)
    everything = nms_grouped(*problem, 0.5).tolist()
    for max_keep in (0, 1, 50, 1000):
        assert nms_grouped(*problem, 0.5, max_keep).tolist() == everything[:max_keep]


@needs_native
@dtypes
@pytest.mark.parametrize("kind", KINDS)
def test_reference_is_the_same(kind: str, dtype: torch.dtype) -> None:
    """Both forms."""
    boxes, scores, groups = KINDS[kind](180, 4, 3, dtype)
    for threshold in (0.0, 0.3, 0.5, 1.0):
        found = reference.nms_grouped(boxes, scores, groups, threshold)
        assert found.tolist() == nms_grouped(boxes, scores, groups, threshold).tolist()
        scores = torch.where(scores < 0.1, -torch.inf, scores)
        args = (boxes.view(3, 60, 4), scores.view(3, 60), groups.view(3, 60), threshold, 20)
        for ours, theirs in zip(nms_grouped_padded(*args), reference.nms_grouped_padded(*args), strict=True):
            assert torch.equal(ours, theirs)


@dtypes
@pytest.mark.parametrize("score_dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_mix(dtype: torch.dtype, score_dtype: torch.dtype) -> None:
    """Scores of another dtype than the boxes order them as exactly."""
    boxes, scores, groups = scattered(300, 2, 0, dtype)
    scores = scores.to(score_dtype)
    ranks = torch.empty(300, dtype=dtype)
    ranks[scores.sort(descending=True, stable=True).indices] = torch.arange(300, 0, -1).to(dtype)
    assert nms_grouped(boxes, scores, groups, 0.4).tolist() == in_torchvision(boxes, ranks, groups, 0.4).tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_boxes_are_computed_in_float32(dtype: torch.dtype) -> None:
    """As if they had been float32 from the start."""
    boxes, scores, groups = clustered(300, 2, 0)
    boxes = boxes.to(dtype)
    expected = nms_grouped(boxes.float(), scores, groups, 0.5)
    assert nms_grouped(boxes, scores, groups, 0.5).tolist() == expected.tolist()


def test_layout_and_gradients_do_not_matter() -> None:
    """Strided inputs, and inputs that want gradients."""
    boxes, scores, groups = clustered(300, 2, 0)
    expected = nms_grouped(boxes, scores, groups, 0.5)
    strided = boxes.t().contiguous().t().requires_grad_()
    wide = torch.stack([scores, scores], 1)[:, 0].requires_grad_()
    found = nms_grouped(strided, wide, groups.repeat_interleave(2)[::2], 0.5)
    assert found.tolist() == expected.tolist()
    assert not found.requires_grad
    if _library.is_loaded():
        raw = torch.ops.spnas.nms_grouped(strided.detach(), wide.detach(), groups.repeat_interleave(2)[::2], 0.5)
        assert raw.tolist() == expected.tolist()


@needs_native
@devices
def test_opcheck(device: str) -> None:
    """Schemas, fake tensors and dispatch as torch wants them."""
    boxes, scores, groups = (tensor.to(device) for tensor in scattered(60, 3, 0))
    torch.library.opcheck(torch.ops.spnas.nms_grouped.default, (boxes, scores, groups, 0.5))
    args = (boxes.view(2, 30, 4), scores.view(2, 30), groups.view(2, 30), 0.5, 9)
    torch.library.opcheck(torch.ops.spnas.nms_grouped_padded.default, args)


@needs_native
@devices
def test_padded_compiles_as_a_full_graph(device: str) -> None:
    """Nothing of it depends on values."""
    boxes, scores, groups = (tensor.to(device) for tensor in scattered(60, 3, 0))
    args = (boxes.view(2, 30, 4).requires_grad_(), scores.view(2, 30), groups.view(2, 30), 0.5, 9)
    compiled = torch.compile(nms_grouped_padded, fullgraph=True, backend="aot_eager")
    for ours, theirs in zip(compiled(*args), nms_grouped_padded(*args), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.gpu
def test_padded_does_not_wait_for_the_device() -> None:
    """With torch's check for synchronisation on."""
    boxes, scores, groups = (tensor.cuda().view(2, 30, -1).squeeze(-1) for tensor in scattered(60, 3, 0))
    torch.cuda.set_sync_debug_mode("error")
    try:
        nms_grouped_padded(boxes, scores, groups, 0.5, 9)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_threads_do_not_change_the_result() -> None:
    """Above the size from which there are several."""
    problem = clustered(5000, 30, 0)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        results.append(nms_grouped(*problem, 0.5).tolist())
    assert results[0] == results[1]


@needs_native
@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_instruction_sets_do_not_change_the_result(isa: str, tmp_path: Path) -> None:
    """Each runs in a process of its own, limited to what the processor has."""
    problems = [KINDS[kind](1200, 2, 5, dtype) for kind in KINDS for dtype in (torch.float32, torch.float64)]
    torch.save(problems, tmp_path / "problems.pt")
    code = (
        "import sys, torch, spnas_kernels\n"
        "problems = torch.load(sys.argv[1])\n"
        "torch.save([spnas_kernels.nms_grouped(*p, t) for p in problems for t in (0.3, 0.5)], sys.argv[2])\n"
    )
    source = str(Path(spnas_kernels.__file__).parents[1])
    environment = os.environ | {"SPNAS_KERNELS_ISA": isa, "SPNAS_KERNELS": "require", "PYTHONPATH": source}
    command = [sys.executable, "-c", code, str(tmp_path / "problems.pt"), str(tmp_path / "found.pt")]
    subprocess.run(command, check=True, env=environment)
    found = torch.load(tmp_path / "found.pt")
    expected = [in_torchvision(*problem, threshold) for problem in problems for threshold in (0.3, 0.5)]
    assert [indices.tolist() for indices in found] == [indices.tolist() for indices in expected]
