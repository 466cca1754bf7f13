"""Chains of morphisms promise what all of them together keep."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.support.networks import images, trained_looking

from spnas_core import Architecture, materialise
from spnas_core.inheritance import ChannelMaps, calibrate_pass_through, norm_scales, output_change, plan_inheritance
from spnas_core.inheritance.plan import tensor_shapes
from spnas_core.morphisms import AddRow, AddStage, Expand, Narrow, Rewrite, Widen, identity

SEEDS = st.integers(0, 2**31 - 1)
STARTS = (
    "b@4_11-21",
    "b@4_1-21_1-1",
    "b@4_11-1_0-2s",
    "r@4_1-21",
    "r@4_1-1_1-0s",
    "d@4_1-2",
    "x32x4d@32_1-1",
    "g4s@8+deep_1-21",
    "m3k3s@4+deep_1-21",
    "m1k3@4+deep_11-2_0-1",
)


def change_of(rewrite: Rewrite, seed: int = 0) -> dict[str, float]:
    """Of every level of the parent, in a child that is calibrated as a task calibrates it."""
    parent = trained_looking(rewrite.parent, seed)
    state = parent.state_dict()
    maps = ChannelMaps(rewrite, seed, norm_scales(state))
    child, _ = materialise(rewrite, state, generator=torch.Generator().manual_seed(seed), seed=seed)
    plan = plan_inheritance(rewrite, tensor_shapes(child), tensor_shapes(parent), maps)
    calibrate_pass_through(child, plan.pass_through_norms, images(seed, 4))
    change = output_change(parent, child.eval(), images(seed), maps)
    assert list(change) == [f"s{number}" for number in range(1, len(rewrite.parent.stages) + 1)]
    return change


def promising_chain(start: str, seed: int, most: int = 5) -> Rewrite:
    """Up to so many steps that each promise something; half of them let new channels or rows come."""
    rng = np.random.default_rng(seed)
    rewrite = identity(Architecture.parse(start))
    kinds = [Expand(), Expand(), AddStage(), AddRow(), AddRow(shares=True), Widen(), Widen(), Widen()]
    for _ in range(rng.integers(2, most + 1)):
        options = kinds[rng.integers(len(kinds))].options(rewrite.child)
        promising = [option for option in options if option.promise is not None]
        if promising:
            rewrite = rewrite.then(promising[rng.integers(len(promising))])
    return rewrite


def doubled(start: str, stage: int, position: int) -> Rewrite:
    """Insert a block, and let it double the channels."""
    inserted = Expand().insert(Architecture.parse(start), stage, position)
    return inserted.then(Widen().double(inserted.child, inserted.block_map.index(None)))


@torch.no_grad()
@pytest.mark.parametrize("start", STARTS)
@settings(max_examples=6)
@given(seed=SEEDS)
def test_chains_of_promising_steps_keep_their_promise(start, seed):
    rewrite = promising_chain(start, seed)
    assume(rewrite.steps)
    assert rewrite.promise == pytest.approx(sum(step.promise for step in rewrite.steps))
    change = change_of(rewrite, seed)
    assert max(change.values()) <= rewrite.promise, f"{rewrite.parent} to {rewrite.child}: {change}"


@torch.no_grad()
@pytest.mark.parametrize(
    ("rewrite", "child"),
    [
        (doubled("b@8_11-11", 1, 1), "b@8_11-121"),
        (doubled("b@8_11-11", 1, 2), "b@8_11-112"),  # behind all blocks of the parent
        (doubled("r@8_11-11", 1, 1), "r@8_11-121"),
        (doubled("g4s@8_11-11", 0, 2), "g4s@8_112-11"),
        (doubled("b@8_11-11_1-2", 0, 1), "b@8_121-11_1-2"),
        (doubled("b@8_11-11_0-1s", 1, 1), "b@8_11-121_0-1s"),
    ],
    ids=lambda one: None if isinstance(one, str) else str(one.child),
)
def test_an_inserted_block_that_doubles_passes_its_input_through(rewrite, child):
    assert str(rewrite.child) == child
    assert max(change_of(rewrite).values()) <= rewrite.promise == pytest.approx(1.1e-4)


@torch.no_grad()
def test_a_doubling_that_moves_to_an_inserted_block_keeps_outputs():
    inserted = Expand().insert(Architecture.parse("b@8_11-21"), 0, 2)
    rewrite = inserted.then(Widen().move(inserted.child, 3, 2))
    assert str(rewrite.child) == "b@8_112-11"
    assert max(change_of(rewrite).values()) <= rewrite.promise


@torch.no_grad()
def test_inserted_blocks_double_one_behind_the_other():
    rewrite = doubled("r@4_11-11", 0, 1)
    again = Expand().insert(rewrite.child, 0, 2)
    rewrite = rewrite.then(again).then(Widen().double(again.child, 2))
    assert str(rewrite.child) == "r@4_1221-11"
    assert max(change_of(rewrite).values()) <= rewrite.promise


def test_nothing_is_promised_of_a_new_block_that_could_pass_nothing_through():
    assert doubled("m3k3@8_11-11", 1, 1).promise is None


def test_a_chain_promises_nothing_where_one_of_its_steps_does_not():
    architecture = Architecture.parse("b@8_11-21")
    narrowed = Narrow().move(architecture, 2, 3)
    assert narrowed.then(Expand().insert(narrowed.child, 0, 1)).promise is None
