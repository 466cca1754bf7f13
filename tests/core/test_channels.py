"""Widen, narrow and add row: what they keep, and how copies come apart."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.support.networks import images, trained_looking

from spnas_core import Architecture, build_backbone, materialise
from spnas_core.errors import CodeError
from spnas_core.inheritance import calibrate_pass_through, output_change
from spnas_core.inheritance.channels import ChannelMaps, norm_scales
from spnas_core.inheritance.plan import plan_inheritance, tensor_shapes
from spnas_core.inheritance.routes import ChannelMap, Route
from spnas_core.morphisms import AddRow, Expand, Halve, Narrow, Rewrite, Swap, Widen, identity, morphisms
from spnas_core.networks import block_placements
from spnas_core.testing import parallel_architectures, serial_architectures

SEEDS = st.integers(0, 2**31 - 1)


def child_of(rewrite: Rewrite, parent: torch.nn.Module, seed: int = 0, batch: int = 4):
    """The child, calibrated as a task calibrates it, its plan, and the channel maps."""
    state = parent.state_dict()
    child, receipt = materialise(rewrite, state, seed=seed)
    maps = ChannelMaps(rewrite, seed, norm_scales(state))
    plan = plan_inheritance(rewrite, tensor_shapes(child), tensor_shapes(parent), maps)
    calibrate_pass_through(child, plan.pass_through_norms, images(seed, batch))
    return child.eval(), plan, receipt, maps


@torch.no_grad()
@settings(max_examples=25)
@given(parallel_architectures(), SEEDS)
def test_widen_keeps_outputs_where_it_promises_to(architecture, seed):
    options = [option for option in Widen(max_step=4).options(architecture) if option.promise is not None]
    assume(options)
    rewrite = options[seed % len(options)]
    parent = trained_looking(architecture, seed)
    child, _, receipt, maps = child_of(rewrite, parent, seed)
    change = output_change(parent, child, images(seed), maps)
    assert list(change) == [f"s{number}" for number in range(1, len(architecture.stages) + 1)]
    assert max(change.values()) <= rewrite.promise == 1e-4
    assert receipt.new <= sum(p.numel() for name, p in child.named_parameters() if "projection" in name)
    before, after = parent(images(seed)), child(images(seed))
    for number, level in enumerate(before):
        expected = before[level][:, maps.stage_output(number, number).indices]
        assert (after[level] - expected).abs().max() <= 1e-4 * max(1.0, float(expected.abs().max()))


@torch.no_grad()
@settings(max_examples=25)
@given(parallel_architectures(), SEEDS, st.booleans())
def test_add_row_keeps_outputs_where_it_promises_to(architecture, seed, shares):
    rewrite = AddRow(shares).options(architecture)[seed % len(architecture.stages)]
    stage = seed % len(architecture.stages)
    rows = rewrite.child.rows
    behind = rows[stage + 1] if stage + 1 < len(rows) else 0
    shared_twice = rewrite.child.shares_rows and rows[stage] > 1
    assert (rewrite.promise is None) == (behind >= rows[stage] or shared_twice)
    parent = trained_looking(architecture, seed)
    child, *_ = child_of(rewrite, parent, seed)
    before, after = parent(images(seed)), child(images(seed))
    change = max(float((after[level] - features).abs().max()) for level, features in before.items())
    if rewrite.promise is not None:
        assert change <= rewrite.promise == 1e-5


@torch.no_grad()
def test_a_row_that_changes_what_a_later_row_continues_from_changes_outputs():
    architecture = Architecture.parse("b@4_11-11-11_1-2-0")
    parent = trained_looking(architecture, 3)
    promised, measured = AddRow().add(architecture, 2), AddRow().add(architecture, 1)
    assert (promised.promise, measured.promise) == (1e-5, None)
    changes = [max(output_change(parent, child_of(one, parent)[0], images(3)).values()) for one in (promised, measured)]
    assert changes[0] <= 1e-5 < changes[1]


@settings(max_examples=15)
@given(parallel_architectures(), SEEDS)
def test_a_new_row_is_a_copy_of_its_stage_and_a_new_fusion_is_silent(architecture, seed):
    architecture = replace(architecture, shares_rows=False)
    stage = seed % len(architecture.stages) + 1
    parent = trained_looking(architecture, seed).state_dict()
    rewrite = AddRow().add(architecture, stage)
    state = materialise(rewrite, parent)[0].state_dict()
    row = rewrite.child.rows[stage - 1]
    first = (0, *architecture.borders)[stage - 1]
    for position in range(len(architecture.stages[stage - 1])):
        for name, tensor in parent.items():
            inner = name.removeprefix(f"blocks.{first + position}.")
            if inner != name:
                assert torch.equal(state[f"rows.{stage}.{row}.{position}.{inner}"], tensor)
    for leaf in ("weight", "bias"):
        assert not state[f"fusions.{stage}.{row}.bn.{leaf}"].any()
    assert state[f"fusions.{stage}.{row}.conv.weight"].any()


@pytest.mark.parametrize(("optimizer", "rate"), [(torch.optim.SGD, 0.1), (torch.optim.AdamW, 1e-3)])
@pytest.mark.parametrize("code", ["b@4_11-21-21", "r@4_11-21", "x32x4d@32_11-21"])
def test_copies_diverge_within_ten_steps(code, optimizer, rate):
    """Copies begin alike where they are made and differ in what reads them; so their gradients differ at once."""
    architecture = Architecture.parse(code)
    rewrite = Widen().double(architecture, 1)
    child, _, _, maps = child_of(rewrite, trained_looking(architecture, 0))
    start = {name: tensor.clone() for name, tensor in child.state_dict().items()}
    child.train()
    training = optimizer(child.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(1)
    targets = {level: torch.randn(x.shape, generator=generator) for level, x in child(images(0, 4)).items()}
    for _ in range(10):
        training.zero_grad()
        sum((x * targets[level]).mean() for level, x in child(images(0, 4)).items()).backward()
        training.step()
    for index in range(1, len(architecture.digits)):
        route = maps.block_route(index, index, "conv1.weight")
        source = route.outputs.indices
        first = [int(np.argmax(source == channel)) for channel in source]
        copies = [(copy, original) for copy, original in enumerate(first) if copy != original]
        assert copies
        before, after = (folded(state[f"blocks.{index}.conv1.weight"], route) for state in (start, child.state_dict()))
        apart = [float((after[copy] - after[original]).abs().max()) for copy, original in copies]
        assert max(float((before[copy] - before[original]).abs().max()) for copy, original in copies) < 1e-6
        assert np.mean(np.array(apart) > 1e-5) > 0.8  # the others are dead: no input opens their ReLU


def folded(weight: torch.Tensor, route: Route) -> torch.Tensor:
    """What a weight makes of the parent's channels while all copies of a channel are still equal."""
    sums = torch.zeros(len(weight), route.inputs.count, *weight.shape[2:])
    return sums.index_add_(1, torch.from_numpy(route.inputs.indices), weight)


