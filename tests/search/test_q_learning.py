"""The table of Q-learning: worked examples, the schedule of chance, and what greed and ties do."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from filled import START, Filled
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spnas_core import Architecture, SearchSpace
from spnas_core.presets import find_preset
from spnas_search.settings import resolve, search_values
from spnas_search.strategies.learned.generation import TOKENS, Grammar
from spnas_search.strategies.learned.q_learning import METAQNN, QLearning, QLearningSettings, state_of, steps_of, write
from spnas_search.strategies.learned.q_table import QTable, Step, chance, rewards_of, scaled

CHAIN = [Step(number, (True, True), 0) for number in range(4)]
SPACE = SearchSpace(min_blocks=3, max_blocks=6, min_stages=2, max_stages=3)


def values(table):
    return [table.value(number, 0) for number in range(4)]


def learn(table, episode, rewards):
    table.learn(table.moves(episode), rewards)


@pytest.mark.parametrize(
    ("first", "rate", "is_shared", "expected"),
    [
        (0.5, 1.0, False, [0.8, 0.8, 0.8, 0.8]),
        (0.5, 0.01, False, [0.5 + 3e-9, 0.5 + 3e-7, 0.5 + 3e-5, 0.503]),
        (0.0, 1.0, True, [0.8, 0.6, 0.4, 0.2]),
    ],
)
def test_one_pass_goes_backwards(first, rate, is_shared, expected):
    """Forwards, the first case would give 0.5, 0.5, 0.5, 0.8."""
    table = QTable(first, rate, 1.0)
    learn(table, CHAIN, rewards_of(4, 0.8, is_shared=is_shared))
    assert values(table) == pytest.approx(expected, rel=1e-9)


def test_the_future_is_the_best_of_what_is_legal_and_discounted():
    table = QTable(0.0, 1.0, 0.5)
    learn(table, [Step("b", (True, True, True), 2)], [0.9])
    learn(table, [Step("b", (True, True, True), 1)], [0.4])
    learn(table, [Step("a", (True, True, True), 0), Step("b", (True, True, False), 0)], [0.1, 0.2])
    assert table.value("b", 0) == 0.2
    assert table.value("a", 0) == pytest.approx(0.1 + 0.5 * 0.4)
    assert [table.value("a", action) for action in (1, 2)] == [table.value("c", 0), 0] == [0, 0]


class ByTheFormula:
    """Q-learning as its formula reads, pair by pair: what the table of the search must equal bit by bit."""

    def __init__(self, first, rate, discount):
        self.first, self.rate, self.discount, self.known = first, rate, discount, {}

    def value(self, state, action):
        return self.known.get((state, action), self.first)

    def best(self, state, legal):
        largest = max(self.value(state, action) for action, may in enumerate(legal) if may)
        return [action for action, may in enumerate(legal) if may and self.value(state, action) == largest]

    def moves(self, episode):
        return episode

    def learn(self, episode, rewards):
        future = 0.0
        for step, reward in zip(reversed(episode), reversed(rewards), strict=True):
            before = self.value(step.state, step.action)
            target = reward + self.discount * future
            self.known[step.state, step.action] = before + self.rate * (target - before)
            future = max(self.value(step.state, action) for action, may in enumerate(step.legal) if may)


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 1), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_the_table_is_the_formula_bit_by_bit(seed, rate, discount):
    rng = np.random.default_rng(seed)
    table, formula = QTable(0.3, rate, discount), ByTheFormula(0.3, rate, discount)
    episodes = []
    for _ in range(6):
        steps = []
        for _ in range(int(rng.integers(1, 6))):
            legal = rng.random(4) < 0.5
            legal[action := int(rng.integers(4))] = True
            steps.append(Step(int(rng.integers(5)), tuple(legal.tolist()), action))
        episodes.append((steps, table.moves(steps), rng.normal(size=len(steps)).tolist()))
    for number in rng.integers(6, size=30):
        steps, moves, rewards = episodes[number]
        table.learn(moves, rewards)
        formula.learn(steps, rewards)
    for state in range(6):
        assert [table.value(state, action) for action in range(4)] == [formula.value(state, a) for a in range(4)]
        assert table.best(state, (True, False, True, True)) == formula.best(state, (True, False, True, True))


@pytest.mark.parametrize("values", [{}, {"shares_reward": True, "discount": 0.9, "learning_rate": 0.3}])
def test_what_is_proposed_is_what_the_formula_proposes(tmp_path, monkeypatch, values):
    given = {"children": 20, "replays": 16, "learning_rate": 0.1, "schedule": ((0.5, 1),), **values}
    filled = Filled(tmp_path, START, ranking="lead")
    with filled.archive as archive:
        for number in range(6):
            seeds = [number, len(archive)]
            proposed = QLearning(QLearningSettings(**given), SPACE).propose(archive, np.random.default_rng(seeds))
            with monkeypatch.context() as patched:
                patched.setattr("spnas_search.strategies.learned.q_learning.QTable", ByTheFormula)
                again = QLearning(QLearningSettings(**given), SPACE).propose(archive, np.random.default_rng(seeds))
            assert proposed == again
            filled.enter(proposed, [len(one.rewrite.child.digits) / 10 for one in proposed])
        assert archive.children == 24


def test_how_a_code_is_written_is_found_out_once(tmp_path, monkeypatch):
    """Every round learns all children again, since their rewards may have changed; how they were written has not."""
    asked, choices = [], Grammar.choices

    def counted(grammar, architecture):
        asked.append(architecture)
        return choices(grammar, architecture)

    monkeypatch.setattr(Grammar, "choices", counted)
    space = replace(SPACE, max_parameters=10**9 + 7)  # of this test alone, so that nothing is known yet
    filled = Filled(tmp_path, START, ranking="traits")
    strategy = QLearning(QLearningSettings(children=20, replays=2), space)
    with filled.archive as archive:
        for number in range(5):
            proposed = strategy.propose(archive, np.random.default_rng(number))
            filled.enter(proposed, [0.1 * number + 0.01 * place for place in range(len(proposed))])
        children = [child.architecture for child in archive.of_kind("child")]
    assert asked == children[:-4]


def test_rewards_of_the_steps_add_up():
    assert rewards_of(3, 0.9, is_shared=False) == [0, 0, 0.9]
    assert sum(rewards_of(7, 0.9, is_shared=True)) == pytest.approx(0.9)


@pytest.mark.parametrize("children", [1, 7, 100, 300, 2700, 11392])
@pytest.mark.parametrize("preset", ["metaqnn", "blockqnn"])
def test_the_schedule_is_stretched_over_the_budget(preset, children):
    schedule = resolve(search_values(find_preset(preset))).strategy.schedule
    ends = scaled(schedule, children)
    assert ends[-1] == children
    assert ends == sorted(ends)
    counted = Counter(chance(schedule, children, number) for number in range(children))
    lengths = np.diff([0, *ends])
    assert [counted[epsilon] for epsilon, _ in schedule] == lengths.tolist()
    total = sum(length for _, length in schedule)
    assert all(
        abs(found - length * children / total) <= 1 for found, (_, length) in zip(lengths, schedule, strict=True)
    )
    assert chance(schedule, children, children + 5) == schedule[-1][0] == 0.1


def test_published_schedules():
    assert scaled(METAQNN, 2700) == [1500, 1600, 1700, 1800, 1950, 2100, 2250, 2400, 2550, 2700]
    blocks = resolve(search_values(find_preset("blockqnn"))).strategy
    assert sum(length for _, length in blocks.schedule) == 178
    assert blocks.children == 178 * blocks.round == 11392
    for schedule in (METAQNN, blocks.schedule):
        assert 0.53 <= schedule[0][1] / sum(length for _, length in schedule) <= 0.56


def test_a_state_is_stage_depth_and_doublings():
    assert state_of(("",), 12) == (1, 0, 0)
    assert state_of(("121", "2"), 12) == (2, 1, 2)
    assert state_of(("1", "11111"), 3) == (2, 3, 0)
    choices = Grammar(START, SPACE).choices(Architecture.parse("b@8_12-1"))
    assert [(step.state, TOKENS[step.action]) for step in steps_of(choices, 12)] == [
        ((1, 0, 0), "1"),
        ((1, 1, 0), "2"),
        ((1, 2, 1), "-"),
        ((2, 0, 1), "1"),
        ((2, 1, 1), "end"),
    ]


def test_without_chance_the_largest_values_are_followed():
    grammar, table = Grammar(START, SPACE), QTable(0.5, 1.0, 1.0)
    wanted = Architecture.parse("b@8_121-2-1")
    for code, reward in (
        (wanted, 0.9),
        (Architecture.parse("b@8_111-2-1"), 0.2),
        (Architecture.parse("b@8_11-111"), 0.3),
    ):
        steps = steps_of(grammar.choices(code), 12)
        learn(table, steps, rewards_of(len(steps), reward, is_shared=False))
    drawn = {write(grammar, table, 0.0, 12, np.random.default_rng(seed)) for seed in range(20)}
    assert drawn == {wanted}
    assert len({write(grammar, table, 1.0, 12, np.random.default_rng(seed)) for seed in range(20)}) > 10


@pytest.mark.parametrize("epsilon", [0.0, 1.0])
def test_ties_are_drawn_at_random(epsilon):
    """Of an empty table every first token is as good as the other, and so is every second one."""
    grammar, table = Grammar(START, SPACE), QTable(0.5, 0.01, 1.0)
    rng = np.random.default_rng(0)
    drawn = [write(grammar, table, epsilon, 12, rng).serial_code for _ in range(3000)]
    first = Counter(code[0] for code in drawn)
    second = Counter(code[1] for code in drawn)
    assert set(first) == {"1", "2"}
    assert set(second) == {"1", "2", "-"}
    assert stats.chisquare(list(first.values())).pvalue > 1e-3
    assert stats.chisquare(list(second.values())).pvalue > 1e-3


def test_chance_is_as_frequent_as_epsilon_says():
    """With ε = 0.4 and two legal tokens, the worse one is drawn in a fifth of all cases."""
    grammar, table = Grammar(START, SPACE), QTable(0.0, 1.0, 1.0)
    learn(table, [Step((1, 0, 0), (True, True, False, False), 1)], [1.0])
    rng = np.random.default_rng(0)
    worse = sum(write(grammar, table, 0.4, 12, rng).serial_code[0] == "1" for _ in range(3000))
    assert stats.binomtest(worse, 3000, 0.2).pvalue > 1e-3


def test_it_is_meaningful_from_some_hundred_children():
    assert QLearning(QLearningSettings(children=20), SPACE).meaningful_from == 300
    assert QLearning(QLearningSettings(children=2700), SPACE).meaningful_from == 2700
