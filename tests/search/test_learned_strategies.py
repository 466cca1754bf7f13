"""Strategies that learn: what they are told, that it follows from the archive, and that they do learn."""

import math

import numpy as np
import pytest
from filled import WIDE, Filled
from pydantic import ValidationError
from scipy import stats

from spnas_core import Architecture, SearchSpace
from spnas_core.errors import ConfigError
from spnas_core.morphisms import Expand, Swap, identity
from spnas_core.presets import find_preset
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Proposal
from spnas_search.settings import resolve, search_values
from spnas_search.strategies import Policy, PolicySettings, QLearning, QLearningSettings, RandomSearch, RandomSettings
from spnas_search.strategies.controllers import WritingNetwork
from spnas_search.strategies.generation import Grammar
from spnas_search.strategies.lessons import (
    Relearning,
    RewardSettings,
    lessons,
    power_shaped,
    reward_of,
    tan_shaped,
)
from spnas_search.strategies.mutation import Mutator

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


# Rewards


def test_shapes_are_the_published_ones():
    assert tan_shaped(0.9) == pytest.approx(6.3138, abs=1e-4)
    assert tan_shaped(0.5) == pytest.approx(1)
    assert power_shaped(0.75, 100, 80, -0.07) == pytest.approx(0.7384, abs=1e-4)
    assert power_shaped(0.75, 60, 80, -0.07) == pytest.approx(0.7653, abs=1e-4)
    assert power_shaped(0.75, 100, 80, -0.1) == pytest.approx(0.7334, abs=1e-4)


@pytest.mark.parametrize("reward", ["gain", "lead"])
def test_equal_gains_at_different_ages_are_equal_rewards_and_scores_are_not(filled, reward):
    """Both are 0.1 above the start trained on by as much; the older one has the higher score."""
    filled.control(0, 0.7, epochs=3)
    young, old = filled.child(0.6), filled.child(0.8, epochs=3)
    archive = filled.archive
    one, other = (reward_of(archive, archive[number], RewardSettings(reward=reward)) for number in (young, old))
    assert one == pytest.approx(other)
    assert one > 0
    by_score = [reward_of(archive, archive[number], RewardSettings(reward="score")) for number in (young, old)]
    assert by_score == [0.6, 0.8]


def test_gains_and_leads_are_in_units_of_the_noise(filled):
    filled.control(0, 0.54)
    number = filled.child(0.62)
    archive = filled.archive
    noise = archive.noise()
    assert noise == pytest.approx(np.std([0.5, 0.54], ddof=1))
    for reward in ("gain", "lead"):
        assert reward_of(archive, archive[number], RewardSettings(reward=reward)) == pytest.approx(0.1 / noise)
    grandchild = filled.add("child", number, Expand().options(archive[number].architecture)[1], 0.7)
    filled.control(number, 0.66)
    found = {reward: reward_of(archive, archive[grandchild], RewardSettings(reward=reward)) for reward in ("gain", "lead")}
    assert found["gain"] == pytest.approx(0.04 / archive.noise())
    assert found["lead"] == pytest.approx(0.14 / archive.noise())


def test_a_gain_without_controls_is_the_difference_of_leads(tmp_path):
    filled = Filled(tmp_path, START, ranking="prediction")
    with filled.archive as archive:
        for score in (0.52, 0.6, 0.45, 0.55):
            filled.child(score)
        number = filled.add("child", 2, Swap().options(archive[2].architecture)[0], 0.66)
        expected = archive.lead(archive[number]) - archive.lead(archive[2])
        assert reward_of(archive, archive[number], RewardSettings(reward="gain")) == expected / (archive.noise() or 1)
        assert reward_of(archive, archive.start, RewardSettings(reward="gain")) is None


def test_failed_children_get_the_least_of_their_round(filled):
    filled.round([0.6, None, 0.55, float("nan")])
    filled.round([None, None])
    filled.round([0.3, None])
    found = lessons(filled.archive, RewardSettings(reward="score"))
    assert [[one.reward for one in born] for born in found] == [[0.6, 0.55, 0.55, 0.55], [0.3, 0.3]]
    assert [[one.child for one in born] for born in found] == [[2, 3, 4, 5], [8, 9]]


def test_children_under_way_teach_nothing_yet(filled):
    filled.round([0.6])
    archive = filled.archive
    archive.commit_round([Proposal("child", 0, Swap().options(START)[0], Fidelity(1))], threads=1)
    assert [[one.child for one in born] for born in lessons(archive, RewardSettings(reward="score"))] == [[2]]


def test_merits_are_shaped_whichever_way_is_better(tmp_path, filled):
    number = filled.child(0.9)
    archive = filled.archive
    tan = RewardSettings(reward="score", shape="tan")
    assert reward_of(archive, archive[number], tan) == pytest.approx(6.3138, abs=1e-4)
    assert reward_of(archive, archive[number], RewardSettings(reward="merit", shape="tan")) == pytest.approx(6.3138, abs=1e-4)
    assert math.isfinite(reward_of(archive, archive[filled.child(1.2)], tan))
    cost, target = (archive[one].cost["parameters"] for one in (number, 0))
    power = {"reward": "score", "shape": "power", "cost": "parameters"}
    assert cost > target
    assert reward_of(archive, archive[number], RewardSettings(**power)) == power_shaped(0.9, cost, target, -0.07)
    told = RewardSettings(**power, cost_target=cost, cost_exponent=-0.1)
    assert reward_of(archive, archive[number], told) == 0.9
    (tmp_path / "loss").mkdir()
    falling = Filled(tmp_path / "loss", START, score=0.5, higher_is_better=False)
    with falling.archive as archive:
        assert reward_of(archive, archive[falling.child(0.1)], tan) == pytest.approx(6.3138, abs=1e-4)


