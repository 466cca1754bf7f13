"""The strategy keeps what spnas expects of every one, and anneals."""

from itertools import pairwise

import pytest
from spnas_annealing import Annealing, AnnealingSettings

import spnas_search
from spnas_search.strategies import StrategyPlugin
from spnas_search.testing import StrategyContract


class TestAnnealing(StrategyContract):
    plugin = StrategyPlugin("keep worse networks ever more rarely", AnnealingSettings, Annealing)


@pytest.mark.parametrize(("temperature", "goes_down"), [(1e6, True), (1e-9, False)])
def test_a_hot_walk_goes_down_and_a_cold_one_does_not(tmp_path, temperature, goes_down):
    strategy = {"name": "annealing", "temperature": temperature, "cooling": 1.0, "round": 1}
    settings = {"task": "null", "executor": {"name": "inline"}, "budget": 24, "final": {"finalists": 0, "seeds": 0}}
    with spnas_search.search(**settings, strategy=strategy, out=tmp_path / "run") as run:
        archive = run.archive
        parents = [archive[child.parent] for child in archive.of_kind("child")]
        steps = [(one, two) for one, two in pairwise(parents) if one.id != two.id]
        assert steps
        # A parent's merit may have changed a little since it was chosen: every score says something of its relatives.
        downs = [archive.merit(two) - archive.merit(one) for one, two in steps if two.parent == one.id]
        assert (min(downs) < -0.01) is goes_down


def test_cooling_settings_outside_their_range_are_refused():
    with pytest.raises(ValueError, match="cooling"):
        AnnealingSettings(cooling=1.5)
