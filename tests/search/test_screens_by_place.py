"""A screen chooses place by place where what a child is follows from its place in its round."""

from types import SimpleNamespace

import numpy as np
import pytest
from filled import WIDE, Filled

from spnas_core import Architecture
from spnas_search.screens import ScreenedStrategy
from spnas_search.strategies import Evolution, EvolutionSettings, Generations, GenerationsSettings

START = Architecture.parse("b@8_1111-2111-2111")


def evolution(**values):
    return Evolution(EvolutionSettings(**{"initial": 0, "round": 1} | values), WIDE)


@pytest.fixture
def filled(tmp_path):
    made = Filled(tmp_path, START, score=0.5)
    with made.archive:
        yield made


def go_on(filled, strategy, rounds):
    """Let a strategy propose; children score as drawn, so that who wins has nothing to do with age."""
    rng = np.random.default_rng(7)
    for number in range(rounds):
        proposals = strategy.propose(filled.archive, np.random.default_rng([number, len(filled.archive)]))
        assert proposals
        filled.enter(proposals, rng.random(len(proposals)).tolist())


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
