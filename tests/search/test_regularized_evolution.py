"""Regularized evolution: who is in the population, who wins a tournament, and how it begins."""

from collections import Counter

import numpy as np
import pytest
from filled import WIDE, Filled, proposals

from spnas_core import Architecture
from spnas_search.strategies import RandomSearch, RandomSettings, RegularizedEvolution, RegularizedEvolutionSettings
from spnas_search.strategies.initial import initial_left


def evolution(**values):
    return RegularizedEvolution(RegularizedEvolutionSettings(**{"initial": 0, "round": 1} | values), WIDE)


@pytest.fixture
def filled(tmp_path):
    made = Filled(tmp_path, Architecture.parse("b@8_1111-2111-2111"), score=0.9)  # with neighbours enough
    with made.archive:
        yield made


def members(strategy, archive):
    return [candidate.id for candidate in strategy.population(archive)]


def parents(strategy, archive, draws=300):
    return Counter(proposal.parent for proposal in proposals(strategy, archive, range(draws)))


# The population


def test_the_documented_example(filled):
    for score in (0.5, None, 0.7, 0.6):
        filled.child(score)
    strategy = evolution(population=3)
    assert members(strategy, filled.archive) == [1, 3, 4]
    assert parents(strategy, filled.archive, 30).keys() <= {1, 3, 4}


def test_the_oldest_dies_however_good_it_is(filled):
    strategy = evolution(population=3, sample=20)
    seen = []
    for score in (0.1, 0.2, 0.3, 0.4):
        seen.append(members(strategy, filled.archive))
        filled.child(score)
    assert seen == [[0], [0, 1], [0, 1, 2], [1, 2, 3]]
    assert parents(strategy, filled.archive, 20).keys() == {4}


def test_failures_and_undefined_scores_are_no_members_and_nobody_dies_for_them(filled):
    for score in (None, float("nan"), None):
        filled.child(score)
    filled.child(0.1)
    assert members(evolution(population=2), filled.archive) == [0, 4]


def test_controls_are_no_members(filled):
    filled.control(0, 0.99)
    filled.child(0.1)
    assert members(evolution(population=5), filled.archive) == [0, 2]


# Tournaments


def test_the_best_of_a_sample_with_replacement_becomes_the_parent(filled):
    for score in (0.5, 0.7):
        filled.child(score)
    # Of 9 pairs of three members 5 hold the best, 3 the second without the best, 1 the worst alone.
    drawn = parents(evolution(sample=2, odds={"swap": 1}), filled.archive, 900)
    assert [drawn[number] / 900 for number in (0, 2, 1)] == pytest.approx([5 / 9, 3 / 9, 1 / 9], abs=0.05)


def test_a_sample_of_one_ignores_the_scores(filled):
    for score in (0.5, 0.7):
        filled.child(score)
    drawn = parents(evolution(sample=1, odds={"swap": 1}), filled.archive, 600)
    assert all(150 < drawn[number] < 250 for number in range(3))


def test_the_older_wins_among_equals(filled):
    for score in (0.9, 0.9):
        filled.child(score)
    assert parents(evolution(sample=30), filled.archive, 20).keys() == {0}


def test_every_child_has_a_tournament_of_its_own(filled):
    for score in (0.5, 0.7):
        filled.child(score)
    rounds = [evolution(sample=1, round=4).propose(filled.archive, np.random.default_rng(seed)) for seed in range(20)]
    assert all(len(found) == 4 for found in rounds)
    assert any(len({proposal.parent for proposal in found}) > 1 for found in rounds)


def test_less_wins_where_less_is_better(tmp_path):
    filled = Filled(tmp_path, score=0.9, higher_is_better=False)
    with filled.archive as archive:
        for score in (0.5, 0.7):
            filled.child(score)
        assert parents(evolution(sample=30), archive, 20).keys() == {1}


