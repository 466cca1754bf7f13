"""Strategies that learn: what they are told, that it follows from the archive, and that they do learn."""

import math
from functools import cache

import numpy as np
import pytest
from filled import Filled
from pydantic import ValidationError
from scipy import stats

from spnas_core import Architecture, SearchSpace, backbone_cost
from spnas_core.errors import ConfigError
from spnas_core.morphisms import AddRow, align
from spnas_core.presets import find_preset
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Proposal
from spnas_search.settings import resolve, search_values
from spnas_search.strategies import (
    Policy,
    PolicySettings,
    QLearning,
    QLearningSettings,
    RandomSearch,
    RandomSettings,
    strategy_plugin,
)
from spnas_search.strategies.learned.controllers import WritingNetwork
from spnas_search.strategies.learned.generation import Grammar
from spnas_search.strategies.learned.lessons import RewardSettings
from spnas_search.strategies.learned.policy_gradient import PolicyGradientSettings
from spnas_search.strategies.mutation import Mutator
from spnas_search.testing.landscapes import additive

START = Architecture.parse("b@8_11-21-21-21")
SPACE = SearchSpace(min_blocks=4, max_blocks=12, min_stages=2, max_stages=4)


def policy(space=SPACE, **values):
    return Policy(PolicySettings(**{"round": 4, "units": 12, "reward": "score", "learning_rate": 0.05} | values), space)


def q_learning(space=SPACE, **values):
    given = {"round": 4, "children": 20, "replays": 8, "reward": "score", "learning_rate": 0.1} | values
    return QLearning(QLearningSettings(**given), space)


MADE = {
    "reinforce": policy,
    "ppo": lambda **values: policy(algorithm="ppo", **values),
    "edits": lambda **values: policy(grammar="edit", **values),
    "q-learning": q_learning,
}
every_strategy = pytest.mark.parametrize("made", MADE.values(), ids=MADE)


@pytest.fixture
def filled(tmp_path):
    made = Filled(tmp_path, START, score=0.5)
    made.control(0, 0.5)
    with made.archive:
        yield made


def made_up(architecture):
    """A score that has nothing to do with age: wide networks are good."""
    return 0.3 + 0.6 * sum(digit == "2" for digit in architecture.digits) / len(architecture.digits)


def go_on(filled, strategy, rounds, seed=0, score=made_up):
    for _ in range(rounds):
        archive = filled.archive
        proposals = strategy.propose(archive, np.random.default_rng([seed, len(archive)]))
        assert proposals
        filled.enter(proposals, [score(one.rewrite.child) for one in proposals])


# Following from the archive


@every_strategy
def test_a_resumed_search_proposes_what_the_undisturbed_one_does(filled, made):
    """After every round a new strategy on the reopened archive; all but the first have learnt something by then."""
    undisturbed = made()
    for number in range(5):
        archive = filled.archive
        expected = undisturbed.propose(archive, np.random.default_rng(number))
        with Archive.read(archive.path) as reopened:
            assert made().propose(reopened, np.random.default_rng(number)) == expected
        assert undisturbed.propose(archive, np.random.default_rng(number)) == expected
        filled.enter(expected, [made_up(one.rewrite.child) for one in expected])


@every_strategy
def test_what_is_proposed_depends_on_rewards(tmp_path, made):
    """The same four children in two archives, whose scores rise with their numbers, or fall."""
    eager = made(learning_rate=1.0, children=4, first_value=0.0) if made is q_learning else made(learning_rate=1.0)
    proposed = []
    for sign in (1, -1):
        (tmp_path / str(sign)).mkdir()
        filled = Filled(tmp_path / str(sign), START, score=0.9)
        filled.control(0, 0.9)
        with filled.archive as archive:
            children = made().propose(archive, np.random.default_rng(1))
            filled.enter(children, [0.5 + sign * 0.1 * number for number in range(4)])
            proposed.append(eager.propose(archive, np.random.default_rng(2)))
    assert [one.rewrite.child for one in proposed[0]] != [one.rewrite.child for one in proposed[1]]


