"""Random codes of a whole search space: all that the morphisms reach, nothing else, each alike given its size."""

import itertools
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from filled import WIDE
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from spnas_core import Architecture, SearchSpace, backbone_cost
from spnas_core.morphisms import AddStage, Expand, Swap, align, chain, identity
from spnas_core.testing import architectures
from spnas_search.strategies.sampling import AnySampler, Sampler, drawer, most_blocks, sampler_of
from spnas_search.studies.spaces.plan import draw_codes

SEEDS = st.integers(0, 2**31)
DEMO = Architecture.parse("b@8_11-21-21-21")
RESNET = Architecture.parse("r_111-2111-211111-211")
COSTS = ("parameters", "multiply_adds", "activation_bytes")


def reached(start: Architecture, space: SearchSpace) -> set[Architecture]:
    """Every code inside the space's numbers of blocks and stages that the morphisms lead to from the start."""
    found, news = {start}, [start]
    while news:
        code = news.pop()
        for child in {option.child for kind in (Swap(), Expand(), AddStage()) for option in kind.options(code)} - found:
            if len(child.digits) <= space.max_blocks and len(child.stages) <= space.max_stages:
                found.add(child)
                news.append(child)
    return {code for code in found if code in space}


def draws(start, space, count, seed=0):
    rng = np.random.default_rng(seed)
    return [Sampler(start, space).draw(rng) for _ in range(count)]


def limited(start, ratio, size=(128, 128), cost="multiply_adds", **bounds):
    """The default bounds of a run, with a cost bound of so many times the start's."""
    bound = int(ratio * backbone_cost(start, *size).as_dict()[cost])
    values = {"min_blocks": 4, "max_blocks": 60, "min_stages": 4, "max_stages": 7} | bounds
    return SearchSpace(image_size=size, **values, **{f"max_{cost}": bound})


@pytest.mark.parametrize(
    ("start", "blocks", "stages", "count"),
    [
        ("b@8_11-21-21-21", (8, 9), (4, 4), 259),
        ("b@8_1-2", (1, 5), (1, 4), None),  # new stages begin at the end: some codes of more stages are out of reach
        ("b@8_2-1", (3, 5), (2, 3), None),  # nothing goes in front of a doubling at the very beginning
        ("b@8_1", (1, 6), (1, 3), None),
        ("b@8_12-2_2-1", (3, 5), (2, 4), None),
    ],
)
def test_every_code_that_the_morphisms_reach_is_drawn_and_no_other(start, blocks, stages, count):
    start = Architecture.parse(start)
    space = SearchSpace(min_blocks=blocks[0], max_blocks=blocks[1], min_stages=stages[0], max_stages=stages[1])
    every = reached(start, space)
    assert count in {None, len(every)}
    drawn = Counter(rewrite.child for rewrite in draws(start, space, 6000))
    assert drawn.keys() == every


@pytest.mark.parametrize(
    ("start", "sizes", "most"),
    [
        (DEMO, {(8, 4): 1 / 2, (9, 4): 1 / 4, (9, 5): 1 / 4}, (9, 5)),
        (Architecture.parse("b@8_11-2"), {(6, 2): 1 / 2, (6, 3): 1 / 2}, (6, 3)),  # three inserted, or two and the last
        (Architecture.parse("b@8_2-12"), {(6, 2): 1}, (6, 2)),
    ],
)
def test_codes_of_equal_size_are_drawn_alike(start, sizes, most):
    """Numbers of blocks are alike, and so are the numbers of stages that so many blocks can have."""
    space = SearchSpace(min_blocks=min(sizes)[0], max_blocks=most[0], min_stages=min(sizes)[1], max_stages=most[1])
    every = reached(start, space)
    drawn = Counter(rewrite.child for rewrite in draws(start, space, 12_000))
    for size, share in sizes.items():
        counts = [drawn[code] for code in every if (len(code.digits), len(code.stages)) == size]
        assert stats.chisquare(counts).pvalue > 1e-3, size
        assert sum(counts) / 12_000 == pytest.approx(share, abs=0.02)


def test_the_documented_example():
    space = SearchSpace(min_blocks=5, max_blocks=5, min_stages=2, max_stages=2)
    drawn = Counter(rewrite.child.serial_code for rewrite in draws(Architecture.parse("b_11-21"), space, 8000))
    borders = [(digits[:at], digits[at:]) for digits in ("11121", "11211") for at in range(1, 5)]
    assert drawn.keys() == set(map("-".join, borders))
    assert all(850 < count < 1150 for count in drawn.values())


def test_numbers_of_blocks_and_of_stages_are_uniform_where_nothing_bounds_the_cost():
    space = SearchSpace(min_blocks=4, max_blocks=27, min_stages=2, max_stages=7)
    drawn = [rewrite.child for rewrite in draws(DEMO, space, 6000)]
    blocks = Counter(len(code.digits) for code in drawn)
    assert blocks.keys() == set(range(8, 28))
    assert stats.chisquare(list(blocks.values())).pvalue > 1e-3
    stages = Counter(len(code.stages) for code in drawn if len(code.digits) >= 11)
    assert stages.keys() == {4, 5, 6, 7}
    assert stats.chisquare(list(stages.values())).pvalue > 1e-3


