"""Writing codes token by token: what is legal, and what is written and read back."""

import itertools
from collections import Counter

import numpy as np
import pytest
from filled import START, Filled

from spnas_core import Architecture, SearchSpace
from spnas_core.morphisms import align, copied_branches
from spnas_search.strategies.learned.generation import (
    BEGINNING,
    END,
    TOKENS,
    Grammar,
    continued,
    draw_written,
    extended,
    parents_of,
)
from spnas_search.strategies.sampling import AnySampler

SMALL = SearchSpace(min_blocks=3, max_blocks=5, min_stages=2, max_stages=3)
DEAR = SearchSpace(min_blocks=3, max_blocks=6, min_stages=2, max_stages=3, image_size=(64, 64), max_parameters=40_000)


def by_chance(rng):
    return lambda _, masks: [int(rng.choice(np.flatnonzero(legal))) for legal in masks]


def all_codes(space):
    """Every code of a space, by counting: all digits, all borders; without a bound on cost, a doubling per stage."""
    is_bounded = space.max_parameters is not None or space.max_multiply_adds is not None
    for blocks in range(space.min_blocks, space.max_blocks + 1):
        for digits in itertools.product("12", repeat=blocks):
            fewest = max(space.min_stages, 0 if is_bounded else digits.count("2"))
            for count in range(fewest, min(space.max_stages, blocks) + 1):
                for borders in itertools.combinations(range(1, blocks), count - 1):
                    yield Architecture.from_borders(START, "".join(digits), borders)


@pytest.mark.parametrize(
    "bounds", [(3, 5, 2, 3), (1, 4, 1, 4), (4, 4, 2, 2), (2, 5, 3, 3), (1, 3, 3, 3), (5, 6, 1, 2), (3, 3, 1, 9)]
)
def test_a_token_is_legal_where_some_code_of_the_space_goes_on_with_it(bounds):
    """Against all codes of the space, written down: legal tokens are those that some code has there, and no others."""
    space = SearchSpace(*bounds)
    grammar = Grammar(START, space)
    following = {}
    for code in all_codes(space):
        stages = BEGINNING
        for token in [*(TOKENS.index(letter) for letter in code.serial_code), END]:
            following.setdefault(stages, set()).add(token)
            stages = stages if token == END else extended(stages, token)
    for stages, tokens in following.items():
        assert {token for token, may in enumerate(grammar.legal(stages)) if may} == tokens, stages


def test_the_documented_example():
    grammar = Grammar(START, SearchSpace(min_blocks=3, max_blocks=4, min_stages=2, max_stages=2))
    assert grammar.legal(("11",)) == (True, True, True, False)
    assert grammar.legal(("111",)) == (False, False, True, False)
    assert grammar.legal(("22",)) == (True, False, True, False)


def test_what_is_written_and_what_is_drawn_are_the_same_codes():
    rng, sampler = np.random.default_rng(0), AnySampler(START, SMALL)
    assert {sampler.draw(rng).child for _ in range(12_000)} == set(all_codes(SMALL))


def test_without_a_bound_on_cost_channels_double_at_most_once_per_stage():
    grammar = Grammar(START, SearchSpace(min_blocks=4, max_blocks=60, min_stages=4, max_stages=7))
    written = grammar.write(300, by_chance(np.random.default_rng(0)))
    assert all(code.digits.count("2") <= len(code.stages) for code in written)
    assert max(len(code.digits) for code in written) > 20


def test_what_is_drawn_lies_inside_and_every_code_is_drawn():
    grammar, rng = Grammar(START, SMALL), np.random.default_rng(0)
    drawn = grammar.write(6000, by_chance(rng))
    assert set(drawn) == set(all_codes(SMALL))