@pytest.mark.parametrize("algorithm", ["reinforce", "ppo"])
def test_the_first_round_is_that_of_the_untrained_network(filled, algorithm):
    strategy = policy(algorithm=algorithm, seed=5)
    proposals = strategy.propose(filled.archive, np.random.default_rng(3))
    network, rng = WritingNetwork(12, 5), np.random.default_rng(3)
    written = Grammar(START, SPACE).write(16, network.chooser(rng))
    expected = [code for code in dict.fromkeys(written) if code != START][:4]
    assert [one.rewrite.child for one in proposals] == expected
    assert policy(seed=6).propose(filled.archive, np.random.default_rng(3)) != proposals


def test_the_first_edits_are_those_of_a_mutator(filled):
    """By their distribution: the share of each morphism among the children of the start."""
    strategy = policy(grammar="edit", round=1, max_mutations=2)
    mutator = Mutator(strategy.settings, SPACE)
    counts = []
    for draw in (
        lambda rng: strategy.propose(filled.archive, rng)[0].rewrite,
        lambda rng: mutator.children(1, lambda: filled.archive.start, filled.archive, rng)[0][1],
    ):
        rewrites = [draw(np.random.default_rng([len(counts), seed])) for seed in range(400)]
        names = [step.morphism for one in rewrites for step in one.steps]
        counts.append([names.count(name) for name in ("swap", "expand", "add-stage")])
    # A fifth stage is outside of the space, and no morphism takes one away: add-stage is never there.
    table = np.array(counts)
    assert stats.chi2_contingency(table[:, table.any(0)]).pvalue > 1e-3


def test_the_first_codes_of_a_table_are_drawn_by_chance(filled):
    """Tokens of the first round against those of a table that knows nothing: here ε is 1."""
    strategy = q_learning(round=1)
    drawn = [strategy.propose(filled.archive, np.random.default_rng(seed))[0].rewrite.child for seed in range(400)]
    first = [code.digits[0] for code in drawn].count("1")
    assert stats.binomtest(first, 400, 0.5).pvalue > 1e-3
    assert len(set(drawn)) > 300


@every_strategy
def test_one_by_one_it_learns_what_it_learns_in_rounds(tmp_path, made):
    """The same children one after the other: as many steps, from as many children each."""
    proposed = []
    for size in (8, 1):
        (tmp_path / str(size)).mkdir()
        filled = Filled(tmp_path / str(size), START, score=0.9)
        filled.control(0, 0.9)
        with filled.archive as archive:
            children = made(round=8).propose(archive, np.random.default_rng(1))
            for begin in range(0, 8, size):
                scores = [0.5 + 0.05 * number for number in range(begin, begin + size)]
                filled.enter(children[begin : begin + size], scores)
            strategy = made(round=size, per_update=8, learning_rate=0.2)
            proposed.append(strategy.propose(archive, np.random.default_rng(2))[0].rewrite.child)
    assert proposed[0] == proposed[1]


@every_strategy
def test_what_it_could_not_have_drawn_teaches_it_nothing(filled, made):
    """A child with rows, and one of two stages that is too deep for the space, by no step that it has."""
    strategy = made(parents=1, learning_rate=1.0, per_update=2)
    before = strategy.propose(filled.archive, np.random.default_rng(0))
    deep = Architecture.parse("b@8_1-1111111111111")
    filled.enter(
        [Proposal("child", 0, one, Fidelity(1)) for one in (AddRow().options(START)[0], align(START, deep))], [0.1, 0.2]
    )
    assert strategy.propose(filled.archive, np.random.default_rng(0)) == before


@every_strategy
def test_parents_are_the_best_so_many(filled, made):
    strategy = made(parents=2)
    go_on(filled, made(), 2)
    archive = filled.archive
    best = {one.id for one in archive.best(2)}
    usable = strategy.may_use(archive)
    is_edit = getattr(strategy.settings, "grammar", "") == "edit"
    assert usable == (best if is_edit else best | {0})
    proposed = [p for seed in range(5) for p in strategy.propose(archive, np.random.default_rng(seed))]
    assert {one.parent for one in proposed} <= usable


