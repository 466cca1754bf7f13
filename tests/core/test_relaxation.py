"""Choosing by gradient: what the mathematics must give, by hand, by brute force and by automatic differentiation."""

import itertools
import math

import numpy as np
import pytest
import torch
from choices import chance, everything, random_logits

from spnas_core import Architecture, backbone_cost
from spnas_core.relaxation import (
    Decisions,
    ExpectedCost,
    Logits,
    Relaxation,
    anneal,
    best_choices,
    best_codes,
    binary_gates,
    draw_choice,
    draw_other,
    gumbel_odds,
    gumbel_weights,
    log_odds,
    probabilities,
    unrolled_gradient,
)
from spnas_core.relaxation.mixtures import odds_of
from spnas_core.space import SearchSpace
from spnas_core.supernets import why_no_part

START = Architecture.parse("b@4_111-211-21")
ANY = SearchSpace(min_blocks=1, min_stages=1)


# 1: second order


def test_the_second_order_of_a_scalar_is_what_the_paper_works_out():
    w, alpha = torch.tensor(1.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    losses = (lambda: (w - alpha) ** 2 / 2, lambda: w**2 / 2)
    assert float(unrolled_gradient(*losses, [w], [alpha], 0.1)[0]) == pytest.approx(0.11, abs=1e-6)
    assert float(unrolled_gradient(*losses, [w], [alpha], 0.0)[0]) == 0
    assert w.item() == 1.0


@pytest.mark.parametrize("seed", range(4))
def test_the_product_by_differences_is_that_of_double_backward(seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    w, v = draw(4, 3).requires_grad_(), draw(3).requires_grad_()
    alphas, momenta = [draw(3).requires_grad_()], [draw(4, 3), None]
    x, y, u, z = draw(6, 4), draw(6), draw(6, 4), draw(6)

    def loss(inputs, outputs, w, v, alpha):
        return ((torch.tanh(inputs @ w) * alpha.softmax(-1)) @ v - outputs).square().mean()

    rate, momentum, decay = 0.05, 0.9, 0.01
    found = unrolled_gradient(
        lambda: loss(x, y, w, v, *alphas), lambda: loss(u, z, w, v, *alphas), [w, v], alphas, rate,
        momenta=momenta, momentum=momentum, weight_decay=decay,
    )[0]  # fmt: skip
    steps = torch.autograd.grad(loss(x, y, w, v, *alphas), [w, v], create_graph=True)
    moved = [
        one - rate * (step + decay * one + (0 if m is None else momentum * m))
        for one, step, m in zip([w, v], steps, momenta, strict=True)
    ]
    (expected,) = torch.autograd.grad(loss(u, z, *moved, *alphas), alphas)
    first = unrolled_gradient(lambda: loss(x, y, w, v, *alphas), lambda: loss(u, z, w, v, *alphas), [w, v], alphas, 0.0)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-6)
    assert not torch.allclose(first[0], expected, rtol=1e-3)


# 2: binary gates


def test_the_gradient_of_binary_gates_is_the_papers():
    alpha = torch.tensor([0.1, -0.2, 0.3], requires_grad=True)
    gates = binary_gates(alpha, torch.Generator().manual_seed(0))
    assert sorted(gates.tolist()) == [0, 0, 1]
    gates.backward(torch.tensor([1.0, 2.0, -1.0]))
    assert alpha.grad.tolist() == pytest.approx([0.19396, 0.39378, -0.58775], abs=1e-5)
    assert float(alpha.grad.sum()) == pytest.approx(0, abs=1e-6)
    same = torch.tensor([0.1, -0.2, 0.3], requires_grad=True)
    (same.softmax(-1) * torch.tensor([1.0, 2.0, -1.0])).sum().backward()
    assert torch.allclose(alpha.grad, same.grad)


def test_a_gate_is_drawn_as_often_as_it_is_probable():
    alpha, generator = torch.tensor([0.1, -0.2, 0.3]), torch.Generator().manual_seed(1)
    drawn = torch.stack([binary_gates(alpha, generator) for _ in range(6000)]).mean(0)
    assert torch.allclose(drawn, alpha.softmax(-1), atol=0.02)


# 3: Gumbel noise


@pytest.mark.parametrize("temperature", [1.0, 0.3, 0.03])
def test_arg_max_of_gumbel_weights_is_distributed_by_softmax_at_every_temperature(temperature):
    logits = torch.tensor([0.5, -0.3, 1.0])
    generator = torch.Generator().manual_seed(5)
    weights = gumbel_weights(logits.expand(200_000, 3).contiguous(), temperature, generator)
    frequencies = torch.bincount(weights.argmax(-1), minlength=3) / 200_000
    assert torch.allclose(frequencies, logits.softmax(-1), atol=0.003)
    assert torch.allclose(weights.sum(-1), torch.ones(200_000), atol=1e-5)


def test_gumbel_weights_become_one_hot_as_the_temperature_goes_to_zero():
    logits = torch.tensor([0.5, -0.3, 1.0]).expand(10_000, 3).contiguous()
    largest = [
        float(gumbel_weights(logits, temperature, torch.Generator().manual_seed(2)).max(-1).values.mean())
        for temperature in (1.0, 0.1, 0.001)
    ]
    assert largest[0] < largest[1] < largest[2]
    assert largest[2] > 0.999


def test_gumbel_odds_keep_what_must_stay_and_go_where_they_may():
    decisions = Decisions(START)
    odds = gumbel_odds(decisions, random_logits(decisions, 0), 0.5, torch.Generator().manual_seed(0))
    assert (odds.keep[~torch.tensor(decisions.is_optional)] == torch.tensor([1.0, 0.0])).all()
    assert (odds.move[~torch.tensor(decisions.legal)] == 0).all()
    assert float(odds.nodes[-1, -1].detach()) == pytest.approx(1, abs=1e-5)
    other = gumbel_odds(decisions, random_logits(decisions, 0), 0.5, torch.Generator().manual_seed(1))
    assert not torch.equal(odds.move, other.move)


def test_the_temperature_falls_linearly_to_its_floor():
    assert [anneal(step, 3) for step in range(3)] == pytest.approx([1.0, 0.515, 0.03])
    assert anneal(0, 1) == 1.0


# The trellis


@pytest.mark.parametrize("mixes", [True, False])
@pytest.mark.parametrize("code", ["b@4_111-211-21", "b@4_11-11-2", "b@4_1-22-1", "b@4_1111"])
def test_probabilities_of_all_choices_add_up_to_one_and_each_is_a_part(code, mixes):
    decisions = Decisions(Architecture.parse(code), mixes)
    logits = random_logits(decisions, 3)
    odds = probabilities(decisions, logits)
    choices = list(everything(decisions))
    chances = [chance(decisions, logits, choice) for choice in choices]
    assert sum(chances) == pytest.approx(1, abs=1e-6)
    assert {why_no_part(decisions.start, decisions.code(choice)) for choice in choices} == {None}
    assert decisions.whole() in choices
    assert decisions.code(decisions.whole()) == decisions.start
    for choice, expected in zip(choices, chances, strict=True):
        assert float(log_odds(odds, choice, decisions).detach()) == pytest.approx(math.log(expected), abs=1e-4)
    assert float(odds.nodes[-1, -1].detach()) == pytest.approx(1, abs=1e-5)


def test_without_mixing_every_part_of_the_start_is_a_choice():
    decisions = Decisions(START, mixes=False)
    from spnas_core.supernets import Parts

    drawn = {Parts(START, ANY).at_step(0, step) for step in range(2000)}
    assert {decisions.code(choice) for choice in everything(decisions)} == drawn


def test_choices_are_drawn_by_their_probability():
    decisions = Decisions(Architecture.parse("b@4_11-21"))
    logits, rng = random_logits(decisions, 1), np.random.default_rng(0)
    odds = probabilities(decisions, logits)
    drawn = [draw_choice(odds, decisions, rng) for _ in range(8000)]
    for choice in everything(decisions):
        assert drawn.count(choice) / 8000 == pytest.approx(chance(decisions, logits, choice), abs=0.02)


def test_another_choice_is_drawn_by_the_rescaled_chances_of_all_others():
    decisions = Decisions(Architecture.parse("b@4_11-21"))
    logits, rng = random_logits(decisions, 1), np.random.default_rng(0)
    odds = probabilities(decisions, logits)
    for given in everything(decisions):
        others = 1 - chance(decisions, logits, given)
        drawn = [draw_other(odds, decisions, given, rng) for _ in range(4000)]
        assert given not in drawn
        for choice in everything(decisions):
            if choice != given:
                expected = chance(decisions, logits, choice) / others
                assert drawn.count(choice) / 4000 == pytest.approx(expected, abs=0.03)


def test_another_choice_is_drawn_however_likely_the_given_one_is():
    decisions = Decisions(Architecture.parse("b@4_111-211-21"))
    whole, rng = decisions.whole(), np.random.default_rng(0)
    keep, move = (torch.tensor(one, dtype=torch.float32) for one in decisions.one_hot(whole))
    nearly = Logits(30 * keep, 30 * move)  # all others together: 1e-12
    odds = probabilities(decisions, Logits(nearly.keep.double(), nearly.move.double()))
    assert whole not in [draw_other(odds, decisions, whole, rng) for _ in range(100)]
    assert draw_other(odds_of(keep, move), decisions, whole, rng) is None  # there is no other
    alone = Decisions(Architecture.parse("b@4_1"))
    assert draw_other(probabilities(alone, random_logits(alone, 0)), alone, alone.whole(), rng) is None


# 4: codes and their cost


@pytest.mark.parametrize("code", ["b@4_111-211-21", "r@16_11-211-2", "b@8+deep_111-11-21"])
@pytest.mark.parametrize("size", [(64, 64), (101, 67)])
def test_the_expected_cost_is_the_mean_of_the_codes_costs(code, size):
    decisions = Decisions(Architecture.parse(code), mixes=False)
    cost = ExpectedCost(decisions, *size)
    for choice in itertools.islice(everything(decisions), 0, None, 7):
        keep, move = (torch.tensor(values) for values in decisions.one_hot(choice))
        expected = backbone_cost(decisions.code(choice), *size).multiply_adds
        assert float(cost(odds_of(keep, move))) == expected
    logits = random_logits(decisions, 4)
    mean = sum(
        chance(decisions, logits, choice) * backbone_cost(decisions.code(choice), *size).multiply_adds
        for choice in everything(decisions)
    )
    assert float(cost(probabilities(decisions, logits)).detach()) == pytest.approx(mean, rel=1e-5)


def test_the_gradient_of_the_expected_cost_is_that_of_differences():
    decisions = Decisions(START, mixes=False)
    drawn = random_logits(decisions, 5)
    logits = Logits(*(tensor.detach().double().requires_grad_() for tensor in drawn.tensors()))
    cost = ExpectedCost(decisions, 64, 64)
    cost(probabilities(decisions, logits)).backward()
    for tensor in logits.tensors():
        for place in itertools.product(*map(range, tensor.shape)):
            sides = []
            for shift in (1e-5, -1e-5):
                with torch.no_grad():
                    tensor[place] += shift
                    sides.append(cost(probabilities(decisions, logits)).item())
                    tensor[place] -= shift
            assert tensor.grad[place].item() == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-4, abs=1)