def test_a_bound_on_cost_forbids_what_no_code_can_go_on_with_and_nothing_else():
    grammar, rng = Grammar(START, DEAR), np.random.default_rng(0)
    drawn = {code for code in grammar.write(1000, by_chance(rng)) if code is not None}
    inside = {code for code in all_codes(DEAR) if code in DEAR}
    assert len(inside) < sum(1 for _ in all_codes(DEAR)) / 2, "the bound must say something"
    assert drawn < inside
    assert len(drawn) > 100
    assert all((grammar.choices(code) is not None) == (code in inside) for code in all_codes(DEAR))


def test_a_code_that_cannot_be_finished_is_none():
    """Five blocks are wanted, and after some doublings the fifth costs too much."""
    space = SearchSpace(
        min_blocks=5, max_blocks=5, min_stages=1, max_stages=1, image_size=(64, 64), max_parameters=40_000
    )
    drawn = Grammar(START, space).write(300, by_chance(np.random.default_rng(1)))
    assert None in drawn
    assert all(code in space for code in drawn if code is not None)
    assert any(drawn)


def test_every_code_is_read_as_it_was_written():
    grammar = Grammar(START, SMALL)
    for code in all_codes(SMALL):
        choices = grammar.choices(code)
        assert choices is not None
        stages = BEGINNING
        for choice in choices:
            assert choice.before == stages
            assert choice.legal == grammar.legal(stages)
            if choice.token != END:
                stages = extended(stages, choice.token)
        assert choices[-1].token == END
        assert grammar.architecture(stages) == code


@pytest.mark.parametrize("code", ["b@8_1-1", "b@8_111-111", "b_11-1", "r@8_11-1", "b@8_11-1_0-1", "b@8+deep_11-1"])
def test_what_it_would_not_write_is_not_read(code):
    assert Grammar(START, SMALL).choices(Architecture.parse(code)) is None


def test_codes_are_drawn_until_they_are_new_and_inside(tmp_path):
    filled = Filled(tmp_path, Architecture.parse("b@8_11-1"))
    asked = Counter()
    codes = iter(
        [filled.archive.start.architecture, None, *map(Architecture.parse, ("b@8_1-1", "b@8_11-2", "b@8_11-2"))]
    )

    def draw(place):
        asked[place] += 1
        return next(codes, Architecture.parse("b@8_12-2"))

    with filled.archive as archive:
        drawn = draw_written(3, draw, archive, SMALL, max_redraws=5)
    assert [str(one) for one in drawn] == ["b@8_11-2", "b@8_12-2"]
    assert asked == {0: 4, 1: 2, 2: 5}


def test_a_code_inherits_from_whom_it_shares_most_blocks_with(tmp_path):
    filled = Filled(tmp_path, Architecture.parse("b@8_11-21-21"))
    with filled.archive as archive:
        for code, score in (("b@8_1-2-21111", 0.9), ("b@8_1111-21-2", 0.8)):
            filled.control(0, 0.5)
            filled.add("child", 0, align(archive.start.architecture, Architecture.parse(code)), score)
        parents = parents_of(archive, 2)
        children = [one.id for one in archive.of_kind("child")]
        assert [one.id for one in parents] == [*children, 0]
        for code, parent in (("b@8_1-2-211111", children[0]), ("b@8_1111-211-2", children[1]), ("b@8_11-21-211", 0)):
            chosen, rewrite = continued(Architecture.parse(code), parents)
            assert chosen.id == parent
            assert rewrite == align(chosen.architecture, Architecture.parse(code))
            assert copied_branches(rewrite) == max(
                copied_branches(align(one.architecture, Architecture.parse(code))) for one in parents
            )


def test_among_equals_it_is_the_best_and_a_failed_start_is_none(tmp_path):
    filled = Filled(tmp_path, Architecture.parse("b@8_11-21-21"))
    with filled.archive as archive:
        filled.control(0, 0.5)
        number = filled.child(0.9)
        chosen, _ = continued(Architecture.parse("b@8_1-2"), parents_of(archive, 1))
        assert chosen.id == number
    (tmp_path / "failed").mkdir()
    failed = Filled(tmp_path / "failed", score=None)
    with failed.archive as archive:
        assert parents_of(archive, 3) == ()