def test_equal_halves_would_stay_alike_for_ever(monkeypatch):
    """What the unequal shares are for: with equal ones no step of SGD tells the copies apart."""
    monkeypatch.setattr(Route, "_shares", lambda self, columns: np.full(columns.shape, 0.5))
    architecture = Architecture.parse("b@4_11-21")
    rewrite = Widen().double(architecture, 3)
    parent = trained_looking(architecture, 0)
    child, _, _, maps = child_of(rewrite, parent)
    child.train()
    training = torch.optim.SGD(child.parameters(), lr=0.1)
    for _ in range(10):
        training.zero_grad()
        child(images(0, 4))["s2"].square().mean().backward()
        training.step()
    source = maps.block_route(3, 3, "conv1.weight").outputs.indices
    weight = child.state_dict()["blocks.3.conv1.weight"]
    torch.testing.assert_close(weight, weight[[int(np.argmax(source == at)) for at in source]], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [Narrow(), Halve()], ids=lambda kind: kind.name)
@torch.no_grad()
@settings(max_examples=15)
@given(architecture=serial_architectures(), seed=SEEDS)
def test_fewer_channels_are_those_of_the_largest_scale(kind, architecture, seed):
    options = kind.options(architecture)
    assume(options)
    rewrite = options[seed % len(options)]
    parent = trained_looking(architecture, seed)
    child, _, _, maps = child_of(rewrite, parent, seed)
    blocks, new = block_placements(architecture), block_placements(rewrite.child)
    shrunk = [at for at in range(len(new)) if new[at].out_channels < blocks[at].out_channels]
    assert shrunk
    for at in shrunk:
        stream = blocks[at].out_stream
        scale = torch.zeros(blocks[at].out_channels)
        for block in blocks:
            if block.out_stream == stream:
                branch = [layer for layer in block.layers if layer.name != "projection"][-1]
                for layer in (branch, *(one for one in block.layers if one.name == "projection")):
                    scale += parent.get_submodule(f"blocks.{block.index}.{layer.norm}").weight.abs()
        kept = maps.stream(new[at].out_stream, stream).indices
        rest = sorted(set(range(len(scale))) - set(kept.tolist()))
        assert scale[torch.from_numpy(kept)].min() >= scale[rest].max()
        last = [layer for layer in new[at].layers if layer.name != "projection"][-1]
        name = f"blocks.{at}.{last.norm}.weight"
        assert torch.equal(child.state_dict()[name], parent.state_dict()[name][torch.from_numpy(kept)])
    assert all(torch.isfinite(x).all() for x in child(images(seed)).values())


