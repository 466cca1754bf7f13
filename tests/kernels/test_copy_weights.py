import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from weight_copies import DEVICES, copies, same_bits

from spnas_kernels import copy_weights_
from spnas_kernels.references import copy_weights as reference


@settings(max_examples=400)
@given(st.lists(copies(), min_size=1, max_size=6))
def test_plans_are_executed_to_the_bit_as_the_reference_executes_them(plan):
    destinations, sources, output_maps, input_maps, scales = (list(column) for column in zip(*plan, strict=True))
    expected = [destination.clone() for destination in destinations]
    factors = [None if scale is None else torch.as_tensor(scale, dtype=torch.float64) for scale in scales]
    reference.copy_weights_(expected, sources, output_maps, input_maps, factors)
    copy_weights_(destinations, sources, output_maps, input_maps, scales)
    for ours, theirs in zip(destinations, expected, strict=True):
        assert same_bits(ours, theirs)


@pytest.mark.parametrize("device", DEVICES)
def test_channels_are_gathered_and_scaled_as_written_down(device):
    source = torch.arange(2.0 * 3 * 4, device=device).reshape(2, 3, 4)
    destination = torch.empty(3, 2, 4, device=device)
    outputs, inputs, scale = torch.tensor([1, 0, 1]), torch.tensor([2, 0]), torch.tensor([0.5, 4.0])
    copy_weights_([destination], [source], [outputs], [inputs], [scale])
    for o in range(3):
        for i in range(2):
            assert torch.equal(destination[o, i], source[outputs[o], inputs[i]] * scale[i])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("narrow", [torch.float16, torch.bfloat16])
def test_every_half_number_is_widened_exactly_and_every_float_is_rounded_to_nearest(device, narrow):
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(narrow).to(device)
    wide = torch.empty(len(every), dtype=torch.float32, device=device)
    copy_weights_([wide], [every])
    assert same_bits(wide, every.float())
    # Neighbours of every representable number, and the ties between two of them.
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32)[:, None] * 65536 + torch.tensor(
        [0, 1, 4095, 4096, 4097, 32768]
    )
    floats = torch.cat([bits.flatten().view(torch.float32), (wide.cpu()[:-1] + wide.cpu()[1:]) / 2]).to(device)
    rounded = torch.empty(len(floats), dtype=narrow, device=device)
    copy_weights_([rounded], [floats])
    assert same_bits(rounded, floats.to(narrow))


def test_large_tensors_are_copied_by_any_number_of_threads():
    generator = torch.Generator().manual_seed(0)
    sources = [torch.randn(size, generator=generator) for size in (1_000_003, 7, 300_000)]
    source = torch.randn(200, 150, 3, 3, generator=generator)
    outputs, inputs = torch.randint(200, (400,), generator=generator), torch.randint(150, (90,), generator=generator)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            destinations = [torch.empty_like(tensor) for tensor in sources]
            mapped = torch.empty(400, 90, 3, 3)
            copy_weights_([*destinations, mapped], [*sources, source], [None] * 3 + [outputs], [None] * 3 + [inputs])
            assert all(torch.equal(one, other) for one, other in zip(destinations, sources, strict=True))
            assert torch.equal(mapped, source[outputs][:, inputs])
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_every_instruction_set_copies_from_and_to_any_address(isa, tmp_path):
    script = (
        "import torch; from spnas_kernels import copy_weights_\n"
        "source = torch.arange(20_000, dtype=torch.uint8)\n"
        "for first in range(0, 70, 3):\n"
        "    for start in (0, 1, 63):\n"
        "        for count in (1, 4095, 4096, 4097, 9001):\n"
        "            destination = torch.full((20_000,), 255, dtype=torch.uint8)\n"
        "            copy_weights_([destination[start : start + count]], [source[first : first + count]])\n"
        "            assert torch.equal(destination[start : start + count], source[first : first + count])\n"
        "            assert bool((destination[:start] == 255).all() and (destination[start + count :] == 255).all())\n"
    )
    environment = {**os.environ, "SPNAS_KERNELS_ISA": isa}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, cwd=tmp_path)


def test_no_copies_are_no_work():
    copy_weights_([], [])
    empty = torch.empty(0, 3)
    copy_weights_([empty], [torch.empty(0, 3)])


