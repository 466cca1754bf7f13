"""A screen chooses place by place where what a child is follows from its place in its round."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
from evolving import START, evolution, go_on
from filled import WIDE, Filled

from spnas_core import Architecture
from spnas_core.morphisms import align
from spnas_search.screens import ScreenedStrategy
from spnas_search.strategies import CheckedStrategy, Evolution, EvolutionSettings, Generations, GenerationsSettings


@pytest.fixture
def filled(tmp_path):
    made = Filled(tmp_path, START, score=0.5)
    with made.archive:
        yield made


def depth(code):
    """Number of blocks, and of equal ones that in front."""
    return len(code.digits) + len(code.stages[0]) / 100


def screened(strategy, draws=6):
    """Let a screen prefer deep codes."""
    screen = SimpleNamespace(preferences=lambda archive, proposals: [depth(one.rewrite.child) for one in proposals])
    return ScreenedStrategy("evolution", strategy, WIDE, screen, "mine", draws)


@pytest.mark.parametrize("draws", [1, 6])
def test_a_child_descends_from_the_winner_of_its_pair_whatever_a_screen_prefers(filled, draws):
    strategy = evolution(population=4, round=3)
    go_on(filled, screened(strategy, draws), 5)
    population, children = [filled.archive.start], filled.archive.of_kind("child")
    for first in range(0, 15, 3):
        born = children[first : first + 3]
        winners = [strategy._fight(population, filled.archive, first + place, place) for place in range(3)]
        assert [one.parent for one in born] == [one.id for one in winners]
        population += born


@dataclass(frozen=True)
class Slow:
    """Stands for a bound that is measured."""

    most: int = len(START.digits)
    is_measured = True

    def violation(self, architecture):
        return "slow" if len(architecture.digits) > self.most else None


def test_where_a_place_has_no_child_inside_the_measured_bounds_the_strategy_looks_elsewhere(filled):
    """As it does without a screen: all children of the winner of the pair are deeper, and too slow."""
    filled.add("child", 0, align(START, Architecture.parse("b@8_11-211-211")), 0.1)
    settings = EvolutionSettings(population=8, initial=0, round=1, odds={"expand": 1})
    whole = replace(WIDE, bounds=(Slow(),))
    plain = CheckedStrategy("evolution", Evolution(settings, whole), whole)
    screen = SimpleNamespace(preferences=lambda archive, proposals: [0.0] * len(proposals))
    quick = ScreenedStrategy("evolution", Evolution(settings, WIDE), WIDE, screen, "mine", 6, (Slow(),))
    for seed in range(3):
        assert not quick.propose(filled.archive, np.random.default_rng(seed))
        (found,) = replace(quick, unscreened=plain).propose(filled.archive, np.random.default_rng(seed))
        assert len(found.rewrite.child.digits) <= len(START.digits)


def test_a_round_that_is_shorter_by_nature_is_not_drawn_again_and_again(filled):
    settings = GenerationsSettings(generation=8, mutants=4, crossings=0, best=2, round=3, odds={"swap": 1})
    strategy = Generations(settings, WIDE)
    asked = []

    def preferences(archive, proposals):
        asked.append(len(proposals))
        return [0.0] * len(proposals)

    screened = ScreenedStrategy(
        "generations", strategy, WIDE, SimpleNamespace(preferences=preferences), "mine", 2, (Slow(99),)
    )
    go_on(filled, screened, 3)
    assert len(asked) <= 4


def test_a_screen_leaves_a_generation_its_mutants(filled):
    settings = GenerationsSettings(generation=4, mutants=2, crossings=0, best=2, round=4, odds={"swap": 1})
    go_on(filled, screened(Generations(settings, WIDE)), 3)
    children = filled.archive.of_kind("child")
    for generation in (children[4:8], children[8:12]):
        are_mutants = [[step.morphism for step in one.rewrite.steps] == ["swap"] for one in generation]
        assert are_mutants == [True, True, False, False]
        assert {one.parent for one in generation[2:]} == {filled.archive.start.id}


def test_each_place_of_a_round_has_the_best_of_what_was_drawn_for_it(filled):
    strategy, drawn = evolution(population=4, round=3, survival="all"), [[], [], []]

    def propose(archive, rng):
        proposals = strategy.propose(archive, rng)
        for place, proposal in enumerate(proposals):
            drawn[place].append(proposal.rewrite.child)
        return proposals

    by_place = SimpleNamespace(round=3, epochs=4, by_place=True, propose=propose)
    proposed = screened(by_place).propose(filled.archive, np.random.default_rng(0))
    firsts = [[], [], []]
    for codes in zip(*drawn, strict=True):
        for place, code in enumerate(codes):
            if not any(code in codes_there for codes_there in firsts):
                firsts[place].append(code)
    deepest = [max(codes, key=depth) for codes in firsts]
    assert [one.rewrite.child for one in proposed] == deepest
    assert sorted(proposed, key=lambda one: -one.preference) != proposed
