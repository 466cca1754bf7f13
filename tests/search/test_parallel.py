"""What the parallel phase proposes: how many rows, where, and by which odds."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from filled import START, WIDE, Filled, proposals
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from spnas_core import Architecture, SearchSpace, backbone_cost
from spnas_core.testing import parallel_architectures
from spnas_search.strategies import Parallel, ParallelSettings, row_odds

SPACE = replace(WIDE, image_size=(64, 64))


@pytest.fixture
def filled(tmp_path):
    made = Filled(tmp_path)
    with made.archive:
        yield made


def test_row_odds_equal_the_documented_formula_by_hand():
    """One more row beside a stage costs the stage and a 1x1 fusion from its output to its input channels."""
    code = Architecture.parse("b@4+deep_1-2")
    space = SearchSpace(1, 9, 1, 9, image_size=(32, 16))
    first = 2 * 144 * 32 + 4 * 4 * 32
    second = (288 + 576 + 32) * 8 + 4 * 8 * 8
    expected = np.array([1 / first, 1 / second])
    assert row_odds(code, space) == pytest.approx(expected / expected.sum())


@given(parallel_architectures(), st.integers(0, 4))
def test_rows_above_the_bound_have_no_odds(architecture, most):
    space = replace(SPACE, max_rows=most)
    odds = row_odds(architecture, space)
    rows = architecture.rows or (0,) * len(architecture.stages)
    full = [count >= most for count in rows]
    if not any(count > most for count in rows):
        assert [odd == 0 for odd in odds] == full
        assert odds.sum() == pytest.approx(0 if all(full) else 1)


def test_the_draw_follows_its_stated_odds(filled):
    """10 000 children of the start: how many rows, and beside which stage the only or the first of two stands."""
    strategy = Parallel(ParallelSettings(round=1, most_rows=2), SPACE)
    rng = np.random.default_rng(5)
    children = [strategy.add_rows(START, rng).child for _ in range(10_000)]
    counts = Counter(sum(child.rows) for child in children)
    assert counts.keys() == {1, 2}
    assert stats.binomtest(counts[1], 10_000, 0.5).pvalue > 1e-3
    odds = row_odds(START, SPACE)
    single = Counter(child.rows for child in children if sum(child.rows) == 1)
    observed = [single[tuple(int(at == stage) for at in range(3))] for stage in range(3)]
    assert stats.chisquare(observed, odds * sum(observed)).pvalue > 1e-3
    expected = Counter()
    for stage in range(3):
        rows = tuple(int(at == stage) for at in range(3))
        for then, odd in enumerate(row_odds(replace(START, rows=rows), SPACE)):
            expected[tuple(count + (at == then) for at, count in enumerate(rows))] += odds[stage] * odd
    double = Counter(child.rows for child in children if sum(child.rows) == 2)
    assert double.keys() == expected.keys()
    pairs = [(double[rows], expected[rows] * counts[2]) for rows in expected]
    assert stats.chisquare(*zip(*pairs, strict=True)).pvalue > 1e-3


def test_parallel_candidates_become_parents(filled):
    strategy = Parallel(ParallelSettings(round=2, most_rows=1, pool=2, merit_power=0, cost_power=0), SPACE)
    first = strategy.propose(filled.archive, np.random.default_rng(0))
    filled.control(0, 0.5, epochs=4)
    filled.enter(first, [0.9, 0.2])
    proposed = proposals(strategy, filled.archive, range(40))
    parents = Counter(filled.archive[proposal.parent].architecture for proposal in proposed)
    assert parents.keys() == {START, first[0].rewrite.child}
    assert {sum(proposal.rewrite.child.rows) for proposal in proposed} == {1, 2}


@pytest.mark.parametrize("shares", [False, True])
def test_rows_share_weights_where_the_settings_say_so(filled, shares):
    strategy = Parallel(ParallelSettings(shares=shares), SPACE)
    children = [proposal.rewrite.child for proposal in proposals(strategy, filled.archive, range(5))]
    assert {child.shares_rows for child in children} == {shares}


def test_a_bound_on_cost_leaves_room_for_cheap_rows_only(filled):
    start = backbone_cost(START, 64, 64).multiply_adds
    single = [replace(START, rows=tuple(int(at == stage) for at in range(3))) for stage in range(3)]
    costs = [backbone_cost(code, 64, 64).multiply_adds for code in single]
    cheap = {code for code, cost in zip(single, costs, strict=True) if cost == min(costs)}
    assert cheap < set(single)
    strategy = Parallel(ParallelSettings(round=3), replace(SPACE, max_multiply_adds=min(costs)))
    assert {one.rewrite.child for one in strategy.propose(filled.archive, np.random.default_rng(0))} == cheap
    none = Parallel(ParallelSettings(max_redraws=5), replace(SPACE, max_multiply_adds=start))
    assert none.propose(filled.archive, np.random.default_rng(0)) == []
