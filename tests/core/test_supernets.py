"""Parts of an architecture: which codes they are, how they are drawn, and that they compute with its weights."""

from collections import Counter

import numpy as np
import pytest
import torch

from spnas_core import Architecture, build_backbone
from spnas_core.errors import CodeError, SpaceError
from spnas_core.inheritance import fill_module, fresh_plan, materialise
from spnas_core.morphisms import Expand, Remove, Rewrite, Swap, Widen, align, identity
from spnas_core.networks import block_placements
from spnas_core.relaxation import Decisions, Logits, draw_choice, odds_of, probabilities
from spnas_core.space import SearchSpace
from spnas_core.supernets import MixedBackbone, PartOf, Parts, Supernet, part_of, why_no_part
from spnas_core.testing import random_images

START = Architecture.parse("b@4+deep_111-211-12")
ANY = SearchSpace(min_blocks=1, min_stages=1)


def made(start, seed=0):
    """A supernet whose norms are as uneven as training leaves them."""
    net, generator = Supernet(start), torch.Generator().manual_seed(seed)
    fill_module(net, fresh_plan(net), {}, generator=generator)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if tensor.ndim == 1:
                low, high = (0.4, 1.4) if name.endswith(("weight", "running_var")) else (-0.3, 0.3)
                tensor.uniform_(low, high, generator=generator)
    return net


def reached(start):
    """Every code that leaving blocks out and moving borders lead to, by brute force."""
    found, new = {start}, [start]
    while new:
        code = new.pop()
        for option in (*Remove().options(code), *Swap(max_step=99).options(code)):
            if option.child not in found:
                found.add(option.child)
                new.append(option.child)
    return found


def ends(code):
    last = [block for block in block_placements(code) if block.index + 1 in {*code.borders, len(code.digits)}]
    return {block.out_channels for block in last}


@pytest.mark.parametrize(("code", "some"), [("b@4_11-211-12", False), ("b@4_111-122-1", True)])
def test_parts_are_what_leaving_out_and_moving_borders_reach_as_long_as_stages_end_where_the_starts_do(code, some):
    start = Architecture.parse(code)
    everything = reached(start)
    parts = {code for code in everything if why_no_part(start, code) is None}
    assert parts == {code for code in everything if ends(code) <= ends(start)}
    assert len(parts) > 20
    assert (len(parts) < len(everything)) is some
    assert {Parts(start, ANY).at_step(0, step) for step in range(1500)} == parts


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("r@4+deep_111-211-12", "block type"),
        ("b@8+deep_111-211-12", "base"),
        ("b@4_111-211-12", "stem"),
        ("b@4+deep_111-211-1-2", "number of stages"),
        ("b@4+deep_111-211-22", "double elsewhere"),
        ("b@4+deep_211-111-12", "double elsewhere"),
        ("b@4+deep_1111-211-12", "more blocks between two doublings"),
        ("b@4+deep_111-211-12_0-1-0", "rows"),
    ],
)
def test_what_is_no_part_is_told_why(code, why):
    code = Architecture.parse(code)
    assert why in PartOf(START).violation(code)
    assert why in SearchSpace(min_blocks=1, min_stages=1, bounds=(PartOf(START),)).violations(code)[0]
    with pytest.raises(CodeError, match=why):
        part_of(START, code)


def test_a_stage_ends_where_one_of_the_starts_does():
    start = Architecture.parse("b@4_11-22")
    assert "ends where channels are" in why_no_part(start, Architecture.parse("b@4_112-2"))
    assert why_no_part(start, Architecture.parse("b@4_1-22")) is None


def test_a_part_is_drawn_with_the_odds_that_are_promised():
    parts = Parts(Architecture.parse("b_11-21"), SearchSpace(min_blocks=3, min_stages=2))
    rng = np.random.default_rng(0)
    counts = Counter(str(parts.draw(rng)) for _ in range(6000))
    long = {code: count for code, count in counts.items() if len(code) == 7}
    assert {len(long), len(counts) - len(long)} == {3, 4}
    assert all(abs(count / 6000 - (1 / 6 if code in long else 1 / 8)) < 0.02 for code, count in counts.items())


def test_parts_keep_the_bounds_and_where_none_does_that_is_said():
    start = Architecture.parse("b@8_1111-2111-2111")
    space = SearchSpace(min_blocks=6, max_blocks=8, min_stages=3, image_size=(64, 64), max_parameters=60_000)
    drawn = [Parts(start, space).at_step(3, step) for step in range(50)]
    assert all(code in space for code in drawn)
    assert len(set(drawn)) > 20
    Parts(start, space).check()
    for nothing in (
        SearchSpace(min_blocks=1, min_stages=1, max_parameters=1),
        SearchSpace(min_blocks=20, min_stages=1),
        SearchSpace(min_blocks=1, max_blocks=2, min_stages=1, max_stages=2),
        SearchSpace(min_blocks=1, min_stages=4),
    ):
        for refused in (lambda: Parts(start, nothing).at_step(0, 0), Parts(start, nothing).check):  # noqa: B023
            with pytest.raises(SpaceError, match=rf"part.* of {start} ") as caught:
                refused()
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("code", ["b@8_1", "b@8_2-2-2-2"])
def test_a_start_that_is_its_only_part_is_told(code):
    start = Architecture.parse(code)
    assert Parts(start, ANY).at_step(0, 0) == start
    with pytest.raises(SpaceError, match="has no part inside the search space but itself"):
        Parts(start, ANY).check()


