import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.networks import images, trained_looking

from spnas_core import Architecture, build_backbone, materialise
from spnas_core.errors import CodeError
from spnas_core.inheritance import calibrate_pass_through, output_change
from spnas_core.inheritance.plan import plan_inheritance, tensor_shapes
from spnas_core.morphisms import (
    AddRow,
    AddStage,
    Expand,
    Halve,
    Narrow,
    Remove,
    Rewrite,
    Swap,
    Widen,
    identity,
    morphism,
    morphisms,
)
from spnas_core.testing import architectures, parallel_architectures, serial_architectures

SEEDS = st.integers(0, 2**31 - 1)
MORPHISMS = (Swap(), Expand(), AddStage())


def drawn(options, seed: int) -> Rewrite:
    return options[seed % len(options)]


@torch.no_grad()
@settings(max_examples=30)
@given(parallel_architectures(), SEEDS)
def test_expand_keeps_outputs(architecture, seed):
    parent = trained_looking(architecture, seed)
    rewrite = drawn(Expand().options(architecture), seed)
    child, _ = materialise(rewrite, parent.state_dict())
    for mode in (parent.eval(), parent.train()):
        child.train(mode.training)
        before, after = parent(images(seed)), child(images(seed))
        assert before.keys() == after.keys()
        for level, features in before.items():
            assert (after[level] - features).abs().max() <= 1e-5


@torch.no_grad()
@settings(max_examples=30)
@given(parallel_architectures(), SEEDS)
def test_add_stage_keeps_all_earlier_outputs_exactly(architecture, seed):
    parent = trained_looking(architecture, seed)
    (rewrite,) = AddStage().options(architecture)
    child, _ = materialise(rewrite, parent.state_dict())
    before, after = parent(images(seed)), child.eval()(images(seed))
    assert len(after) == len(before) + 1
    for level, features in before.items():
        assert torch.equal(after[level], features)


@settings(max_examples=50)
@given(serial_architectures(), SEEDS)
def test_swap_inherits_every_tensor_that_has_a_same_named_parent(architecture, seed):
    options = Swap().options(architecture)
    if not options:
        assert all(len(stage) == 1 for stage in architecture.stages)
        return
    rewrite = drawn(options, seed)
    assert rewrite.child.digits == architecture.digits
    parent = build_backbone(architecture).state_dict()
    child, receipt = materialise(rewrite, parent)
    state = child.state_dict()
    for name in state.keys() & parent.keys():
        assert torch.equal(state[name], parent[name]), name
    assert set(receipt.dropped) == parent.keys() - state.keys()
    added = {name.rpartition(".")[0] for name in dict(child.named_parameters()).keys() - parent.keys()}
    assert set(receipt.added) == added
    assert all(".projection." in name for name in state.keys() ^ parent.keys())


@settings(max_examples=50)
@given(serial_architectures(), SEEDS, st.integers(1, 4))
def test_composition_carries_one_block_map(architecture, seed, count):
    rng = np.random.default_rng(seed)
    rewrite = identity(architecture)
    for _ in range(count):
        options = [option for m in MORPHISMS for option in m.options(rewrite.child)]
        rewrite = rewrite.then(options[rng.integers(len(options))])
    inherited = [source for source in rewrite.block_map if source is not None]
    assert inherited == list(range(len(architecture.digits)))
    for index, source in enumerate(rewrite.block_map):
        assert rewrite.child.digits[index] == ("1" if source is None else architecture.digits[source])
    child, receipt = materialise(rewrite, build_backbone(architecture).state_dict())
    assert receipt.copied + receipt.expanded + receipt.new == sum(p.numel() for p in child.parameters())
    assert child.architecture == rewrite.child