@given(parallel_architectures())
def test_halve_undoes_a_doubling(architecture):
    doubled = [Widen().double(architecture, at) for at, digit in enumerate(architecture.digits) if digit == "1"]
    for rewrite in doubled:
        (at,) = [
            at
            for at, digits in enumerate(zip(architecture.digits, rewrite.child.digits, strict=True))
            if digits == ("1", "2")
        ]
        assert Halve().halve(rewrite.child, at).child == architecture
    assert len(Halve().options(architecture)) == architecture.digits.count("2")


@settings(max_examples=25)
@given(parallel_architectures(), SEEDS)
def test_any_chain_of_five_covers_every_tensor_once_and_adds_up(architecture, seed):
    rng = np.random.default_rng(seed)
    rewrite = identity(architecture)
    for _ in range(5):
        options = [option for kind in morphisms().values() for option in kind.options(rewrite.child)]
        rewrite = rewrite.then(options[rng.integers(len(options))])
    parent = build_backbone(architecture)
    child, plan, receipt, _ = child_of(rewrite, parent, seed)
    targets = [step.target for step in (*plan.copies, *plan.fills)]
    assert sorted(targets) == sorted(child.state_dict())
    assert receipt.copied + receipt.expanded + receipt.new == sum(p.numel() for p in child.parameters())
    assert {copy.source for copy in plan.copies} | set(plan.dropped) == set(parent.state_dict())
    features = child(images(seed))
    assert all(torch.isfinite(level).all() for level in features.values())


@settings(max_examples=10)
@given(serial_architectures(), SEEDS, SEEDS)
def test_maps_are_pure_functions_of_rewrite_and_seed(architecture, seed, other):
    rewrite = Widen().double(architecture, architecture.digits.index("1")) if "1" in architecture.digits else None
    assume(rewrite is not None and seed != other)
    parent = trained_looking(architecture, 0).state_dict()
    one, again, different = (materialise(rewrite, parent, seed=s)[0].state_dict() for s in (seed, seed, other))
    routed = [n for n in one if n.endswith("conv1.weight") and n in parent and one[n].shape != parent[n].shape]
    assume(routed)  # an inverted bottleneck that widens its end leaves its own first convolution as it is
    assert all(torch.equal(one[name], again[name]) for name in routed)
    assert any(not torch.equal(one[name], different[name]) for name in routed)


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), SEEDS)
def test_shares_sum_to_one_and_are_never_alike(groups, channels, factor, seed):
    rng = np.random.default_rng(seed)
    count = groups * channels
    local = [rng.permutation(np.repeat(np.arange(channels), factor)) + group * channels for group in range(groups)]
    inputs = ChannelMap(np.concatenate(local), count)
    outputs = ChannelMap(np.arange(groups * 2), groups * 2)
    route = Route(outputs, inputs, groups, (seed,))
    weight = torch.ones(groups * 2, channels, 1, 1)
    shared = route.apply(weight)[:, :, 0, 0]
    assert shared.shape == (groups * 2, channels * factor)
    columns = torch.from_numpy(inputs.indices.reshape(groups, -1) % channels).repeat_interleave(2, 0)
    sums = torch.zeros(groups * 2, channels).scatter_add_(1, columns, shared)
    torch.testing.assert_close(sums, torch.ones_like(sums))
    if factor > 1:
        assert len(set(shared.flatten().tolist())) == shared.numel()


