"""What the serial phase proposes: its parents, its epochs, and when it is stuck."""

import itertools
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from filled import START, WIDE, Filled, populated, proposals
from hypothesis import given
from hypothesis import strategies as st

import spnas_search
from spnas_core import Architecture
from spnas_core.morphisms import Swap, identity
from spnas_core.tasks import Evaluation, Fidelity, MetricSpec
from spnas_search.archive import Archive, Proposal, Tradeoff
from spnas_search.strategies import Serial, SerialSettings, parent_odds
from spnas_search.strategies.progress import why_stuck


@pytest.fixture
def filled(tmp_path):
    made = Filled(tmp_path)
    with made.archive:
        yield made


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    with populated(tmp_path_factory.mktemp("population")) as archive:
        yield archive


# Parents


def test_parent_odds_equal_the_documented_example():
    assert parent_odds([0.5, 0.4], [[20, 10]], 1, 0.5) == pytest.approx([0.586, 0.414], abs=5e-4)
    assert parent_odds([0.3, 0.3, 0.1], [[5, 5, 5]], 1, 1) == pytest.approx([3 / 7, 3 / 7, 1 / 7])
    assert parent_odds([0.7], [[3]], 1, 1) == pytest.approx([1])
    assert parent_odds([0.5, 0.4], [[20, 10], [7, 7]], 1, 1) == pytest.approx([0.586, 0.414], abs=5e-4)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=9),
    st.floats(0, 4),
    st.floats(0, 4),
)
def test_parent_odds_sum_to_one_and_fall_with_merit_and_cost_ranks(members, merit_power, cost_power):
    merits, costs = zip(*members, strict=True)
    odds = parent_odds(merits, [costs], merit_power, cost_power)
    assert odds.sum() == pytest.approx(1)
    assert (odds > 0).all()
    for i, j in itertools.permutations(range(len(members)), 2):
        if merits[i] >= merits[j] and costs[i] <= costs[j]:
            assert odds[i] >= odds[j] * (1 - 1e-12)
        if merits[i] > merits[j] and costs[i] <= costs[j] and merit_power > 0.01:
            assert odds[i] > odds[j]
        if merits[i] >= merits[j] and costs[i] < costs[j] and cost_power > 0.01:
            assert odds[i] > odds[j]
    assert parent_odds(merits, [costs], 0, 0) == pytest.approx([1 / len(members)] * len(members))


def test_serial_draws_parents_from_the_pool_by_their_odds(population):
    pool = [candidate.id for candidate in population.best(3)]
    strategy = Serial(SerialSettings(round=1, pool=3, explore=0), WIDE)
    assert strategy.may_use(population) == frozenset(pool)
    drawn = Counter(proposal.parent for proposal in proposals(strategy, population, range(600)))
    assert drawn.keys() == set(pool)
    merits = [population.merit(population[number]) for number in pool]
    costs = [population[number].cost["multiply_adds"] for number in pool]
    expected = parent_odds(merits, [costs], 1.0, 0.5)
    for number, share in zip(pool, expected, strict=True):
        assert drawn[number] / 600 == pytest.approx(share, abs=0.08)


def test_serials_powers_choose_the_best_or_the_cheapest(population):
    best = Serial(SerialSettings(round=1, merit_power=60, explore=0), WIDE)
    assert {p.parent for p in proposals(best, population, range(30))} == {population.best(1)[0].id}
    cheapest = Serial(SerialSettings(round=1, pool=9, merit_power=0, cost_power=60, explore=0), WIDE)
    costs = {candidate.id: candidate.cost["multiply_adds"] for candidate in population.best(9)}
    assert {p.parent for p in proposals(cheapest, population, range(30))} == {min(costs, key=costs.get)}


