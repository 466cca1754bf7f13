"""A hill climb: where it stands follows from the archive alone."""

import numpy as np
import pytest
from filled import WIDE, Filled, proposals

from spnas_core import Architecture, SearchSpace
from spnas_core.morphisms import Expand, Swap
from spnas_core.tasks import Fidelity
from spnas_search.archive import Proposal
from spnas_search.settings import resolve
from spnas_search.strategies import HillClimb, HillClimbSettings, strategy_plugin

STRATEGY = HillClimb(HillClimbSettings(round=3), WIDE)


@pytest.fixture
def filled(tmp_path):
    """A start of merit 0.5, and its control."""
    made = Filled(tmp_path, Architecture.parse("b@8_111-211-211"))
    made.control(0, 0.5)
    with made.archive:
        yield made


def parents(archive, draws=10):
    return {proposal.parent for proposal in proposals(STRATEGY, archive, range(draws))}


def test_the_climb_begins_at_the_start(filled):
    assert STRATEGY.current(filled.archive).id == 0
    assert parents(filled.archive) == {0}
    assert STRATEGY.may_use(filled.archive) == {0}


def test_the_best_of_a_round_takes_the_place_of_its_parent(filled):
    first = filled.round([0.52, 0.56, 0.54])
    assert parents(filled.archive) == {first[1]}
    filled.control(first[1], 0.6)
    second = filled.round([0.7, 0.59], parent=first[1])
    assert parents(filled.archive) == {second[0]}


def test_the_documented_example(filled):
    _, better = filled.round([0.48, 0.53])
    filled.control(better, 0.55)
    filled.round([0.53, 0.54], parent=better)
    merits = [filled.archive.merit(candidate) for candidate in (filled.archive.start, *filled.archive.of_kind("child"))]
    assert merits == pytest.approx([0.5, 0.48, 0.53, 0.51, 0.52])
    assert parents(filled.archive) == {better}


def test_without_a_better_child_the_climb_stays_and_tries_other_neighbours(filled):
    filled.round([0.4, 0.49, None])
    proposed = proposals(STRATEGY, filled.archive, range(10))
    assert {proposal.parent for proposal in proposed} == {0}
    assert not any(filled.archive.contains(proposal.rewrite.child) for proposal in proposed)
    filled.round([0.45])
    assert parents(filled.archive) == {0}


def test_an_equal_child_does_not_take_the_place(filled):
    filled.round([0.5, 0.5])
    assert parents(filled.archive) == {0}


def test_the_older_comes_first_among_equals(filled):
    first = filled.round([0.4, 0.6, 0.6])
    assert parents(filled.archive) == {first[1]}


def test_a_child_must_be_better_than_its_parent_trained_on(tmp_path):
    filled = Filled(tmp_path)
    filled.control(0, 0.58)
    with filled.archive as archive:
        filled.round([0.57, 0.55])  # better than the start was, worse than it is with as many epochs
        assert parents(archive) == {0}


def test_a_child_that_cannot_be_compared_does_not_count_until_it_can(filled):
    (late,) = filled.round([0.9], epochs=2)
    assert filled.archive.merit(filled.archive[late]) is None
    assert parents(filled.archive) == {0}
    assert STRATEGY.may_use(filled.archive) == {0, late}
    filled.control(0, 0.5, epochs=2)
    assert parents(filled.archive) == {late}


def test_a_round_of_failures_changes_nothing(filled):
    (better,) = filled.round([0.6])
    filled.round([None, float("nan")], parent=better)
    assert parents(filled.archive) == {better}
    assert STRATEGY.may_use(filled.archive) == {better, better + 2}  # the undefined one has weights


def test_earlier_rounds_are_not_judged_again(filled):
    filled.control(0, 0.5, epochs=2)
    expansions = STRATEGY.propose(filled.archive, np.random.default_rng(0))
    left, right = (p.rewrite for p in expansions[:2])
    passed = filled.add("child", 0, left, 0.55, epochs=2)
    taken = filled.add("child", 0, right, 0.6)
    assert parents(filled.archive) == {taken}
    filled.control(taken, 0.6)
    filled.round([0.5], parent=taken)
    filled.control(0, 0.9)  # now the one that was taken seems worse than the one that was passed
    assert filled.archive.merit(filled.archive[taken]) < filled.archive.merit(filled.archive[passed])
    assert parents(filled.archive) == {taken}