@pytest.mark.parametrize("start", [START, Architecture.parse("r@8+deep_111-21-1"), Architecture.parse("b@4_111-11-2")])
def test_a_part_computes_what_the_child_that_inherits_it_computes(start):
    net = made(start)
    assert set(build_backbone(start).state_dict()) <= set(net.state_dict())
    for code in (start, *(Parts(start, ANY).at_step(1, step) for step in range(6))):
        part = part_of(start, code)
        child, receipt = materialise(part, net.state_dict())
        assert receipt.copied == sum(parameter.numel() for parameter in child.parameters())
        for images in (random_images(0), random_images(1, side=72)):
            for is_training in (False, True):
                before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
                expected = child.train(is_training)(images)
                found = net.path(part).train(is_training)(images)
                assert all(torch.equal(found[level], expected[level]) for level in expected)
                net.load_state_dict(before)
                child.load_state_dict(materialise(part, before)[0].state_dict())


def test_the_whole_is_the_start():
    net = made(START).eval()
    plain, _ = materialise(identity(START), net.state_dict())
    images = random_images(0)
    assert all(torch.equal(a, b) for a, b in zip(net(images).values(), plain.eval()(images).values(), strict=True))


def test_only_tensors_of_the_path_are_trained():
    net = made(START).train()
    part = part_of(START, Architecture.parse("b@4+deep_11-1211-2"))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1, weight_decay=0.1)
    sum(level.square().mean() for level in net.path(part).train()(random_images(0)).values()).backward()
    optimizer.step()
    changed = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    child, _ = materialise(part, before)
    expected = set()
    for name in child.state_dict():
        kind, _, rest = name.partition(".")
        index, _, inner = rest.partition(".")
        expected.add(f"blocks.{part.block_map[int(index)]}.{inner}" if kind == "blocks" else name)
    assert changed == expected
    assert any("projection" in name for name in changed)


def test_a_rewrite_that_adds_a_block_is_no_path():
    net = made(START)
    for option in (Expand().insert(START, 0, 1), Widen().double(START, 1)):
        with pytest.raises(CodeError, match="no part of"):
            net.path(align(START, option.child))


def test_rows_are_refused():
    with pytest.raises(CodeError, match="rows"):
        Supernet(Architecture.parse("b@4_1-1_1-0"))


def test_a_block_that_cannot_go_is_refused():
    for stage, position in ((0, 0), (1, 0), (2, 1), (5, 0), (0, 3)):
        with pytest.raises(CodeError, match="cannot be left out"):
            Remove().drop(START, stage, position)


# All parts at once


def some_choices(decisions):
    """Choices drawn with about even odds."""
    logits = Logits.drawn(decisions, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    odds = probabilities(decisions, logits)
    return [decisions.whole(), *(draw_choice(odds, decisions, rng) for _ in range(6))]


@pytest.mark.parametrize("start", [START, Architecture.parse("r@8+deep_111-21-1")])
def test_mixed_features_at_one_hot_odds_are_those_of_the_part(start):
    net, decisions = made(start).eval(), Decisions(start)
    mixed = MixedBackbone(net, decisions).eval()
    for choice in some_choices(decisions):
        mixed.odds = lambda choice=choice: odds_of(*(torch.tensor(one).float() for one in decisions.one_hot(choice)))
        code = decisions.code(choice)
        blocks = tuple(place for place, kept in enumerate(choice.kept) if kept)
        part = Rewrite(start, code, blocks, part_of(start, code).steps)
        expected, found = net.path(part).eval()(random_images(0)), mixed(random_images(0))
        assert list(found) == list(expected)
        for level in expected:
            assert torch.allclose(found[level], expected[level], atol=1e-5)


def test_with_nothing_to_decide_the_mixture_is_the_plain_network():
    start = Architecture.parse("b@4_1-2-2")
    net, decisions = made(start).eval(), Decisions(start)
    mixed = MixedBackbone(net, decisions).eval()
    mixed.odds = lambda: probabilities(decisions, Logits.drawn(decisions, np.random.default_rng(3), 2.0))
    for found, expected in zip(mixed(random_images(0)).values(), net(random_images(0)).values(), strict=True):
        assert torch.allclose(found, expected, atol=1e-6)


def test_a_mixture_of_two_borders_is_the_mean_of_what_they_give():
    start = Architecture.parse("b@4_11-1")
    net, decisions = made(start).eval(), Decisions(start)
    keep, move = torch.tensor([[1.0, 0], [1, 0], [1, 0]]), torch.zeros(2, 2, 2)
    move[0, 0], move[1, 0], move[1, 1] = torch.tensor([0.3, 0.7]), torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])
    mixed = MixedBackbone(net, decisions).eval()
    mixed.odds = lambda: odds_of(keep, move)
    ends = [net.path(part_of(start, Architecture.parse(f"b@4_{code}"))).eval() for code in ("11-1", "1-11")]
    given = [end(random_images(0)) for end in ends]
    found = mixed(random_images(0))
    assert torch.allclose(found["s1"], 0.3 * given[0]["s1"] + 0.7 * given[1]["s1"], atol=1e-5)
    assert torch.allclose(found["s2"], 0.3 * given[0]["s2"] + 0.7 * given[1]["s2"], atol=1e-5)


def test_the_loss_of_a_mixture_reaches_every_decision_and_every_block():
    net, decisions = made(START).train(), Decisions(START)
    logits = Logits.drawn(decisions, np.random.default_rng(0))
    mixed = MixedBackbone(net, decisions)
    mixed.odds = lambda: probabilities(decisions, logits)
    sum(level.square().mean() for level in mixed(random_images(0)).values()).backward()
    assert (logits.keep.grad[torch.tensor(decisions.is_optional)] != 0).any(1).all()
    both = torch.tensor(decisions.legal.all(-1))
    assert both.any()
    assert (logits.move.grad[both] != 0).all()
    assert all(net.blocks[place].conv1.weight.grad is not None for place in range(len(START.digits)))
