"""A prepared plan of weight copies does what copy_weights_ does, as often as it is run."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from weight_copies import DEVICES, copies, laid_out, needs_gpu, same_bits

from spnas_kernels import CopyPlan, copy_weights_
from spnas_kernels.references import copy_weights as reference


def expected_of(destinations, sources, output_maps, input_maps, scales):
    """What the reference makes of it, on the CPU."""
    expected = [destination.cpu().clone() for destination in destinations]
    factors = [None if scale is None else torch.as_tensor(scale, dtype=torch.float64) for scale in scales]
    reference.copy_weights_(expected, [source.cpu() for source in sources], output_maps, input_maps, factors)
    return expected


def on_device(tensor, device, layout):
    """The same values, there, in a layout."""
    return laid_out(tensor.to(device), layout)


@pytest.mark.parametrize("device", DEVICES)
def test_plans_do_what_the_reference_does_every_time(device):
    @settings(max_examples=150)
    @given(
        st.lists(copies(), min_size=1, max_size=6), st.sampled_from(["plain", "gaps", "channels-last", "transposed"])
    )
    def check(plan, layout):
        destinations, sources, output_maps, input_maps, scales = (list(column) for column in zip(*plan, strict=True))
        destinations = [on_device(tensor, device, layout) for tensor in destinations]
        sources = [on_device(tensor, device, layout) for tensor in sources]
        prepared = CopyPlan(destinations, sources, output_maps, input_maps, scales)
        assert len(prepared) == len(plan)
        for factor in (1, -2):
            for tensor in [*sources, *destinations]:
                if tensor.dtype != torch.bool:
                    tensor.mul_(factor)
            expected = expected_of(destinations, sources, output_maps, input_maps, scales)
            prepared.run()
            assert all(same_bits(one.cpu(), other) for one, other in zip(destinations, expected, strict=True))
            copy_weights_(destinations, sources, output_maps, input_maps, scales)
            assert all(same_bits(one.cpu(), other) for one, other in zip(destinations, expected, strict=True))

    check()


@pytest.mark.parametrize("device", DEVICES)
def test_views_whose_memory_holds_other_values_are_refused(device):
    complex_values = torch.tensor([1 + 2j], device=device)
    with pytest.raises(ValueError, match=r"sources\[0\] is a conjugated view, .* with resolve_conj\(\)"):
        CopyPlan([torch.zeros_like(complex_values)], [complex_values.conj()])
    negated = complex_values.conj().imag
    with pytest.raises(ValueError, match=r"destinations\[0\] is a negated view, .* with resolve_neg\(\)"):
        CopyPlan([negated], [torch.ones(1, device=device)])
    result = torch.zeros(1, device=device)
    CopyPlan([result], [negated.resolve_neg()]).run()
    assert result.item() == -2


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32, torch.float64])
def test_runs_of_any_length_between_any_addresses(device, dtype):
    source = torch.arange(70_000, device=device).to(dtype)
    for first, start, count in [
        (0, 0, 70_000),
        (1, 0, 69_999),
        (0, 3, 4097),
        (5, 2, 33_000),
        (7, 7, 1),
        (1, 9, 40_001),
    ]:
        destination = torch.full((80_000,), 7, device=device, dtype=dtype)
        CopyPlan([destination[start : start + count]], [source[first : first + count]]).run()
        assert torch.equal(destination[start : start + count], source[first : first + count])
        assert (destination[:start] == 7).all()
        assert (destination[start + count :] == 7).all()


@pytest.mark.parametrize("device", DEVICES)
def test_a_plan_keeps_to_the_memory_that_it_was_made_for(device):
    source, destination = torch.ones(5, device=device), torch.zeros(5, device=device)
    before = destination.detach()
    plan = CopyPlan([destination], [source])
    destination.data = torch.full((5,), 3.0, device=device)
    plan.run()
    assert before.tolist() == [1] * 5
    assert destination.tolist() == [3] * 5


@pytest.mark.parametrize("device", DEVICES)
def test_a_backward_that_has_saved_a_destination_notices(device):
    source, weight = torch.ones(5, device=device), torch.zeros(5, device=device, requires_grad=True)
    plan = CopyPlan([weight], [source])
    saved = (weight * weight).sum()
    plan.run()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        saved.backward()


def test_bad_plans_are_refused_as_bad_copies_are():
    with pytest.raises(ValueError, match="1 destinations for 0 sources"):
        CopyPlan([torch.zeros(3)], [])
    CopyPlan([], []).run()


@pytest.mark.gpu
@needs_gpu
def test_a_captured_plan_copies_what_lies_there_when_it_is_replayed():
    generator = torch.Generator().manual_seed(0)
    sources = [torch.randn(size, generator=generator).cuda() for size in [(40, 30, 3, 3), (70_001,)]]
    destinations = [torch.zeros(20, 30, 3, 3, device="cuda"), torch.zeros(70_001, device="cuda")]
    maps = [torch.randint(40, (20,), generator=generator), None]
    plan = CopyPlan(destinations, sources, maps)
    plan.run()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        plan.run()
    sources[0].normal_()
    sources[1].normal_()
    graph.replay()
    assert torch.equal(destinations[0], sources[0][maps[0].cuda()])
    assert torch.equal(destinations[1], sources[1])


@pytest.mark.filterwarnings("ignore:The CUDA Graph is empty")
@pytest.mark.gpu
@needs_gpu
def test_copies_without_a_plan_are_not_captured():
    source, destination = torch.ones(5, device="cuda"), torch.zeros(5, device="cuda")
    copy_weights_([destination], [source])
    with (
        pytest.raises(RuntimeError, match=r"copy_weights_ can't be captured in a CUDA graph.*make a CopyPlan"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        copy_weights_([destination], [source])
    torch.cuda.synchronize()
    copy_weights_([destination], [source])
