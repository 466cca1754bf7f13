"""The contract suites over everything built in; and that they see what is wrong."""

import numpy as np
import pytest

from spnas_core.errors import PluginError
from spnas_core.plugins import registry
from spnas_core.testing import TaskContract
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask
from spnas_search.executors import executor_plugin
from spnas_search.strategies import Serial, SerialSettings, StrategyPlugin, strategy_plugin
from spnas_search.testing import ExecutorContract, NullTask, StrategyContract

PHASES = ({"name": "random", "candidates": 2}, {"name": "parallel"})


class TestSerial(StrategyContract):
    plugin = strategy_plugin("serial")


class TestParallel(StrategyContract):
    plugin = strategy_plugin("parallel")


class TestFull(StrategyContract):
    plugin = strategy_plugin("full")
    settings = {"serial": {"n_stuck": 2, "reignition": {"n_after": 1}}, "serial_candidates": 6}
    rounds = 8


class TestPhases(StrategyContract):
    plugin = strategy_plugin("phases")
    settings = {"phases": PHASES}


class TestEvolutionByPairs(StrategyContract):
    plugin = strategy_plugin("evolution")
    settings = {"population": 4, "round": 2}
    rounds = 8


class TestEvolutionWithoutDeath(StrategyContract):
    plugin = strategy_plugin("evolution")
    settings = {"population": 4, "survival": "all"}
    rounds = 6


class TestGenerations(StrategyContract):
    plugin = strategy_plugin("generations")
    settings = {"generation": 6, "mutants": 2, "crossings": 3, "best": 3, "round": 4}
    rounds = 8


class TestPolicyThatWrites(StrategyContract):
    plugin = strategy_plugin("policy")
    settings = {"round": 4, "units": 8, "learning_rate": 0.05, "reward": "score", "parents": 2}


class TestPolicyThatEdits(StrategyContract):
    plugin = strategy_plugin("policy")
    settings = {"round": 4, "grammar": "edit", "algorithm": "ppo", "max_mutations": 3, "learning_rate": 0.3}
    rounds = 6


class TestQLearning(StrategyContract):
    plugin = strategy_plugin("q-learning")
    settings = {"children": 16, "replays": 8, "shares_reward": True}
    rounds = 5


class TestGradient(StrategyContract):
    plugin = strategy_plugin("gradient")


class TestGradientOfSampledParts(StrategyContract):
    plugin = strategy_plugin("gradient")
    settings = {"relaxation": "binary", "epochs": 1}


class TestProgressive(StrategyContract):
    plugin = strategy_plugin("progressive")
    settings = {"beam": 3, "round": 2}
    rounds = 6


class TestRandom(StrategyContract):
    plugin = strategy_plugin("random")


class TestEvolution(StrategyContract):
    plugin = strategy_plugin("regularized-evolution")
    settings = {"initial": 3}


class TestHillClimb(StrategyContract):
    plugin = strategy_plugin("hill-climb")


class TestInline(ExecutorContract):
    plugin = executor_plugin("inline")


class TestProcesses(ExecutorContract):
    plugin = executor_plugin("processes")


class TestNull(TaskContract):
    def make(self):
        return NullTask()


class TestDetection(TaskContract):
    def make(self):
        data = {"image_size": 64, "max_size": 32, "train": 12, "validation": 6, "test": 2}
        return DetectionTask(DetectionSettings(data_options=data, image_size=(64, 64)))


def test_every_built_in_strategy_has_a_suite():
    suites = [kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, StrategyContract)]
    tested = {kind.plugin.settings.model_fields["name"].default for kind in suites if hasattr(kind, "plugin")}
    built_in = {name for name, plugin in registry("strategies").plugins.items() if plugin == "search"}
    assert built_in
    assert built_in <= tested


class Remembering(Serial):
    """Proposes what depends on how often it was asked."""

    asked = 0

    def propose(self, archive, rng):
        Remembering.asked += 1
        return super().propose(archive, np.random.default_rng(Remembering.asked))


class Counting(Serial):
    """Proposes what depends on how often this one was asked: as a new one the first time, so two new ones agree."""

    def propose(self, archive, rng):
        self.asked = getattr(self, "asked", 0) + 1
        return super().propose(archive, rng if self.asked == 1 else np.random.default_rng(self.asked))


class Forgetful(Serial):
    """Lets the weights of its parents go."""

    def may_use(self, archive):
        return frozenset()


class Repeating(Serial):
    """Proposes what was proposed before."""

    def propose(self, archive, rng):
        return super().propose(archive, rng) + super().propose(archive, np.random.default_rng(0))[:1] * 2


@pytest.mark.parametrize(
    ("strategy", "test", "error"),
    [
        (Remembering, "test_proposals_follow_from_archive_and_rng", AssertionError),
        (Counting, "test_what_an_instance_has_seen_does_not_matter", AssertionError),
        (Forgetful, "test_parents_are_among_those_whose_weights_are_kept", AssertionError),
        (Repeating, "test_proposals_are_valid_from_round_to_round", PluginError),
    ],
)
def test_a_strategy_that_breaks_its_contract_is_seen(strategy, test, error):
    class Suite(StrategyContract):
        plugin = StrategyPlugin("wrong", SerialSettings, strategy)

    with pytest.raises(error):
        getattr(Suite(), test)()


class Lucky(NullTask):
    """Scores by chance."""

    def score(self, code, age, seed=0):
        return float(np.random.default_rng().random())


@pytest.mark.parametrize("test", ["test_the_same_seed_gives_the_same_scores", "test_weights_are_inherited"])
def test_a_task_whose_scores_are_not_repeatable_is_seen(test):
    class Suite(TaskContract):
        def make(self):
            return Lucky()

    with pytest.raises(AssertionError):
        getattr(Suite(), test)()
