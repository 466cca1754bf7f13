"""The preset nash: every neighbour lies five morphisms apart, and the climb goes on from the best of a round."""

from itertools import pairwise

import numpy as np
import pytest
from driving import SPACE, run_settings

from spnas_core import Architecture
from spnas_core.errors import ConfigError
from spnas_core.presets import find_preset
from spnas_search.settings import resolve, search_values
from spnas_search.strategies import CheckedStrategy, HillClimb
from spnas_search.strategies.mutation import DEFAULT_ODDS, draw_rewrite, weighted_morphisms
from spnas_search.testing import NullTask

BEFORE = ["1-121-21-21", "1121-2-1-21", "1-1212-1-21-1", "11-21-212-1", "11-21-2121-1", "11-21-2-121"]
"""Six children of the seed 11, drawn when there was no least number of morphisms."""


@pytest.fixture(scope="module")
def settings():
    return resolve(search_values(find_preset("nash")))


@pytest.fixture
def archive(drive, settings):
    """Three rounds of the preset's strategy on made-up scores."""
    task = NullTask(landscape="additive", noise=0.002)
    checked = CheckedStrategy("hill-climb", HillClimb(settings.strategy, SPACE), SPACE)
    driven = drive(
        run_settings(candidates=21, seeds=0, ranking=settings.run.ranking),
        checked,
        lambda one: {"score": task.score(str(one.architecture), one.age, one.seed)},
    )
    driven.to_the_end()
    assert driven.archive.children == 21
    return driven.archive


def test_the_preset_has_the_published_numbers(settings):
    strategy, run = settings.strategy, settings.run
    assert (strategy.name, strategy.round + 1, strategy.epochs) == ("hill-climb", 8, 17)
    assert strategy.min_mutations == strategy.max_mutations == 5
    assert run.budget.candidates == 5 * strategy.round
    assert (run.final.train_epochs, run.ranking) == (100, "gains")


def test_every_child_lies_five_morphisms_apart_and_promises_their_sum(archive):
    for child in archive.of_kind("child"):
        steps = child.rewrite.steps
        assert len(steps) == 5
        assert {step.morphism for step in steps} <= {"expand", "widen"}
        promises = [step.promise for step in steps]
        assert child.rewrite.promise == (None if None in promises else pytest.approx(sum(promises)))
    assert any(child.rewrite.promise for child in archive.of_kind("child"))


def test_a_round_has_one_parent_the_best_of_the_last_round_or_its_parent(archive):
    children = archive.of_kind("child")
    rounds = [children[at : at + 7] for at in range(0, 21, 7)]
    assert all(len({child.parent for child in one}) == 1 for one in rounds)
    assert rounds[0][0].parent == 0
    for before, after in pairwise(rounds):
        contenders = [archive[before[0].parent], *before]
        assert after[0].parent == max(contenders, key=lambda one: (archive.merit(one), -one.id)).id
    for one in rounds:  # the network itself is trained on beside them
        assert archive.controls(one[0].parent, one[0].fidelity)


def test_without_a_least_number_children_are_drawn_as_before():
    rng, odds = np.random.default_rng(11), weighted_morphisms(DEFAULT_ODDS, 2)
    start = Architecture.parse("b@8_11-21-21-21")
    drawn = [str(draw_rewrite(start, odds, 3, rng).child).removeprefix("b@8_") for _ in BEFORE]
    assert drawn == BEFORE


def test_between_two_numbers_of_morphisms_all_are_drawn():
    rng, odds = np.random.default_rng(0), weighted_morphisms(DEFAULT_ODDS, 2)
    start = Architecture.parse("b@8_11-21-21-21")
    assert {len(draw_rewrite(start, odds, 4, rng, 2).steps) for _ in range(100)} == {2, 3, 4}


def test_where_fewer_morphisms_apply_than_are_wanted_there_is_no_child():
    code = Architecture.parse("b@8_12")
    (narrow,) = weighted_morphisms({"narrow": 1.0}, 2)
    assert not narrow.options(code)
    moved = Architecture.parse("b@8_121")
    assert draw_rewrite(moved, {narrow: 1.0}, 1, np.random.default_rng(0)).child == Architecture.parse("b@8_112")
    assert draw_rewrite(moved, {narrow: 1.0}, 2, np.random.default_rng(0), 2).child == moved


def test_more_morphisms_at_least_than_at_most_are_refused():
    with pytest.raises(ConfigError, match="min_mutations is 4, above max_mutations = 3: raise the latter"):
        resolve({"strategy": {"name": "serial", "min_mutations": 4}})