@pytest.mark.parametrize("inherit", ["none", "warm-start", "parent"])
def test_a_pool_without_untried_children_is_widened_unless_children_need_its_weights(tmp_path, inherit):
    settings = SerialSettings(round=1, pool=1, odds={"swap": 1.0}, max_mutations=1, explore=0, max_redraws=200)
    strategy = Serial(settings, WIDE)
    filled = Filled(tmp_path, ranking="lead", inherit=inherit)
    with filled.archive as archive:
        filled.control(0, 0.5)
        while (drawn := strategy.propose(archive, np.random.default_rng(len(archive)))) and drawn[0].parent == 0:
            filled.enter(drawn, [0.1])
        assert archive.best(1)[0].id == 0
        assert {option.child for option in Swap(max_step=2).options(START)} <= {one.architecture for one in archive}
        assert [one.parent for one in drawn] == ([] if inherit == "parent" else [archive.best(2)[1].id])
        assert not any(archive.contains(one.rewrite.child) for one in drawn)


def test_explorers_are_drawn_from_the_whole_space_and_inherit_from_the_start(population):
    strategy = Serial(SerialSettings(round=4, pool=1, explore=0.5), WIDE)
    best, start = population.best(1)[0].id, population.start.id
    assert best != start
    assert strategy.may_use(population) == {best, start}
    drawn = Counter(proposal.parent for proposal in proposals(strategy, population, range(100)))
    assert drawn.keys() == {best, start}
    assert drawn[start] / 400 == pytest.approx(0.5, abs=0.08)
    everywhere = proposals(Serial(SerialSettings(round=4, explore=1), WIDE), population, range(5))
    assert len({len(proposal.rewrite.child.digits) for proposal in everywhere}) > 5  # no neighbours of anything
    for proposal in everywhere:
        assert proposal.parent == start
        assert proposal.rewrite.child in WIDE
        assert not population.contains(proposal.rewrite.child)
    nowhere = Serial(SerialSettings(round=4, pool=1, explore=0), WIDE)
    assert {proposal.parent for proposal in proposals(nowhere, population, range(20))} == {best}


@pytest.mark.parametrize(("inherit", "samples"), [("parent", False), ("warm-start", False), ("none", True)])
def test_by_default_it_samples_where_nothing_is_inherited(tmp_path, inherit, samples):
    settings = {"task": {"name": "null"}, "executor": {"name": "inline"}, "screen": "none", "final": {"seeds": 0}}
    with spnas_search.search(**settings, inherit=inherit, budget=20, out=tmp_path / "run") as run:
        steps = [len(child.rewrite.steps) for child in run.archive.of_kind("child") if child.parent == 0]
    assert (max(steps) > 3) == samples


@pytest.mark.parametrize(
    ("odds", "explores"),
    [
        ({"swap": 1.0, "expand": 1.0, "add-stage": 1.0}, {"swap", "expand", "add-stage"}),
        ({"swap": 1.0, "expand": 1.0, "add-stage": 0.0, "widen": 1.0}, {"swap", "expand"}),
        ({"swap": 1.0, "add-stage": 1.0}, set()),
        ({"expand": 1.0}, set()),
        ({"widen": 1.0}, set()),
    ],
)
def test_explorers_keep_to_the_morphisms_that_may_be_drawn(population, odds, explores):
    strategy = Serial(SerialSettings(round=4, explore=1, max_mutations=1, odds=odds), WIDE)
    drawn = [one for one in proposals(strategy, population, range(20)) if len(one.rewrite.steps) > 1]
    found = {step.morphism for one in drawn for step in one.rewrite.steps}
    assert found == explores


# Serial's own settings


def test_swap_epochs_are_for_children_with_a_swap(population):
    strategy = Serial(SerialSettings(round=2, epochs=2, swap_epochs=7, max_mutations=3), WIDE)
    found = set()
    for proposal in proposals(strategy, population, range(40)):
        swaps = "swap" in {step.morphism for step in proposal.rewrite.steps}
        assert proposal.epochs == (7 if swaps else 2)
        found.add(swaps)
    assert found == {True, False}
    same = Serial(SerialSettings(round=2, epochs=2), WIDE)
    assert {proposal.epochs for proposal in proposals(same, population, range(20))} == {2}