def test_where_nothing_new_is_left_it_is_exhausted(tmp_path):
    """Two blocks in two stages: four codes, of which the start is one."""
    space = SearchSpace(min_blocks=2, max_blocks=2, min_stages=2, max_stages=2)
    for name, strategy in {"policy": policy(space), "q": q_learning(space)}.items():
        (tmp_path / name).mkdir()
        filled = Filled(tmp_path / name, Architecture.parse("b@8_1-1"))
        with filled.archive as archive:
            proposals = strategy.propose(archive, np.random.default_rng(0))
            assert {one.rewrite.child.serial_code for one in proposals} == {"1-2", "2-1", "2-2"}
            filled.enter(proposals, [0.5] * 3)
            assert strategy.propose(archive, np.random.default_rng(0)) == []


# Settings


def test_from_how_many_children_on_it_means_something():
    assert policy(round=20, learning_rate=3.5e-4).meaningful_from == 20 * 286
    assert policy(round=20, learning_rate=3.5e-4, algorithm="ppo", passes=4).meaningful_from == 20 * 72
    assert policy(round=4, learning_rate=0.1).meaningful_from == 100
    assert policy(round=1, per_update=20, learning_rate=3.5e-4).meaningful_from == 20 * 286


def test_edits_have_as_many_morphisms_as_the_settings_say(filled):
    strategy = policy(grammar="edit", min_mutations=2, max_mutations=3)
    found = [one for seed in range(10) for one in strategy.propose(filled.archive, np.random.default_rng(seed))]
    assert {len(one.rewrite.steps) for one in found} == {2, 3}


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("model", [PolicySettings, QLearningSettings, RewardSettings, PolicyGradientSettings])
def test_numbers_are_finite(model, number):
    floats = [name for name, field in model.model_fields.items() if field.annotation in {float, float | None}]
    assert len(floats) > 1
    for name in floats:
        with pytest.raises(ValidationError, match=f"{name}\n  Input should be a finite number"):
            model(**{name: number})


@pytest.mark.parametrize("grammar", ["generate", "edit"])
def test_a_policy_that_has_learnt_nonsense_says_so_and_does_not_hang(filled, grammar):
    strategy = policy(grammar=grammar, entropy=1.7e308)
    filled.enter(strategy.propose(filled.archive, np.random.default_rng(0)), [0.1, 0.9, 0.3, 0.5])
    with pytest.raises(ConfigError, match="the odds of what comes next are no finite numbers"):
        strategy.propose(filled.archive, np.random.default_rng(1))


@pytest.mark.parametrize(
    ("preset", "values"),
    [
        (
            "nasnet",
            {
                "algorithm": "ppo",
                "units": 100,
                "learning_rate": 3.5e-4,
                "entropy": 1e-5,
                "baseline_decay": 0.95,
                "round": 20,
            },
        ),
        (
            "eas",
            {
                "grammar": "edit",
                "learning_rate": 2e-3,
                "entropy": 1e-5,
                "baseline_decay": 0.95,
                "round": 10,
                "shape": "tan",
                "epochs": 20,
            },
        ),
        ("nas-fpn", {"grammar": "edit", "algorithm": "ppo", "round": 20, "epochs": 10, "odds": {"rewire": 1.0}}),
        ("mnasnet", {"algorithm": "ppo", "shape": "power", "cost_exponent": -0.07, "epochs": 5}),
        (
            "proxyless",
            {
                "learning_rate": 1e-3,
                "beta1": 0.0,
                "baseline_decay": 0.99,
                "round": 10,
                "shape": "power",
                "cost_exponent": -0.1,
            },
        ),
        ("metaqnn", {"learning_rate": 0.01, "discount": 1.0, "first_value": 0.5, "replays": 128, "children": 2700}),
        ("blockqnn", {"learning_rate": 0.01, "discount": 1.0, "shares_reward": True, "round": 64, "children": 11392}),
    ],
)
def test_presets_have_the_published_numbers(preset, values):
    settings = resolve(search_values(find_preset(preset)))
    assert values.items() <= settings.strategy.model_dump().items()
    assert settings.run.budget.candidates >= 500