def test_any_block_of_a_run_but_the_first_of_all_may_be_the_new_one():
    space = SearchSpace(min_blocks=9, max_blocks=9, min_stages=4, max_stages=4)
    new = Counter(rewrite.block_map.index(None) for rewrite in draws(DEMO, space, 4000))
    assert new.keys() == set(range(1, 9))


@settings(max_examples=150)
@given(architectures(), SEEDS, st.integers(0, 9), st.integers(0, 3), st.integers(1, 12), st.integers(1, 6))
def test_a_draw_keeps_bounds_start_and_origins(start, seed, blocks, stages, min_blocks, min_stages):
    space = SearchSpace(
        min_blocks=min(min_blocks, len(start.digits) + blocks),
        max_blocks=len(start.digits) + blocks,
        min_stages=min(min_stages, len(start.stages) + stages, len(start.digits) + blocks),
        max_stages=len(start.stages) + stages,
    )
    rewrite = Sampler(start, space).draw(np.random.default_rng(seed))
    assume(rewrite != identity(start))
    assert rewrite.child in space
    chained = chain(rewrite)  # which refuses what the morphisms cannot do
    assert (chained.parent, chained.child, chained.block_map) == (start, rewrite.child, rewrite.block_map)
    kept = [source for source in rewrite.block_map if source is not None]
    assert kept == list(range(len(start.digits)))


@pytest.mark.parametrize(
    "bounds",
    [
        {"max_blocks": 7},
        {"max_stages": 3},
        {"min_stages": 6, "max_stages": 7, "max_blocks": 9},  # two new stages need two new blocks
    ],
)
def test_where_no_code_is_reached_the_start_comes_back(bounds):
    space = replace(SearchSpace(min_blocks=1, max_blocks=40, min_stages=1, max_stages=9), **bounds)
    assert draws(DEMO, space, 3) == [identity(DEMO)] * 3
    assert not reached(DEMO, space) - {DEMO}


# Any code inside the bounds


def every_code(blocks: range, stages: range) -> set[str]:
    """All serial codes of so many blocks and stages that double the channels at most once per stage."""
    found = set()
    for count in blocks:
        for digits in map("".join, itertools.product("12", repeat=count)):
            for cut in stages:
                for borders in itertools.combinations(range(1, count), cut - 1):
                    if digits.count("2") <= cut:
                        found.add("-".join(digits[a:b] for a, b in pairwise((0, *borders, count))))
    return found


def any_draws(start, space, count, seed=0):
    rng = np.random.default_rng(seed)
    return [AnySampler(start, space).draw(rng) for _ in range(count)]


@pytest.mark.parametrize("start", ["b@8_11-21-21-21", "b@8_1", "r@4_2-2-2"])
def test_any_code_inside_the_bounds_is_drawn_whatever_the_start(start):
    start = Architecture.parse(start)
    space = SearchSpace(min_blocks=2, max_blocks=4, min_stages=2, max_stages=3, sampling="any")
    drawn = any_draws(start, space, 6000)
    assert {rewrite.child.serial_code for rewrite in drawn} == every_code(range(2, 5), range(2, 4))
    for rewrite in drawn[:50]:
        assert (rewrite.child.block, rewrite.child.base, rewrite.child.stem) == (start.block, start.base, start.stem)
        assert rewrite == align(start, rewrite.child)


def test_the_documented_odds_of_any_code():
    space = SearchSpace(min_blocks=2, max_blocks=2, min_stages=2, max_stages=2, sampling="any")
    drawn = Counter(rewrite.child.serial_code for rewrite in any_draws(DEMO, space, 6000))
    expected = {"1-1": 2000, "1-2": 1000, "2-1": 1000, "2-2": 2000}
    assert drawn.keys() == expected.keys()
    assert stats.chisquare([drawn[code] for code in expected], list(expected.values())).pvalue > 1e-3


def test_numbers_of_blocks_stages_and_doublings_are_uniform():
    space = SearchSpace(min_blocks=5, max_blocks=10, min_stages=3, max_stages=5, sampling="any")
    drawn = [rewrite.child for rewrite in any_draws(DEMO, space, 6000)]
    for counts in (
        Counter(len(code.digits) for code in drawn),
        Counter(len(code.stages) for code in drawn),
        Counter(code.digits.count("2") for code in drawn if len(code.stages) == 4),
    ):
        assert len(counts) in {6, 3, 5}
        assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_stages_with_rows_beside_them_stay():
    start = Architecture.parse("b@8_11-21-21_0-1-0")
    space = SearchSpace(min_blocks=1, max_blocks=8, min_stages=1, max_stages=4, sampling="any")
    drawn = [rewrite.child for rewrite in any_draws(start, space, 300)]
    assert {len(code.stages) for code in drawn} == {3, 4}
    assert all(code.rows[:3] == (0, 1, 0) for code in drawn)


