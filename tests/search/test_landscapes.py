"""Landscapes of the null task: each has the structure that it promises."""

import numpy as np
import pytest

from spnas_core import Architecture
from spnas_core.errors import ConfigError
from spnas_core.morphisms import Expand, Swap
from spnas_core.testing import random_architecture
from spnas_search.screens.partial_order import precedes
from spnas_search.settings import resolve
from spnas_search.testing import NullSettings, NullTask
from spnas_search.testing.landscapes import additive, additive_value, bits, hidden_code, order

LONG = 10**6
"""Epochs after which all of the quality shows."""


def parse(text):
    return Architecture.parse(text)


@pytest.fixture(scope="module")
def codes():
    rng = np.random.default_rng(0)
    return [random_architecture(rng) for _ in range(100)]


def test_the_hidden_code_is_the_best_of_its_landscape(codes):
    best = parse(f"b@8_{hidden_code(3)}")
    assert bits(best, 3) == 1
    assert all(0 <= bits(code, 3) < 1 for code in codes)
    neighbours = [one.child for morphism in (Expand(), Swap()) for one in morphism.options(best)]
    assert all(bits(child, 3) < 1 for child in neighbours)


def test_a_share_of_positions_by_hand(monkeypatch):
    monkeypatch.setattr("spnas_search.testing.landscapes.hidden_code", lambda seed: "11-21")
    assert bits(parse("b_11-1-2"), 0) == 3 / 6  # of 1 1 - 1 - 2, the first three
    assert bits(parse("b_11"), 0) == 2 / 5
    assert bits(parse("r@8_11-21"), 0) == 1


def test_hidden_codes_are_reached_from_the_demonstration_and_differ_from_seed_to_seed():
    hidden = [hidden_code(seed) for seed in range(20)]
    assert len(set(hidden)) > 15
    for code in hidden:
        assert code.count("-") == 3
        assert 8 <= len(code.replace("-", "")) <= 16
        assert code.count("2") == 3


def test_order_never_falls_where_a_code_precedes_another(codes):
    more = [option.child for code in codes for option in Expand().options(code)[:2]]
    ordered = [(one, other) for one in codes for other in (*codes, *more) if one != other and precedes(one, other)]
    assert len(ordered) > 100
    for seed in range(3):
        assert all(order(one, seed) < order(other, seed) for one, other in ordered)
        assert all(0 <= order(code, seed) < 1 for code in codes)


def test_a_block_more_adds_its_value_whatever_stands_beside_it(codes):
    for code in codes:
        for number in range(code.stage_count):
            stages = tuple(stage + "1" * (place == number) for place, stage in enumerate(code.stages))
            longer = Architecture(code.block, stages, code.base, code.stem)
            gain = additive(longer, 5) - additive(code, 5)
            assert gain == pytest.approx(additive_value(5, number, "1"), abs=1e-12)


def test_values_are_spread_and_differ_from_seed_to_seed():
    values = [additive_value(seed, stage, digit) * 40 for seed in range(50) for stage in range(4) for digit in "12"]
    assert len(set(values)) == len(values)
    assert -1 <= min(values) < -0.9
    assert 0.9 < max(values) < 1
    assert abs(np.mean(values)) < 0.1


@pytest.mark.parametrize(("name", "landscape"), [("bits", bits), ("order", order), ("additive", additive)])
def test_a_task_has_the_landscape_that_its_settings_name(name, landscape):
    task = NullSettings(landscape=name, landscape_seed=7).build()
    assert task == NullTask(landscape=name, landscape_seed=7)
    code = "b@8_111-2-1212-11"
    assert task.score(code, LONG) == pytest.approx(landscape(parse(code), 7))
    assert task.score(code, LONG) != NullTask(landscape=name, landscape_seed=8).score(code, LONG)
    flat = NullTask(landscape=name, landscape_seed=7, differences=0.0)
    assert flat.score(code, LONG) == pytest.approx(0.5)
    assert task.score(code, 4) == pytest.approx(landscape(parse(code), 7) / 2)
    noisy = [NullTask(noise=0.1, landscape=name).score(code, LONG, seed) for seed in range(200)]
    assert np.std(noisy) == pytest.approx(0.1, rel=0.15)


def test_without_a_landscape_scores_are_what_they_were():
    assert NullTask(landscape_seed=9).score("b@8_11-21-21-21", 4) == NullTask().score("b@8_11-21-21-21", 4)
    assert NullTask().score("b@8_11-21-21-21", 4) == pytest.approx(0.24477917111944408, abs=1e-15)


def test_an_unknown_landscape_is_refused():
    with pytest.raises(ConfigError, match=r"task\.landscape"):
        resolve({"task": {"name": "null", "landscape": "hills"}})