@pytest.mark.parametrize("preset", ["nasnet", "mnasnet", "proxyless", "metaqnn", "blockqnn"])
def test_networks_that_presets_write_have_a_size_that_can_be_trained(filled, preset):
    """Before anything is learnt any token is as likely as another, the deepest and widest networks too."""
    settings = resolve(search_values(find_preset(preset)))
    space = settings.run.space.build(START, settings.task.image_size)
    strategy = strategy_plugin(settings.strategy.name).build(settings.strategy.model_copy(update={"round": 40}), space)
    start = backbone_cost(START, *space.image_size).parameters
    children = [one.rewrite.child for one in strategy.propose(filled.archive, np.random.default_rng(0))]
    assert len(children) == 40
    assert max(backbone_cost(child, *space.image_size).parameters for child in children) <= 100 * start


# Learning

FOUR = SearchSpace(min_blocks=4, max_blocks=16, min_stages=4, max_stages=4, max_parameters=10**12)
"""A bound that no code of it exceeds, so that any block may double."""
SEARCHED = {
    "random": lambda: RandomSearch(RandomSettings(round=10), FOUR),
    "reinforce": lambda: policy(FOUR, round=10, parents=1, learning_rate=0.02),
    "ppo": lambda: policy(FOUR, round=10, parents=1, learning_rate=0.01, algorithm="ppo"),
    "edits": lambda: editing(0.1),
    "q-learning": lambda: q_learning(FOUR, round=10, parents=1, children=CHILDREN, replays=32, learning_rate=0.5),
    "untrained network": lambda: policy(FOUR, round=10, parents=1, learning_rate=1e-9),
    "untrained edits": lambda: editing(1e-9),
    "untrained table": lambda: q_learning(FOUR, round=10, parents=1, replays=1, schedule=((1.0, 1),)),
}
CHILDREN, SEEDS = 60, 20


def editing(learning_rate):
    return policy(FOUR, round=5, parents=3, grammar="edit", learning_rate=learning_rate, max_mutations=2)


def found_by(folder, strategy):
    """The best, and the mean of the last twenty, of 60 children on 20 landscapes of values that add up."""
    found = []
    for seed in range(SEEDS):
        (folder / str(seed)).mkdir(parents=True)
        filled = Filled(folder / str(seed), START, additive(START, seed), ranking="lead")
        with filled.archive as archive:
            while archive.children < CHILDREN:
                go_on(filled, strategy, 1, seed, lambda code, seed=seed: additive(code, seed))
            scores = [archive.score(child) for child in archive.of_kind("child")]
        found.append((max(scores), np.mean(scores[-20:])))
    return np.array(found)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each strategy finds, searched for once."""

    @cache
    def find(name):
        return found_by(tmp_path_factory.mktemp(name), SEARCHED[name]())

    return find


@pytest.mark.parametrize("name", ["reinforce", "ppo", "edits", "q-learning"])
def test_it_beats_random_where_there_is_something_to_learn(found, name):
    """Paired over 20 seeds."""
    for learnt, chance in zip(found(name).T, found("random").T, strict=True):
        assert stats.wilcoxon(learnt, chance, alternative="greater").pvalue < 0.01


@pytest.mark.parametrize(
    ("name", "untrained"),
    [
        ("reinforce", "untrained network"),
        ("ppo", "untrained network"),
        ("edits", "untrained edits"),
        ("q-learning", "untrained table"),
    ],
)
def test_its_last_children_are_better_than_those_of_one_that_does_not_learn(found, name, untrained):
    """Part of what it finds it owes to its grammar, and edits to their parents: this is what it owes to learning."""
    assert stats.wilcoxon(found(name)[:, 1], found(untrained)[:, 1], alternative="greater").pvalue < 0.01


@pytest.mark.parametrize("rate", [1e-20, 1e-310])
def test_a_learning_rate_of_next_to_nothing_is_one(rate):
    assert isinstance(policy(learning_rate=rate).meaningful_from, int)
