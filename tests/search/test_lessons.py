"""What strategies that learn are told: rewards of finished children, and learning from them again."""

import math

import numpy as np
import pytest
from filled import Filled
from pydantic import ValidationError

from spnas_core import Architecture, SearchSpace
from spnas_core.errors import ConfigError
from spnas_core.morphisms import Expand, Swap
from spnas_core.tasks import Evaluation, Fidelity
from spnas_search.archive import Proposal
from spnas_search.strategies import Policy, PolicySettings
from spnas_search.strategies.learned.lessons import (
    Relearning,
    RewardSettings,
    lessons,
    power_shaped,
    reward_of,
    tan_shaped,
)

START = Architecture.parse("b@8_11-21-21-21")


@pytest.fixture
def filled(tmp_path):
    made = Filled(tmp_path, START, score=0.5)
    made.control(0, 0.5)
    with made.archive:
        yield made


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
    found = {
        reward: reward_of(archive, archive[grandchild], RewardSettings(reward=reward)) for reward in ("gain", "lead")
    }
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


def test_failed_children_get_the_least_so_far(filled):
    filled.round([None])
    filled.round([0.6, None, float("nan")])
    filled.round([None, 0.9])
    filled.round([None])
    filled.round([0.3])
    found = lessons(filled.archive, RewardSettings(reward="score"))
    assert [[one.reward for one in born] for born in found] == [[0.6, 0.6, 0.6], [0.6, 0.9], [0.6], [0.3]]
    assert [[one.child for one in born] for born in found] == [[3, 4, 5], [6, 7], [8], [9]]


def test_children_under_way_teach_nothing_yet(filled):
    filled.round([0.6])
    archive = filled.archive
    archive.commit_round([Proposal("child", 0, Swap().options(START)[0], Fidelity(1))], threads=1)
    assert [[one.child for one in born] for born in lessons(archive, RewardSettings(reward="score"))] == [[2]]


def test_batches_are_as_few_whole_rounds_as_have_so_many_children(filled):
    for scores in ([0.6], [0.7], [0.5, 0.8], [0.9, 0.4, 0.3], [0.2]):
        filled.round(scores)
    settings = RewardSettings(reward="score")
    found = [[one.child for one in batch] for batch in lessons(filled.archive, settings, 3)]
    assert found == [[2, 3, 4, 5], [6, 7, 8]]
    assert [len(batch) for batch in lessons(filled.archive, settings, 1)] == [1, 1, 2, 3, 1]


def test_who_ends_first_changes_nothing_that_was_learnt(filled):
    """Eight children begin, and end in another order: what there is to learn only ever grows, batch by batch."""
    archive = filled.archive
    rewrites = [one for kind in (Expand(), Swap()) for one in kind.options(START)][:8]
    for rewrite in rewrites:
        archive.commit_round([Proposal("child", 0, rewrite, Fidelity(1))], threads=1)
    known, learnt, begun = (), [], []
    learning = Relearning(
        lambda setting: begun.append(setting) or [], lambda learner, history: learnt.append(history[-1])
    )
    for place in (1, 0, 4, 2, 7, 3, 6, 5):
        archive.finish(2 + place, Evaluation({"score": 0.5 + 0.05 * place}, {"parameters": 1.0}), None)
        found = lessons(archive, RewardSettings(reward="score"), 2)
        assert found[: len(known)] == known
        learning.after("all", found)
        known = found
    assert [[one.child for one in batch] for batch in known] == [[2, 3], [4, 5], [6, 7], [8, 9]]
    assert begun == ["all"]
    assert learnt == list(known)


def test_merits_are_shaped_whichever_way_is_better(tmp_path, filled):
    number = filled.child(0.9)
    archive = filled.archive
    tan = RewardSettings(reward="score", shape="tan")
    assert reward_of(archive, archive[number], tan) == pytest.approx(6.3138, abs=1e-4)
    assert reward_of(archive, archive[number], RewardSettings(reward="merit", shape="tan")) == pytest.approx(
        6.3138, abs=1e-4
    )
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
    settings = PolicySettings(round=1, reward="score", shape="power", cost="latency")
    with pytest.raises(ConfigError, match="no candidate has a cost 'latency'"):
        Policy(settings, SearchSpace()).propose(filled.archive, np.random.default_rng(0))


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