def test_what_cannot_be_shaped_or_weighed_is_one_line(filled):
    with pytest.raises(ValidationError, match="shape 'tan' needs a reward between 0 and 1, and a lead is none"):
        PolicySettings(shape="tan")
    filled.child(0.9)
    with pytest.raises(ConfigError, match="no candidate has a cost 'latency'"):
        policy(shape="power", cost="latency").propose(filled.archive, np.random.default_rng(0))


# Following from the archive


def test_a_learner_is_gone_on_with_only_where_it_has_learnt_the_beginning():
    begun = []

    def begin(setting):
        begun.append(setting)
        return []

    learning = Relearning(begin, lambda learner, history: learner.append(history[-1]))
    one, two, three = (("one",), ("two",), ("three",))
    assert learning.after("a", (one,)) == [one]
    assert learning.after("a", (one, two, three)) == [one, two, three]
    assert begun == ["a"]
    assert learning.after("a", (one, three)) == [one, three]
    assert learning.after("b", (one, three)) == [one, three]
    assert learning.after("b", ()) == []
    assert begun == ["a", "a", "b", "b"]


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
    proposed = []
    for sign in (1, -1):
        (tmp_path / str(sign)).mkdir()
        filled = Filled(tmp_path / str(sign), START, score=0.5)
        filled.control(0, 0.5)
        with filled.archive as archive:
            children = policy().propose(archive, np.random.default_rng(1))
            if "edit" in str(getattr(made().settings, "grammar", "")):
                children = made().propose(archive, np.random.default_rng(1))
            filled.enter(children, [0.5 + sign * 0.1 * number for number in (0, 1, 2, 3)])
            proposed.append(made(children=4).propose(archive, np.random.default_rng(2)) if made is q_learning else made(learning_rate=2.0).propose(archive, np.random.default_rng(2)))
    assert proposed[0] != proposed[1]


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
    # Stage 5 is outside of this space, so add-stage must be undone by nothing: it is never there.
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
def test_what_it_could_not_have_drawn_teaches_it_nothing(filled, made):
    """A child with rows, one that leaves the space, and one by a morphism that it does not have."""
    strategy = made()
    before = strategy.propose(filled.archive, np.random.default_rng(0))
    wide = START.with_stages(("11", "2111111111111", "21", "21"))
    from spnas_core.morphisms import AddRow, align

    for rewrite in (AddRow().options(START)[0], align(START, wide)):
        filled.add("child", 0, rewrite, 0.1)
    after = made(children=20 + 10**6).propose(filled.archive, np.random.default_rng(0)) if made is q_learning else made().propose(filled.archive, np.random.default_rng(0))
    assert [one.rewrite.child for one in after] == [one.rewrite.child for one in before]


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
    """Two blocks in one stage: four codes, of which the start is one."""
    space = SearchSpace(min_blocks=2, max_blocks=2, min_stages=1, max_stages=1)
    for name, strategy in {"policy": policy(space), "q": q_learning(space)}.items():
        (tmp_path / name).mkdir()
        filled = Filled(tmp_path / name, Architecture.parse("b@8_11"))
        with filled.archive as archive:
            proposals = strategy.propose(archive, np.random.default_rng(0))
            assert {one.rewrite.child.serial_code for one in proposals} == {"12", "21", "22"}
            filled.enter(proposals, [0.5] * 3)
            assert strategy.propose(archive, np.random.default_rng(0)) == []


# Settings


def test_from_how_many_children_on_it_means_something():
    assert policy(round=20, learning_rate=3.5e-4).meaningful_from == 20 * 286
    assert policy(round=20, learning_rate=3.5e-4, algorithm="ppo", passes=4).meaningful_from == 20 * 72
    assert policy(round=4, learning_rate=0.1).meaningful_from == 100


@pytest.mark.parametrize(
    ("preset", "values"),
    [
        ("nasnet", {"algorithm": "ppo", "units": 100, "learning_rate": 3.5e-4, "entropy": 1e-5, "baseline_decay": 0.95, "round": 20}),
        ("eas", {"grammar": "edit", "learning_rate": 2e-3, "entropy": 1e-5, "baseline_decay": 0.95, "round": 10, "shape": "tan", "epochs": 20}),
        ("mnasnet", {"algorithm": "ppo", "shape": "power", "cost_exponent": -0.07, "epochs": 5}),
        ("proxyless", {"learning_rate": 1e-3, "beta1": 0.0, "baseline_decay": 0.99, "round": 10, "shape": "power", "cost_exponent": -0.1}),
        ("metaqnn", {"learning_rate": 0.01, "discount": 1.0, "first_value": 0.5, "replays": 128, "children": 2700}),
        ("blockqnn", {"learning_rate": 0.01, "discount": 1.0, "shares_reward": True, "round": 64, "children": 11392}),
    ],
)
def test_presets_have_the_published_numbers(preset, values):
    settings = resolve(search_values(find_preset(preset)))
    assert values.items() <= settings.strategy.model_dump().items()
    assert settings.run.budget.candidates >= 500


# Learning


def likeness(architecture):
    """Sum of a hidden value per stage and kind of block, between 0 and 1."""
    hidden = {"1": (0.1, -0.3, 0.4, 0.2), "2": (-0.4, 0.5, -0.2, -0.3)}
    total = sum(hidden[digit][number] for number, stage in enumerate(architecture.stages) for digit in stage)
    return 1 / (1 + math.exp(-total))