def test_a_child_that_becomes_comparable_after_its_round_comes_too_late(filled):
    filled.round([0.9], epochs=2)
    (last,) = filled.round([0.4])
    filled.control(0, 0.5, epochs=2)
    assert parents(filled.archive) == {0}
    assert STRATEGY.may_use(filled.archive) == {0, last}


def test_only_the_last_round_and_its_parent_compete(filled):
    filled.round([0.4])
    (up,) = filled.round([0.6])
    filled.control(up, 0.6)
    (higher,) = filled.round([0.7], parent=up)
    filled.control(0, 0.7)  # a control is no round of children
    assert STRATEGY.may_use(filled.archive) == {up, higher}
    assert parents(filled.archive) == {higher}


@pytest.mark.parametrize("ranking", ["prediction", "lead", "gains"])
def test_under_every_rule_the_highest_merit_is_taken(tmp_path, ranking):
    filled = Filled(tmp_path, Architecture.parse("b@8_111-211-211"), ranking=ranking)
    with filled.archive as archive:
        filled.control(0, 0.52)
        filled.control(0, 0.5)
        children = filled.round([0.55, 0.7, 0.4])
        contenders = [archive.start, *(archive[number] for number in children)]
        merits = {one.id: archive.merit(one) for one in contenders}
        assert None not in merits.values()
        assert merits[children[1]] > merits[0]
        assert STRATEGY.current(archive).id == max(merits, key=merits.get) == children[1]


def test_less_is_better_where_the_objective_says_so(tmp_path):
    filled = Filled(tmp_path, higher_is_better=False)
    with filled.archive as archive:
        filled.control(0, 0.5)
        children = filled.round([0.6, 0.4])
        assert parents(archive) == {children[1]}


def test_the_climb_ends_at_a_local_optimum(tmp_path):
    space = SearchSpace(min_blocks=1, max_blocks=3, min_stages=2, max_stages=2)
    strategy = HillClimb(HillClimbSettings(round=5), space)
    filled = Filled(tmp_path, Architecture.parse("b@8_1-1"))
    filled.control(0, 0.5)
    with filled.archive as archive:
        proposed = strategy.propose(archive, np.random.default_rng(0))
        assert len(proposed) == 2
        filled.enter(proposed, [0.4, 0.3])
        assert strategy.propose(archive, np.random.default_rng(1)) == []
        assert strategy.current(archive).id == 0


# Behind other strategies


def behind(*names):
    """A hill climb behind strategies of these names."""
    phases = [*({"name": name, "candidates": 3} for name in names), {"name": "hill-climb", "round": 2}]
    settings = resolve({"strategy": {"name": "phases", "phases": phases}}).strategy
    return strategy_plugin("phases").build(settings, WIDE)


@pytest.mark.parametrize("names", [("random",), ("serial",), ("evolution",), ("policy",), ("serial", "random")])
def test_behind_other_strategies_the_climb_begins_at_the_best_that_they_found(filled, names):
    """Which is in an earlier round than their last one, and no parent of that."""
    (best,) = filled.round([0.9])
    filled.round([0.6, 0.7])
    strategy = behind(*names)
    for number in range(1, len(names)):  # of the second one
        rewrites = Swap().options(filled.archive.start.architecture)
        new = [one for one in rewrites if not filled.archive.contains(one.child)][:3]
        filled.enter([Proposal("child", 0, one, Fidelity(1), strategy=number) for one in new], [0.4] * 3)
    assert best in strategy.may_use(filled.archive)
    drawn = proposals(strategy, filled.archive, range(5))
    assert {one.parent for one in drawn} == {best}
    assert {one.strategy for one in drawn} == {len(names)}


def test_a_climb_behind_others_goes_on_from_its_own_rounds(filled):
    (best,) = filled.round([0.9])
    filled.round([0.6, 0.7])
    filled.control(best, 0.9)
    strategy = behind("random")
    rewrites = Expand().options(filled.archive[best].architecture)
    new = [one for one in rewrites if not filled.archive.contains(one.child)][:2]
    first = filled.enter([Proposal("child", best, one, Fidelity(1), strategy=1) for one in new], [0.95, 0.85])
    assert {one.parent for one in proposals(strategy, filled.archive, range(5))} == {first[0]}
    assert strategy.may_use(filled.archive) == {best, *first}


def test_the_best_before_the_climb_may_be_the_start(filled):
    filled.round([0.1, 0.2, 0.3])
    assert {one.parent for one in proposals(behind("random"), filled.archive, range(5))} == {0}