def test_serial_is_stuck_after_n_stuck_children_without_progress(filled):
    for score in (0.4, 0.5, 0.6):
        filled.control(0, score)
    strategies = {alpha: Serial(SerialSettings(n_stuck=3, alpha=alpha, explore=0), WIDE) for alpha in (0.01, 0.5)}
    for score in (0.8, None):
        filled.child(score)
        assert [strategy.stuck(filled.archive) for strategy in strategies.values()] == [None, None]
    filled.child(0.1)
    reasons = {alpha: strategy.stuck(filled.archive) for alpha, strategy in strategies.items()}
    assert reasons == {0.01: why_stuck(filled.archive, 3, 0.01), 0.5: None}
    assert reasons[0.01]


def test_children_better_than_a_start_that_many_have_beaten_are_no_progress(filled):
    """Explorers inherit from the start; a search by them would never end while the start is a poor one."""
    for score in (0.49, 0.5, 0.51):
        filled.control(0, score)
    filled.child(0.9)
    filled.child(0.8)
    for score in (0.7, 0.71, 0.7):
        filled.child(score)
    exploring, mutating = (Serial(SerialSettings(n_stuck=3, pool=2, explore=share), WIDE) for share in (0.1, 0))
    assert mutating.stuck(filled.archive) is None
    assert "was among the best 2 and better than its parent" in exploring.stuck(filled.archive)
    filled.child(0.85)
    assert exploring.stuck(filled.archive) is None


def test_a_breakthrough_stays_progress_when_its_own_children_overtake_it(tmp_path):
    """They are as good as it is, and better by luck, so it is soon none of the best any more."""
    filled = Filled(tmp_path, START, score=0.5, ranking="prediction")
    with filled.archive as archive:
        for score in (0.49, 0.5, 0.51):
            filled.control(0, score)
        for score in (0.5, 0.49, 0.51):
            filled.child(score)
        found = filled.child(0.8)
        for score in (0.81, 0.8, 0.82, 0.81, 0.8):
            filled.child(score, parent=found)
        assert found not in {one.id for one in archive.best(2)}
        strategy = Serial(SerialSettings(n_stuck=9, pool=2, explore=0.5), WIDE)
        assert strategy.stuck(archive) is None
        for score in (0.8, 0.8, 0.8, 0.8):
            filled.child(score, parent=found)
        assert "was among the best 2" in strategy.stuck(archive)


def test_parts_of_a_supernet_are_explored_whatever_the_odds(tmp_path):
    whole = Architecture.parse("b@8_1111-211-211-211")
    filled = Filled(tmp_path, whole, score=0.5, inherit="supernet")
    with filled.archive as archive:
        strategy = Serial(SerialSettings(round=4, explore=1, odds={"swap": 1.0, "remove": 1.0}), WIDE)
        drawn = strategy.propose(archive, np.random.default_rng(0))
        assert {step.morphism for one in drawn for step in one.rewrite.steps} == {"align"}
        assert strategy.may_use(archive) == {0}


def test_where_the_space_has_any_codes_they_are_explored_whatever_the_odds(tmp_path):
    filled = Filled(tmp_path, Architecture.parse("b@8_11-21-21-21"), score=0.5, inherit="none")
    space = replace(WIDE, min_blocks=4, max_blocks=6, min_stages=4, max_stages=5, sampling="any")
    with filled.archive as archive:
        strategy = Serial(SerialSettings(round=12, explore=1, odds={"swap": 1.0, "halve": 1.0}), space)
        drawn = [one.rewrite.child for one in strategy.propose(archive, np.random.default_rng(0))]
        assert len(drawn) == 12
        assert all(code in space for code in drawn)
        assert {len(code.stages) for code in drawn} == {4, 5}
        grown = Serial(SerialSettings(round=12, explore=1, odds={"swap": 1.0, "halve": 1.0}), WIDE)
        assert {
            step.morphism for one in grown.propose(archive, np.random.default_rng(0)) for step in one.rewrite.steps
        } <= {"swap", "halve"}