# 5: nothing to decide


def test_a_start_without_decisions_has_one_choice():
    decisions = Decisions(Architecture.parse("b@4_1-2-2"))
    assert list(everything(decisions)) == [decisions.whole()]
    assert best_codes(decisions, random_logits(decisions, 0), ANY, 5) == [decisions.start]
    odds = probabilities(decisions, random_logits(decisions, 0))
    assert torch.equal(odds.nodes.detach(), torch.eye(3))


def test_logits_survive_being_stored():
    decisions = Decisions(START)
    logits = random_logits(decisions, 0)
    again = Logits.from_plain(logits.plain())
    assert torch.equal(again.keep.float(), logits.keep.detach())
    assert best_choices(decisions, again, 3) == best_choices(decisions, logits, 3)
    alone = Decisions(Architecture.parse("b@8_1"))
    assert Logits.from_plain(random_logits(alone, 0).plain()).move.shape == alone.legal.shape == (0, 1, 2)
    for wrong in (
        None,
        {},
        {"keep": [[0]]},
        {"keep": [[math.nan, 0]], "move": [[[0, 0]]]},
        {"keep": 1, "move": 2},
        {"keep": [[0, 0], [0, 0]], "move": []},
    ):
        with pytest.raises(ValueError, match="logits"):
            Logits.from_plain(wrong)


@pytest.mark.parametrize("wrong", [{"kind": "hard"}, {"learning_rate": 0}, {"warmup": 1}, {"every": 0}, {"cost": -1}])
def test_a_relaxation_out_of_its_range_is_refused(wrong):
    with pytest.raises(ValueError, match=r"."):
        Relaxation(**wrong)
