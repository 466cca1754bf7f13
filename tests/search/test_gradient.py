"""The strategy gradient: what the start has learnt of its parts decides, and nothing else."""

import numpy as np
import pytest
from commands import INLINE, NULL, budget, done, refused
from driving import SCORE

from spnas_core import Architecture
from spnas_core.errors import PluginError
from spnas_core.morphisms import identity
from spnas_core.presets import find_preset
from spnas_core.relaxation import Decisions, Logits, Relaxation, best_codes
from spnas_core.space import SearchSpace
from spnas_core.supernets import PartOf, part_of
from spnas_core.tasks import Evaluation, Fidelity
from spnas_search.archive import Archive, Proposal
from spnas_search.settings import resolve, search_values
from spnas_search.strategies import CheckedStrategy, Gradient, GradientSettings

START = Architecture.parse("b@8_111-211-211")
SPACE = SearchSpace(min_blocks=4, max_blocks=40, min_stages=3, max_stages=9, bounds=(PartOf(START),))


@pytest.fixture
def archive(tmp_path):
    with Archive.create(tmp_path / "archive.db", objective=SCORE, run_seed=0, inherit="supernet") as made:
        yield made


def begun(archive, receipt):
    archive.commit_round([Proposal("start", None, identity(START), Fidelity(4))], threads=1)
    archive.finish(0, Evaluation({"score": 0.5}, {"multiply_adds": 9.0}, receipt), None)


def strategy_of(space=SPACE, **values):
    return CheckedStrategy("gradient", Gradient(GradientSettings(**values), space), space)


def logits(mixes=True, seed=3):
    return Logits.drawn(Decisions(START, mixes), np.random.default_rng(seed), 1.0)


@pytest.mark.parametrize("kind", ["softmax", "binary"])
def test_the_most_probable_codes_come_first_and_each_once(archive, kind):
    learnt = logits(kind != "binary")
    begun(archive, {"relaxation": learnt.plain()})
    strategy, expected = (
        strategy_of(relaxation=kind, round=3),
        best_codes(Decisions(START, kind != "binary"), learnt, SPACE, 10),
    )
    expected = [code for code in expected if code != START]
    for number in range(3):
        proposals = strategy.propose(archive, np.random.default_rng(number))
        assert [one.rewrite.child for one in proposals] == expected[3 * number : 3 * number + 3]
        for one in proposals:
            assert one.rewrite == part_of(START, one.rewrite.child)
            assert one.fidelity == Fidelity(0)
        for one in archive.commit_round(proposals, threads=1):
            archive.finish(one.id, Evaluation({"score": 0.5}, {"multiply_adds": 9.0}), None)


def test_codes_lie_in_the_space(archive):
    begun(archive, {"relaxation": logits().plain()})
    space = SearchSpace(min_blocks=5, max_blocks=6, min_stages=3, bounds=(PartOf(START),))
    proposals = strategy_of(space, round=6).propose(archive, np.random.default_rng(0))
    assert len(proposals) == 6
    assert all(len(one.rewrite.child.digits) in {5, 6} for one in proposals)


def test_where_the_start_has_learnt_nothing_it_says_so(archive):
    begun(archive, {})
    assert strategy_of().propose(archive, np.random.default_rng(0)) == []
    assert "says nothing of its parts" in strategy_of().stuck(archive)


@pytest.mark.parametrize("receipt", [{"keep": 1}, {"keep": [[0, 0]], "move": [[[0, 0]]]}, "nonsense"])
def test_a_receipt_that_cannot_be_read_is_told(archive, receipt):
    begun(archive, {"relaxation": receipt})
    with pytest.raises(PluginError, match="the start's receipt has a 'relaxation'") as caught:
        strategy_of().propose(archive, np.random.default_rng(0))
    assert "\n" not in str(caught.value)


def test_a_search_by_gradient_runs_to_its_end(tmp_path):
    shared = ("--set", "start=b@8_111-211-211-21", "--set", "inherit=supernet", "--set", "strategy.epochs=0")
    out = done("run", "gradient", *NULL, *shared, *budget(6, 1), "--out", tmp_path / "run")
    assert "6/6 children" in out


def test_without_shared_weights_it_is_refused(tmp_path):
    said = refused("run", "gradient", *NULL, "--out", tmp_path / "run")
    assert "set inherit = 'supernet'" in said


def test_settings_that_exclude_one_another_are_refused(tmp_path):
    wrong = ("--set", "strategy.relaxation=gumbel", "--set", "strategy.cost_form=log")
    assert "cost_form" in refused("run", "gradient", *INLINE, *wrong, "--out", tmp_path / "run")


def test_a_strategy_whose_relaxation_is_none_is_told():
    strategy = strategy_of()
    strategy.wrapped.relaxation = "softmax"
    with pytest.raises(PluginError, match="it must be a Relaxation"):
        assert strategy.relaxation


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("darts", Relaxation("softmax", 3e-4, 0.5, 1e-3)),
        ("snas", Relaxation("gumbel", 3e-4, 0.5, 1e-3, cost=0.1)),
        ("proxyless-gradient", Relaxation("binary", 1e-3, 0.0, 0.0, 0.25, 5, cost=0.3, cost_form="log")),
        ("auto-deeplab", Relaxation("softmax", 3e-3, 0.5, 1e-3, 0.5)),
    ],
)
def test_presets_have_the_published_constants(preset, expected):
    settings = resolve(search_values(find_preset(preset)))
    assert settings.strategy.value() == expected
    assert settings.run.inherit == "supernet"
    assert settings.task.training.learning_rate == 0.025