def test_what_has_no_known_second_metric_is_no_cheap_parent():
    known, unknown = (
        parent_odds([0.5] * 3, [[0.2, 0.4, 0.6]], 1, 2),
        parent_odds([0.5] * 3, [[math.inf, 0.4, 0.6]], 1, 2),
    )
    assert known.argmax() == 0
    assert unknown.argmin() == 0


def test_candidates_without_a_second_metric_are_the_rarest_parents(tmp_path):
    """Also where less is better: nothing is not the least."""
    settings = SerialSettings(round=1, pool=5, merit_power=0, cost_power=4, explore=0, max_redraws=50)
    tradeoffs = (Tradeoff("loss", is_metric=True, higher_is_better=False),)
    with Archive.create(
        tmp_path / "a.db",
        objective=MetricSpec("score"),
        run_seed=0,
        ranking="prediction",
        inherit="none",
        tradeoffs=tradeoffs,
    ) as archive:
        rewrites = list(Swap().options(START))[:3]
        archive.commit_round([Proposal("start", None, identity(START), Fidelity(1))], threads=1)
        archive.finish(0, Evaluation({"score": 0.5, "loss": 0.9}, {}), None)
        archive.commit_round([Proposal("child", 0, rewrite, Fidelity(1)) for rewrite in rewrites], threads=1)
        for number, loss in ((1, 0.8), (2, 0.2), (3, math.nan)):
            archive.finish(number, Evaluation({"score": 0.5, "loss": loss}, {}), None)
        drawn = proposals(Serial(settings, WIDE), archive, range(200))
    parents = Counter(proposal.parent for proposal in drawn)
    assert max(parents, key=parents.__getitem__) == 2
    assert parents[3] <= parents[0]


def test_when_a_reignited_code_has_no_untried_child_the_search_goes_on_from_the_pool(tmp_path):
    space = {"min_blocks": 8, "max_blocks": 9, "min_stages": 4, "max_stages": 4, "max_multiply_adds": "none"}
    strategy = {"name": "serial", "max_step": 1, "max_mutations": 1, "explore": 0.0, "n_stuck": 8, "max_redraws": 300}
    strategy |= {"odds": {"swap": 1.0}, "reignition": {"most": 1, "n_after": 4}}
    settings = {"start": "b@8_11-21-21-21", "inherit": "warm-start", "space": space, "strategy": strategy}
    settings |= {"task": {"name": "null", "noise": 0.02, "differences": 0.0}, "executor": {"name": "inline"}}
    settings |= {"final": {"seeds": 0, "finalists": 0}, "budget": {"candidates": 30}, "screen": "none"}
    with spnas_search.search(**settings, out=tmp_path / "run") as run:
        (reignited,) = run.archive.of_kind("reignition")
        neighbours = {option.child for option in Swap(1).options(reignited.architecture)}
        after = [child for child in run.archive.of_kind("child") if child.id > reignited.id]
        assert all(run.archive.contains(code) for code in neighbours)
        assert len(after) > len([child for child in after if child.parent == reignited.id])


def test_a_reignition_has_no_more_first_children_than_asked_for(tmp_path):
    strategy = {"name": "serial", "n_stuck": 4, "round": 4, "reignition": {"most": 1, "n_after": 1}}
    settings = {"inherit": "warm-start", "strategy": strategy, "executor": {"name": "inline"}, "screen": "none"}
    settings |= {"task": {"name": "null", "noise": 0.02, "differences": 0.0}, "final": {"seeds": 0, "finalists": 0}}
    with spnas_search.search(**settings, budget={"candidates": 16}, out=tmp_path / "run") as run:
        (reignited,) = run.archive.of_kind("reignition")
        first = [child for child in run.archive.of_kind("child") if child.id > reignited.id][:4]
        assert first[0].parent == reignited.id
        assert len(first) == 4
        assert {child.parent for child in first[1:]} != {reignited.id}