@pytest.mark.parametrize("bounds", [{"min_blocks": 9, "max_blocks": 9, "min_stages": 4, "max_stages": 4}, {}])
def test_a_cost_bound_leaves_enough_codes_to_draw(bounds):
    space = replace(limited(DEMO, 1.5, max_blocks=12), sampling="any", **bounds)
    drawn = [rewrite.child for rewrite in any_draws(DEMO, space, 300)]
    assert sum(code in space for code in drawn) > 50


def test_where_there_is_no_code_the_start_comes_back_for_any_sampler():
    space = SearchSpace(min_blocks=1, max_blocks=8, min_stages=1, max_stages=2, sampling="any")
    assert (
        any_draws(Architecture.parse("b@8_1-1-1_0-0-1"), space, 3)
        == [identity(Architecture.parse("b@8_1-1-1_0-0-1"))] * 3
    )


def test_a_space_says_what_is_drawn():
    space = SearchSpace(sampling="any")
    assert sampler_of(DEMO, space) == AnySampler(DEMO, space)
    assert sampler_of(DEMO, replace(space, sampling="grown")) == Sampler(DEMO, replace(space, sampling="grown"))


def test_studies_draw_what_a_space_wants_drawn():
    space = SearchSpace(min_blocks=4, max_blocks=8, min_stages=4, max_stages=4, sampling="any")
    drawn = draw_codes("any", DEMO, space, 40, seed=0).codes
    draw, rng = drawer(DEMO, space, of_parts=False), np.random.default_rng(0)
    for codes in (set(drawn), {str(draw(rng)) for _ in range(200)}):
        assert {len(Architecture.parse(code).digits) for code in codes} == {4, 5, 6, 7, 8}
    grown = draw_codes("grown", DEMO, replace(space, sampling="grown"), 30, seed=0).codes
    assert {Architecture.parse(code).digits for code in grown} == {DEMO.digits}


# Cost bounds


def test_without_a_cost_bound_the_limit_is_that_of_the_space():
    assert most_blocks(Sampler(DEMO, WIDE)) == 40
    assert most_blocks(Sampler(DEMO, replace(WIDE, max_blocks=10**9))) == 10**9


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("ratio", [1.05, 1.5])
def test_no_small_code_that_keeps_the_cost_bound_has_more_blocks_than_the_limit(cost, ratio):
    start = Architecture.parse("b@8_1-2-2")
    space = limited(start, ratio, cost=cost, min_blocks=3, max_blocks=8, min_stages=3, max_stages=4)
    inside = max(len(code.digits) for code in reached(start, space))
    assert inside <= most_blocks(Sampler(start, space)) <= 8


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("start", [DEMO, RESNET], ids=str)
def test_beyond_the_limit_hardly_a_draw_keeps_the_cost_bound(start, cost):
    space = limited(start, 1.5, cost=cost, max_blocks=10**6)
    sampler = Sampler(start, space)
    limit = most_blocks(sampler)
    assert most_blocks.__wrapped__(sampler) == limit  # the probes are no matter of chance
    assert len(start.digits) < limit < 1000
    rng = np.random.default_rng(1)
    assert sum(sampler.draw_of(limit + 1, rng).child in space for _ in range(100)) <= 3
    assert any(sampler.draw_of(int(limit * 0.6), rng).child in space for _ in range(400))


@pytest.mark.parametrize("max_blocks", [60, 10**6])
@pytest.mark.parametrize("start", [DEMO, RESNET], ids=str)
def test_a_fair_share_of_draws_keeps_the_cost_bound(start, max_blocks):
    space = limited(start, 1.5, max_blocks=max_blocks)
    drawn = [rewrite.child for rewrite in draws(start, space, 200)]
    assert sum(code in space for code in drawn) > 10
    assert max(len(code.digits) for code in drawn) <= most_blocks(Sampler(start, space))


def test_a_bound_that_the_start_itself_breaks_leaves_few_blocks_to_draw():
    space = limited(DEMO, 0.01)
    assert most_blocks(Sampler(DEMO, space)) < 20
    assert not any(rewrite.child in space for rewrite in draws(DEMO, space, 50))


def test_bounds_from_outside_are_neither_asked_nor_remembered():
    """A latency bound would be measured for codes that nobody proposes, and decide for later runs of the process."""
    asked = []

    class Quick:
        def violation(self, architecture: Architecture) -> str | None:
            asked.append(architecture)
            return None if len(architecture.digits) <= 8 else "too slow"

    space = limited(DEMO, 3.0)
    most = most_blocks.__wrapped__(Sampler(DEMO, space))
    assert most_blocks(Sampler(DEMO, replace(space, bounds=(Quick(),)))) == most
    assert most_blocks(Sampler(DEMO, space)) == most
    assert not asked
