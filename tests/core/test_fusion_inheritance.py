"""What fusions of rows inherit, and that those which inherit nothing add nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.networks import images, trained_looking

from spnas_core import Architecture, Backbone, materialise
from spnas_core.inheritance import plan_inheritance
from spnas_core.inheritance.plan import tensor_shapes
from spnas_core.morphisms import AddRow, Remove, Rewrite, Swap, Widen, identity
from spnas_core.networks import stage_placements

LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def swapped(code: str, shift: int = 1) -> Rewrite:
    return Swap().move(Architecture.parse(code), 0, shift)


def child_state(rewrite: Rewrite, parent: Backbone) -> dict[str, torch.Tensor]:
    return materialise(rewrite, parent.state_dict(), generator=torch.Generator().manual_seed(1))[0].state_dict()


def assert_silent(state: dict[str, torch.Tensor], fusion: str) -> None:
    """γ = β = 0, and the statistics of a norm that has seen nothing."""
    assert state[f"{fusion}.conv.weight"].any()
    for leaf in LEAVES:
        expected = torch.ones_like if leaf == "running_var" else torch.zeros_like
        tensor = state[f"{fusion}.bn.{leaf}"]
        assert torch.equal(tensor, expected(tensor)), leaf


@torch.no_grad()
@pytest.mark.parametrize(
    "code", ["b@8_11-21_0-1", "b@8_11-21_1-0", "b@8_11-21_0-2s", "r@4_11-21_2-1", "m3k3@8_11-21_0-1"]
)
def test_rows_that_add_nothing_add_nothing_behind_a_border_that_crosses_a_doubling(code):
    rewrite = swapped(code)
    parent = trained_looking(rewrite.parent, 1)
    for name, tensor in parent.state_dict().items():
        if name.startswith("fusions.") and name.endswith(("bn.weight", "bn.bias")):
            tensor.zero_()
    child, _ = materialise(rewrite, parent.state_dict(), generator=torch.Generator().manual_seed(1))
    alone = Backbone(replace(rewrite.child, rows=(), shares_rows=False)).to_empty(device="cpu")
    alone.load_state_dict({name: t for name, t in child.state_dict().items() if not name.startswith(("rows", "fus"))})
    expected = alone.eval()(images(1))
    for level, features in child.eval()(images(1)).items():
        assert torch.equal(features, expected[level])


@pytest.mark.parametrize(
    ("code", "fusion"),
    [
        ("b@8_11-21_0-1", "fusions.2.1"),  # all channels are others
        ("b@8_11-21_1-0", "fusions.1.1"),  # only those that it reads: γ and β would fit
        ("r@4_11-21_2-0", "fusions.1.2"),
    ],
)
def test_a_trained_fusion_whose_convolution_starts_anew_begins_silently(code, fusion):
    rewrite = swapped(code)
    assert_silent(child_state(rewrite, trained_looking(rewrite.parent, 1)), fusion)


def test_statistics_of_a_row_start_anew_with_the_convolution_that_it_shares():
    rewrite = swapped("b@8_11-21_2-0s")
    state = child_state(rewrite, trained_looking(rewrite.parent, 1))
    assert_silent(state, "fusions.1.1")
    assert not state["fusions.1.2.bn.running_mean"].any()
    assert (state["fusions.1.2.bn.running_var"] == 1).all()


def test_a_fusion_whose_channels_stay_is_inherited_with_its_norm():
    rewrite = swapped("b@8_111-21_1-1s", -1)
    parent = trained_looking(rewrite.parent, 1)
    state, before = child_state(rewrite, parent), parent.state_dict()
    kept = [name for name in before if name.startswith("fusions.")]
    assert len(kept) == 12
    assert all(torch.equal(state[name], before[name]) for name in kept)


def test_a_convolution_of_equal_shape_on_other_channels_is_not_inherited():
    """The child's last stream is the parent's first, twice; the parent's, of as many channels, is gone."""
    widened = Widen().move(Architecture.parse("b@8_11-12_0-1"), 3, 2)
    rewrite = widened.then(Remove().drop(widened.child, 1, 1))
    parent = trained_looking(rewrite.parent, 1)
    state = child_state(rewrite, parent)
    weight = parent.state_dict()["fusions.2.1.conv.weight"]
    assert str(rewrite.child) == "b@8_11-2_0-1"
    assert state["fusions.2.1.conv.weight"].shape == weight.shape
    assert not torch.equal(state["fusions.2.1.conv.weight"], weight)
    assert_silent(state, "fusions.2.1")


def test_a_convolution_that_a_file_lacks_silences_its_fusion():
    architecture = Architecture.parse("b@8_11-21_1-0")
    tensors = trained_looking(architecture, 1).state_dict()
    del tensors["fusions.1.1.conv.weight"]
    child, _ = materialise(identity(architecture), tensors)
    assert_silent(child.state_dict(), "fusions.1.1")


@pytest.mark.parametrize("code", ["b@4_11-21_1-1", "r@4_1-21-1_1-1-0s", "b@4_1-12_0-2"])
@settings(max_examples=12)
@given(seed=st.integers(0, 2**31 - 1))
def test_a_fusion_inherits_as_a_whole_or_not_at_all(code, seed):
    rng = np.random.default_rng(seed)
    architecture = Architecture.parse(code)
    rewrite = identity(architecture)
    for kind in rng.permutation([Swap(), Swap(), Widen(), AddRow(), Remove()])[:3]:
        if options := kind.options(rewrite.child):
            rewrite = rewrite.then(options[rng.integers(len(options))])
    plan = plan_inheritance(rewrite, *(tensor_shapes(Backbone(one)) for one in (rewrite.child, architecture)))
    copied, filled = {copy.target for copy in plan.copies}, {fill.target: fill.init.kind for fill in plan.fills}
    for stage in stage_placements(rewrite.child):
        for row in range(1, stage.rows + 1):
            fusion, owner = f"fusions.{stage.number}.{row}.", f"fusions.{stage.number}.1."
            own = [name for name in (*copied, *filled) if name.startswith(fusion)]
            convolution = (fusion if fusion + "conv.weight" in own else owner) + "conv.weight"
            statistics = [name for name in own if "running" in name]
            assert all((name in filled) == (convolution in filled) for name in statistics)
            scales = [name for name in own if name.endswith(("bn.weight", "bn.bias"))]
            assert all(filled.get(name) == ("zeros" if convolution in filled else None) for name in scales)