def test_a_widened_block_of_a_row_descends_as_the_main_path_does():
    architecture = Architecture.parse("b@4_11-11_0-1")
    rewrite = Expand().insert(architecture, 1, 1).then(Swap().move(Architecture.parse("b@4_11-111_0-1"), 0, -1))
    origins = {str(unit): [str(source) for source in origin.sources] for unit, origin in rewrite.origins.items()}
    assert rewrite.child == Architecture.parse("b@4_1-1111_0-1")
    assert origins["row.2.1.0"] == ["main.1"]  # from a stage without that row: a copy of the main path's
    assert origins["row.2.1.1"] == ["row.2.1.0", "main.2"]
    assert origins["row.2.1.2"] == []  # expanded: new beside the main path's new block
    assert origins["row.2.1.3"] == ["row.2.1.1", "main.3"]
    assert origins["fusion.2.1"] == ["fusion.2.1"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: Widen().double(a, 2), "block 2 of b@4_11-21 is no 1"),
        (lambda a: Widen().double(a, 9), "block 9 of b@4_11-21 is no 1"),
        (lambda a: Widen().move(a, 2, 3), "from a 2 to a 1"),
        (lambda a: Widen(1).move(a, 2, 0), "by 1 to 1 blocks"),
        (lambda a: Narrow().move(a, 2, 1), "cannot move to block 1"),
        (lambda a: Halve().halve(a, 1), "block 1 of b@4_11-21 is no 2"),
        (lambda a: Halve().halve(a, -2), "block -2 of b@4_11-21 is no 2"),
        (lambda a: AddRow().add(a, 3), "beside stage 3"),
        (lambda a: AddRow().add(a, 0), "beside stage 0"),
    ],
)
def test_what_cannot_be_done_is_refused(call, message):
    with pytest.raises(CodeError, match=message):
        call(Architecture.parse("b@4_11-21"))


def test_a_receipt_tells_a_broken_promise():
    architecture = Architecture.parse("b@4_11-21")
    _, receipt = materialise(Widen().double(architecture, 1), build_backbone(architecture).state_dict())
    assert receipt.measured({"s1": 0.0, "s2": 1e-4}, 1e-4).broken_promise == ""
    assert receipt.measured({"s1": 0.3}, None).broken_promise == ""
    broken = receipt.measured({"s1": 1e-6, "s2": 0.25}, 1e-4).broken_promise
    assert broken == "outputs were to change by at most 0.0001, and s2 has changed by 0.25"
    assert "nan" in receipt.measured({"s1": float("nan")}, 1e-4).broken_promise


def test_fusions_add_nothing_before_they_are_trained():
    parent = build_backbone("b@4_11-21_1-2")
    assert parent.fusion_scales() == {"fusion.1.1": 1.0, "fusion.2.1": 1.0, "fusion.2.2": 1.0}
    grown, _ = materialise(AddRow().add(parent.architecture, 1), parent.state_dict())
    assert grown.fusion_scales() == parent.fusion_scales() | {"fusion.1.2": 0.0}
    assert set(build_backbone("b@4_11-21_1-2s").fusion_scales()) == {"fusion.1.1", "fusion.2.1"}
    assert build_backbone("b@4_11-21").fusion_scales() == {}
