"""From decisions back to codes: what brute force finds, inside whatever bounds there are."""

import math

import pytest
import torch
from choices import chance, everything, random_logits

from spnas_core import Architecture, backbone_cost
from spnas_core.relaxation import Decisions, Logits, best_choices, best_codes
from spnas_core.space import SearchSpace

START = Architecture.parse("b@4_111-211-21")


@pytest.mark.parametrize("code", ["b@4_111-211-21", "b@4_111-11-2"])
def test_the_best_ways_are_those_of_brute_force(code):
    for seed in range(100):
        decisions = Decisions(Architecture.parse(code), mixes=bool(seed % 2))
        logits = random_logits(decisions, seed)
        expected = sorted((chance(decisions, logits, choice) for choice in everything(decisions)), reverse=True)
        found = best_choices(decisions, logits, 5)
        assert [one for one, _ in found] == pytest.approx(expected[:5], rel=1e-6)
        for value, choice in found:
            assert chance(decisions, logits, choice) == pytest.approx(value, rel=1e-6)


def test_the_best_way_is_not_the_greedy_one():
    decisions = Decisions(Architecture.parse("b@4_111-11"))
    move = torch.zeros(4, 2, 2)
    # Going down behind the first block is a little likelier than staying, but then the blocks behind are hardly kept.
    move[0, 0] = torch.tensor([0.0, 0.1])
    move[1, 0] = torch.tensor([0.0, 9.0])
    keep = torch.zeros(5, 2)
    keep[1] = torch.tensor([9.0, 0.0])
    keep[2] = torch.tensor([0.0, 0.0])
    logits = Logits(keep, move)
    ((_, best),) = best_choices(decisions, logits, 1)
    greedy_begin = 1
    assert best.begins == (2,)
    greedy = max(
        (choice for choice in everything(decisions) if choice.begins == (greedy_begin,)),
        key=lambda choice: chance(decisions, logits, choice),
    )
    assert chance(decisions, logits, best) > chance(decisions, logits, greedy)


def test_decoded_codes_lie_in_the_space_and_differ():
    decisions = Decisions(START, mixes=False)
    space = SearchSpace(min_blocks=5, max_blocks=6, min_stages=3)
    logits = random_logits(decisions, 8)
    codes = best_codes(decisions, logits, space, 12)
    assert len(set(codes)) == len(codes) == 12
    assert all(code in space for code in codes)
    assert best_codes(decisions, logits, space, 3) == codes[:3]
    assert best_codes(decisions, logits, SearchSpace(min_blocks=40, min_stages=1), 3) == []


LONG = Architecture.parse("b@8_1111-2111-2111-2111")


def favouring(decisions, side, by):
    """Logits that keep blocks (side 0) or leave them out (1), wherever they may."""
    logits = random_logits(decisions, 0, 1e-3)
    keep = logits.keep.detach().double()
    keep[:, side] += by
    return Logits(keep, logits.move.detach().double())


def test_the_best_ways_of_some_numbers_of_blocks_are_those_of_brute_force():
    for seed in range(30):
        decisions = Decisions(START, mixes=bool(seed % 2))
        logits = random_logits(decisions, seed)
        blocks = range(1 + seed % 4, 5 + seed % 3)
        allowed = [choice for choice in everything(decisions) if sum(choice.kept) in blocks]
        expected = sorted((chance(decisions, logits, choice) for choice in allowed), reverse=True)
        found = best_choices(decisions, logits, len(allowed) + 9, blocks)
        assert [one for one, _ in found] == pytest.approx(expected, rel=1e-6)
        assert {choice for _, choice in found} == set(allowed)


def test_of_equally_probable_ways_those_of_earlier_borders_come_first_then_those_with_fewer_blocks_in_front():
    decisions = Decisions(START, mixes=False)
    logits = Logits(torch.zeros(8, 2), torch.zeros(7, 3, 2))
    found = best_choices(decisions, logits, 10**6)
    assert len(found) == sum(1 for _ in everything(decisions))
    ranks = [(-round(math.log(value), 9), choice.begins, choice.kept) for value, choice in found]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize(("side", "blocks"), [(1, (12, 16)), (1, (16, 16)), (0, (4, 5)), (0, (7, 7))])
def test_codes_are_found_however_improbable_their_numbers_of_blocks_are(side, blocks):
    decisions = Decisions(LONG)
    space = SearchSpace(*blocks, min_stages=4)
    codes = best_codes(decisions, favouring(decisions, side, 9.0), space, 4)
    assert len(set(codes)) == 4
    assert all(code in space for code in codes)


def test_codes_are_found_where_all_of_the_most_probable_break_a_bound_on_cost():
    decisions = Decisions(Architecture.parse("b@8_1111-2111-2111-2111"))
    whole = backbone_cost(decisions.start, 64, 64).multiply_adds
    space = SearchSpace(4, 40, 4, 4, image_size=(64, 64), max_multiply_adds=whole * 9 // 20)
    logits = favouring(decisions, 0, 3.0)
    assert all(decisions.code(choice) not in space for _, choice in best_choices(decisions, logits, 4096))
    codes = best_codes(decisions, logits, space, 6)
    assert len(set(codes)) == 6
    assert all(code in space for code in codes)
    assert best_codes(decisions, logits, space, 2) == codes[:2]


def test_logits_of_any_size_lead_to_codes():
    decisions = Decisions(LONG)
    (code,) = best_codes(decisions, favouring(decisions, 1, 9999.0), SearchSpace(16, 16, 4), 1)
    assert code.digits == LONG.digits
