"""Chains of add stage, expand and swap between two given architectures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spnas_core import Architecture, build_backbone, materialise
from spnas_core.errors import CodeError
from spnas_core.morphisms import AddStage, Expand, Rewrite, Swap, chain, identity
from spnas_core.testing import architectures, serial_architectures

SEEDS = st.integers(0, 2**31 - 1)
MORPHISMS = (Swap(), Expand(), AddStage())


def rewritten(architecture: Architecture, seed: int, count: int) -> Rewrite:
    """What a search could have done: random options, one after the other."""
    rng = np.random.default_rng(seed)
    rewrite = identity(architecture)
    for _ in range(count):
        options = [option for kind in MORPHISMS for option in kind.options(rewrite.child)]
        rewrite = rewrite.then(options[rng.integers(len(options))])
    return rewrite


def rewrite(parent: str, child: str, *blocks: int | None) -> Rewrite:
    return Rewrite(Architecture.parse(parent), Architecture.parse(child), blocks)


@given(architectures(), SEEDS, st.integers(0, 12))
def test_whatever_the_morphisms_reach_has_a_chain_to_the_same_child_and_origins(architecture, seed, count):
    reached = rewritten(architecture, seed, count)
    chained = chain(reached)
    assert (chained.parent, chained.child, chained.block_map) == (reached.parent, reached.child, reached.block_map)


@given(architectures(), SEEDS, st.integers(0, 12))
def test_a_chain_is_as_short_as_its_order_allows(architecture, seed, count):
    chained = chain(rewritten(architecture, seed, count))
    kinds = [step.morphism for step in chained.steps]
    assert kinds == sorted(kinds, key=["add-stage", "expand", "swap"].index)
    assert kinds.count("add-stage") == len(chained.child.stages) - len(architecture.stages)
    assert kinds.count("add-stage") + kinds.count("expand") == chained.block_map.count(None)
    assert kinds.count("swap") <= len(chained.child.borders)
    swapped = [step.detail.split(" moved")[0] for step in chained.steps if step.morphism == "swap"]
    assert len(set(swapped)) == len(swapped)


@given(architectures(), SEEDS, st.integers(0, 8))
def test_every_step_of_a_chain_is_an_option_of_its_morphism(architecture, seed, count):
    at = architecture
    for step in chain(rewritten(architecture, seed, count)).steps:
        kinds = {"add-stage": AddStage(), "expand": Expand(), "swap": Swap(max_step=99)}
        (option,) = [option for option in kinds[step.morphism].options(at) if option.steps == (step,)]
        at = option.child


@settings(max_examples=20)
@given(serial_architectures(), SEEDS)
def test_a_chain_inherits_what_its_rewrite_inherits(architecture, seed):
    reached = rewritten(architecture, seed, 5)
    weights = build_backbone(architecture).state_dict()
    _, directly = materialise(reached, weights)
    _, by_steps = materialise(chain(reached), weights)
    assert (by_steps.copied, by_steps.new, by_steps.dropped) == (directly.copied, directly.new, directly.dropped)


def test_the_documented_example():
    chained = chain(rewrite("b_11-21", "b_112-11-1", 0, 1, 2, 3, None, None))
    assert list(map(str, chained.steps)) == [
        "add-stage: stage 3 appended",
        "expand: block 3 of stage 2 inserted",
        "swap: border 1|2 moved right by 1",
    ]


def test_borders_pass_each_other_without_meeting():
    right = chain(rewrite("b_1-1-1-11111", "b_11111-1-1-1", *range(8)))
    assert [step.detail for step in right.steps] == [f"border {i}|{i + 1} moved right by 4" for i in (3, 2, 1)]
    left = chain(rewrite("b_11111-1-1-1", "b_1-1-1-11111", *range(8)))
    assert [step.detail for step in left.steps] == [f"border {i}|{i + 1} moved left by 4" for i in (1, 2, 3)]


def test_the_identity_needs_no_step_and_earlier_steps_do_not_count():
    architecture = Architecture.parse("b_11-21")
    assert chain(identity(architecture)) == identity(architecture)
    (there,) = [option for option in Swap().options(architecture) if option.child.serial_code == "112-1"]
    (back,) = [option for option in Swap().options(there.child) if option.child == architecture]
    assert chain(there.then(back)) == identity(architecture)


@pytest.mark.parametrize(
    ("parent", "child", "blocks"),
    [
        ("b_11-21", "b_111-21", (None, 0, 1, 2, 3)),  # in front of everything
        ("b_11-21", "b_11-2-1", (0, 1, 2, 3)),  # a new stage without a new block
        ("b_11-21", "b_11-1-21", (0, 1, None, 2, 3)),  # new stages begin at the end
        ("b_11-21", "b_1121", (0, 1, 2, 3)),  # no stage goes away
        ("b_11-21", "b_11-2", (0, 1, 2)),  # no block goes away
        ("b_11-21", "b_11-21", (0, 1, 2, None)),
        ("b_11-21", "b_11-21", (1, 0, 2, 3)),
        ("b_11-21", "b_11-21111", (0, 1, 2, 3, 3, 3, None)),  # no block is doubled
        ("b_11-21", "b_11-221", (0, 1, 2, None, 3)),  # new blocks keep the channels
        ("b_11-21", "b_11-12", (0, 1, 2, 3)),
        ("b_11-21", "r_11-21", (0, 1, 2, 3)),
        ("b_11-21", "b_11-21_0-1", (0, 1, 2, 3)),
    ],
)
def test_what_the_morphisms_cannot_do_is_refused(parent, child, blocks):
    with pytest.raises(CodeError, match="no chain of add stage, expand and swap leads from"):
        chain(rewrite(parent, child, *blocks))


@pytest.mark.parametrize(("border", "shift"), [(0, 0), (0, 3), (0, -3), (2, 1), (-1, 1)])
def test_a_border_that_cannot_move_so_is_refused(border, shift):
    with pytest.raises(CodeError, match=f"border {border} of b_111-1111-11 cannot move by {shift}"):
        Swap(max_step=2).move(Architecture.parse("b_111-1111-11"), border, shift)


def test_a_border_that_would_meet_another_is_refused():
    with pytest.raises(CodeError, match="empty"):
        Swap(max_step=2).move(Architecture.parse("b_11-11-1"), 0, 2)


@pytest.mark.parametrize(("stage", "position"), [(0, 0), (0, 3), (2, 1), (-1, 1)])
def test_a_block_that_cannot_be_inserted_there_is_refused(stage, position):
    with pytest.raises(CodeError, match=f"at position {position} of stage {stage} of b_11-21"):
        Expand().insert(Architecture.parse("b_11-21"), stage, position)