@settings(max_examples=20)
@given(serial_architectures(), SEEDS)
def test_all_parameters_of_a_child_train(architecture, seed):
    """After one step has woken the silent residuals, every tensor gets a gradient."""
    rng = np.random.default_rng(seed)
    rewrite = identity(architecture)
    for m in (Expand(), AddStage(), Swap()):
        options = m.options(rewrite.child)
        if options:
            rewrite = rewrite.then(options[rng.integers(len(options))])
    child, _ = materialise(rewrite, trained_looking(architecture, seed).state_dict())
    child.train()
    assert all(parameter.requires_grad for parameter in child.parameters())
    for name, parameter in child.named_parameters():
        if name.endswith("squeeze.bias"):  # so that no gate's ReLU, of a channel or two, is closed by chance
            torch.nn.init.ones_(parameter)
    optimizer = torch.optim.SGD(child.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(2):
        optimizer.zero_grad()
        features = child(images(seed, 4))
        sum((level * torch.randn(level.shape, generator=generator)).mean() for level in features.values()).backward()
        optimizer.step()
    silent = [name for name, p in child.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A branch of a narrow random network can be dead by chance (all ReLUs closed); never more than a few tensors. The
    # one ReLU of a gate closes three of them.
    assert len({re.sub(r"(squeeze|excite)\..*", "gate", name) for name in silent}) <= 3, silent


@torch.no_grad()
@settings(max_examples=20)
@given(serial_architectures().filter(lambda code: not code.block.startswith("m")), SEEDS)
def test_calibrated_projection_of_a_new_stage_passes_its_input_through_in_both_modes(architecture, seed):
    parent = trained_looking(architecture, seed)
    (rewrite,) = AddStage().options(architecture)
    child, _ = materialise(rewrite, parent.state_dict())
    with torch.device("meta"):
        shapes = tensor_shapes(type(child)(rewrite.child))
    plan = plan_inheritance(rewrite, shapes, tensor_shapes(parent))
    assert plan.pass_through_norms == (f"blocks.{len(architecture.digits)}.projection.bn",)
    batch = images(seed, 4)
    calibrate_pass_through(child, plan.pass_through_norms, batch)
    last = f"s{len(architecture.stages)}"
    child.eval()
    for training in (False, True):
        child.get_submodule(plan.pass_through_norms[0]).train(training)
        features = child(batch)
        new = features[f"s{len(rewrite.child.stages)}"]
        torch.testing.assert_close(new, features[last][:, :, ::2, ::2], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_output_change_is_zero_for_identity_and_positive_for_swap():
    architecture = Architecture.parse("b@4_11-21-21")
    parent = trained_looking(architecture, 0)
    same, _ = materialise(identity(architecture), parent.state_dict())
    assert set(output_change(parent, same.eval(), images(0)).values()) == {0.0}
    swapped, _ = materialise(Swap().options(architecture)[0], parent.state_dict())
    assert max(output_change(parent, swapped.eval(), images(0)).values()) > 0


@given(architectures())
def test_every_option_is_a_valid_rewrite_that_keeps_the_parallel_code(architecture):
    for m in MORPHISMS:
        for option in m.options(architecture):
            assert option.parent == architecture
            assert option.child != architecture
            assert Architecture.parse(str(option.child)) == option.child
            if architecture.rows:
                assert option.child.rows[: len(architecture.rows)] == architecture.rows


@given(architectures())
def test_swap_reaches_every_border_and_both_directions(architecture):
    options = Swap(max_step=2).options(architecture)
    reached = {step.detail for option in options for step in option.steps}
    for number, (left, right) in enumerate(zip(architecture.stages, architecture.stages[1:], strict=False), 1):
        for side, room in (("left", len(left)), ("right", len(right))):
            for step in (1, 2):
                detail = f"border {number}|{number + 1} moved {side} by {step}"
                assert (detail in reached) == (room > step)


@pytest.mark.parametrize("kind", [Swap, Widen, Narrow])
@given(architecture=architectures())
def test_steps_beyond_every_block_add_no_options_and_take_no_time(kind, architecture):
    blocks = len(architecture.digits)
    found = [(one.child, one.steps) for one in kind(max_step=10**18).options(architecture)]
    assert found == [(one.child, one.steps) for one in kind(max_step=blocks).options(architecture)]
    near = [(one.child, one.steps) for one in kind(max_step=2).options(architecture)]
    assert [one for one in found if one in near] == near


@given(architectures())
def test_expand_never_inserts_a_first_block(architecture):
    for option in Expand().options(architecture):
        new = option.block_map.index(None)
        assert new not in {0, *option.child.borders}


def test_a_rewrite_with_an_impossible_block_map_is_refused():
    architecture = Architecture.parse("b_1-1")
    with pytest.raises(CodeError, match="maps to block 5"):
        Rewrite(architecture, architecture, (0, 5))
    with pytest.raises(CodeError, match="has 1 entries for the 2 blocks"):
        Rewrite(architecture, architecture, (0,))
    with pytest.raises(CodeError, match="cannot follow"):
        identity(architecture).then(identity(Architecture.parse("b_1-2")))


def test_built_in_morphisms_are_registered_by_their_names():
    own = {m.name: m for m in (*MORPHISMS, Remove(), Widen(), Narrow(), Halve(), AddRow())}
    assert own == {name: m for name, m in morphisms().items() if name != "rewire"}  # that one is of the detector's neck
    with pytest.raises(ValueError, match="did you mean 'swap'"):
        morphism("swp")


@pytest.mark.parametrize("kind", [Swap(), Expand()], ids=lambda kind: kind.name)
def test_options_are_made_when_they_are_asked_for(kind, monkeypatch):
    made = []
    build = Architecture.with_stages
    monkeypatch.setattr(Architecture, "with_stages", lambda self, stages: made.append(stages) or build(self, stages))
    options = kind.options(Architecture.parse("b_111-2111-211111-211"))
    count = len(options)
    assert count > 10
    assert not made
    one = options[3]
    assert len(made) == 1
    assert [one, options[-1]] == [list(options)[3], list(options)[count - 1]]
    assert list(options[2:9:3]) == list(options)[2:9:3]
    with pytest.raises(IndexError):
        options[count]