@pytest.mark.parametrize("device", DEVICES)
def test_torch_accepts_the_operator(device):
    arguments = (
        [torch.zeros(2, 3, device=device), torch.zeros(4, device=device)],
        [torch.ones(2, 5, device=device), torch.ones(4, device=device)],
        [None, None],
        [torch.tensor([0, 4, 4]), None],
        [torch.tensor(2.0, dtype=torch.float64), None],
    )
    torch.library.opcheck(torch.ops.spnas.copy_weights_, arguments)


FOUR = torch.zeros(4)
SQUARE = torch.zeros(3, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([FOUR], []), "1 destinations for 0 sources: one each is needed"),
        (([FOUR], [FOUR], []), "1 destinations for 0 output_maps"),
        (([FOUR], [torch.zeros(3)]), r"destination 0 has shape \(4,\), its source \(3,\)"),
        (([FOUR], [FOUR.to("meta")]), "copy 0 goes from meta to cpu, copy 0 to cpu: all tensors must be on one device"),
        (([FOUR], [torch.zeros(4, dtype=torch.int64)]), "copy 0 goes from torch.int64 to torch.float32: only float64"),
        (([FOUR.int()], [FOUR.int()], None, None, [2.0]), "from torch.int32 to torch.int32 with a scale"),
        (([SQUARE], [SQUARE], [torch.zeros(3)]), "output map 0 is a 1-dimensional torch.float32 tensor on cpu"),
        (([FOUR], [FOUR], None, [torch.tensor([0] * 4)]), "input map 0 needs a destination of 2 dimensions, not 1"),
        (([SQUARE], [SQUARE], [torch.tensor([0, 1])]), r"with these maps gives \(2, 3\)"),
        (([SQUARE], [FOUR], [torch.tensor([0, 1])]), "destination 0 has 2 dimensions, its source 1"),
        (
            ([SQUARE], [SQUARE], None, None, [torch.ones(2)]),
            r"scale 0 has shape \(2,\): one factor, or one for each of 3",
        ),
    ],
)
def test_impossible_plans_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        copy_weights_(*arguments)


def overlapping():
    memory = torch.zeros(10)
    return [
        (([memory[:6], memory[5:]], [torch.ones(6), torch.ones(5)]), "destinations 0 and 1 overlap"),
        (([memory[:5]], [memory[4:9]]), "destination 0 overlaps source 0"),
        (([memory[:5], memory[5:]], [torch.ones(5), memory[:5].clone()[:5]]), None),
        (([torch.zeros(1).expand(4)], [torch.ones(4)]), "destination 0 overlaps itself"),
        (([torch.zeros(5).as_strided((3, 3), (1, 1))], [torch.ones(3, 3)]), "destination 0 overlaps itself"),
    ]


def by_reference(destinations, sources, output_maps=None, input_maps=None):
    count = len(destinations)
    reference.copy_weights_(
        destinations, sources, output_maps or [None] * count, input_maps or [None] * count, [None] * count
    )


@pytest.mark.parametrize("copier", [copy_weights_, by_reference])
@pytest.mark.parametrize(("arguments", "message"), overlapping())
def test_memory_that_overlaps_is_refused_by_operator_and_reference(copier, arguments, message):
    if message is None:
        copier(*arguments)
        return
    before = [destination.clone() for destination in arguments[0]]
    with pytest.raises(RuntimeError, match=message):
        copier(*arguments)
    assert all(torch.equal(one, other) for one, other in zip(arguments[0], before, strict=True))


@pytest.mark.parametrize("copier", [copy_weights_, by_reference])
@pytest.mark.parametrize("channel", [-1, 3, 2**40])
def test_maps_must_point_into_their_source(copier, channel):
    with pytest.raises(RuntimeError, match=f"output map 0 points to channel {channel} of a source that has 3"):
        copier([torch.zeros(2, 3)], [SQUARE], [torch.tensor([0, channel])])
    with pytest.raises(RuntimeError, match=f"input map 0 points to channel {channel} of a source that has 3"):
        copier([torch.zeros(3, 2)], [SQUARE], None, [torch.tensor([0, channel])])


def test_a_backward_that_saved_a_destination_notices_the_copy():
    weight = torch.ones(3, requires_grad=True)
    loss = (weight**2).sum()
    copy_weights_([weight], [torch.zeros(3)])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_one_factor_scales_a_number_without_dimensions():
    for copier in (copy_weights_, reference.copy_weights_):
        number = torch.tensor(0.0)
        copier([number], [torch.tensor(3.0)], [None], [None], [torch.tensor([2.0], dtype=torch.float64)])
        assert number == 6