def test_scores_win_not_merits(filled):
    filled.control(0, 0.2)
    older = filled.child(0.6)  # gains 0.4: merit 1.3
    filled.control(0, 0.69, epochs=2)
    longer = filled.child(0.7, epochs=2)  # gains 0.01: merit 0.91
    strategy = evolution(population=2, sample=30)
    assert members(strategy, filled.archive) == [older, longer]
    assert filled.archive.merit(filled.archive[older]) > filled.archive.merit(filled.archive[longer])
    assert parents(strategy, filled.archive, 20).keys() == {longer}


# The beginning


def test_the_first_children_are_those_of_random_search(filled):
    filled.child(0.95)
    strategy = evolution(initial=4, round=3)
    random = RandomSearch(RandomSettings(round=3), WIDE)
    for seed in range(10):
        rngs = [np.random.default_rng(seed) for _ in range(2)]
        assert strategy.propose(filled.archive, rngs[0])[:3] == random.propose(filled.archive, rngs[1])


@pytest.mark.parametrize("initial", [None, 7])
def test_after_the_initial_ones_children_are_mutations(filled, initial):
    strategy = evolution(initial=initial, population=7, round=5)
    for score in (0.95, 0.6, 0.4):
        filled.child(score)
    for seed in range(10):
        proposed = strategy.propose(filled.archive, np.random.default_rng(seed))
        assert [proposal.parent for proposal in proposed[:4]] == [0] * 4
        assert max(len(proposal.rewrite.steps) for proposal in proposed[:4]) > 1
        assert len(proposed) == 5
        assert len(proposed[4].rewrite.steps) == 1
    filled.round([0.5] * 4)
    for seed in range(10):
        proposed = strategy.propose(filled.archive, np.random.default_rng(seed))
        assert {len(proposal.rewrite.steps) for proposal in proposed} == {1}


def test_failed_children_do_not_fill_the_population(filled):
    """Three of five are there, and what has failed, or has no score, is drawn once more."""
    strategy = evolution(initial=None, population=5, round=4)
    for score in (0.95, None, 0.4, float("nan"), 0.3):
        filled.child(score)
    proposed = strategy.propose(filled.archive, np.random.default_rng(0))
    random = RandomSearch(RandomSettings(round=2), WIDE).propose(filled.archive, np.random.default_rng(0))
    assert [one.rewrite for one in proposed[:2]] == [one.rewrite for one in random]
    assert [len(one.rewrite.steps) for one in proposed[2:]] == [1, 1]


def test_children_under_way_may_yet_fill_the_population(filled):
    strategy = evolution(initial=None, population=2, sample=30)
    filled.child(0.95)
    filled.archive.commit_round(strategy.propose(filled.archive, np.random.default_rng(0)), threads=1)
    assert strategy.propose(filled.archive, np.random.default_rng(1))[0].parent == 1


def test_the_beginning_ends_even_if_all_fail(filled):
    """Where the start is the only member, its neighbours come after twice as many as were wanted."""
    strategy = evolution(initial=None, population=3)
    for number in range(6):
        (proposal,) = strategy.propose(filled.archive, np.random.default_rng(number))
        assert initial_left(3, number, number) > 0
        filled.enter([proposal], [None])
    assert initial_left(3, 6, 6) == 0
    mutants = [strategy.propose(filled.archive, np.random.default_rng(seed))[0] for seed in range(10)]
    assert {len(one.rewrite.steps) for one in mutants} == {1}


def test_the_documented_numbers_of_initial_children():
    assert [initial_left(5, 4, 1), initial_left(5, 10, 10), initial_left(0, 0, 0)] == [2, 0, 0]


def test_as_many_as_the_population_come_first_unless_told_otherwise():
    settings = RegularizedEvolutionSettings()
    assert (settings.population, settings.sample, settings.initial, settings.max_mutations) == (10, 5, None, 1)


def test_weights_of_the_population_are_kept_and_the_starts_with_which_samples_begin(filled):
    strategy = evolution(population=2, initial=4)
    for score in (0.1, 0.2, 0.3):
        filled.child(score)
    assert strategy.may_use(filled.archive) == {0, 2, 3}
    filled.child(0.4)
    assert strategy.may_use(filled.archive) == {0, 3, 4}
