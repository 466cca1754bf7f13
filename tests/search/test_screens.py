"""Screens choose among drawn children, and one that misbehaves is named."""

from types import SimpleNamespace

import numpy as np
import pytest
from driving import SPACE, START, Scripted, run_settings, scores

import spnas_search
from spnas_core.errors import ConfigError, PluginError
from spnas_core.morphisms import Step, identity
from spnas_core.tasks import Evaluation, Fidelity
from spnas_search.archive import Archive, Proposal
from spnas_search.reports import summary
from spnas_search.screens import ScreenedStrategy
from spnas_search.screens.prediction import PredictionScreen, PredictionScreenSettings
from spnas_search.settings import resolve
from spnas_search.strategies import Serial, SerialSettings


def screened(screen, draws=4, round_size=2) -> ScreenedStrategy:
    return ScreenedStrategy("serial", Serial(SerialSettings(round=round_size), SPACE), SPACE, screen, "mine", draws)


def preferring(value):
    """A screen that prefers by a function of the child."""
    return SimpleNamespace(preferences=lambda archive, proposals: [value(one.rewrite.child) for one in proposals])


@pytest.fixture
def archive(drive) -> Archive:
    run = drive(run_settings(ranking="prediction", candidates=0), None, scores())
    run.strategy = SimpleNamespace(control_epochs=4)
    run.round()
    return run.archive


def test_the_preferred_children_are_proposed_best_first(archive):
    def blocks(child) -> float:
        return float(len(child.digits) * 10 + len(child.stages[0]))

    made = screened(preferring(blocks), draws=8).propose(archive, np.random.default_rng(0))
    drawn = screened(preferring(blocks), draws=8, round_size=2)
    every = {
        one.rewrite.child
        for rng in [np.random.default_rng(0)]
        for _ in range(8)
        for one in drawn.wrapped.propose(archive, rng)
    }
    assert [one.preference for one in made] == sorted((blocks(child) for child in every), reverse=True)[:2]
    assert all(one.preference == blocks(one.rewrite.child) for one in made)


def test_the_same_archive_and_seed_give_the_same_children(archive):
    strategy = screened(preferring(lambda child: 1.0))
    once, again = (strategy.propose(archive, np.random.default_rng(5)) for _ in range(2))
    assert once == again
    assert len({one.rewrite.child for one in once}) == 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda archive, proposals: [float("nan")] * len(proposals), "returned what is no number for b@8"),
        (lambda archive, proposals: ["high"] * len(proposals), "raised ValueError"),
        (lambda archive, proposals: [1.0], "it must be one number for each"),
        (lambda archive, proposals: 1 / 0, "raised ZeroDivisionError"),
    ],
)
def test_a_screen_that_misbehaves_is_named(archive, answer, message):
    strategy = screened(SimpleNamespace(preferences=answer))
    with pytest.raises(PluginError, match=r"screen 'mine' of plugin") as caught:
        strategy.propose(archive, np.random.default_rng(0))
    assert message in str(caught.value)


def test_the_built_in_screen_prefers_children_of_good_parents_by_good_morphisms(drive):
    run = drive(run_settings(ranking="prediction"), Scripted([(0, 2), (0, 2)]), scores(child={3: 0.9, 4: 0.1}))
    for _ in range(3):
        run.round()
    screen = PredictionScreen(PredictionScreenSettings(), SPACE)
    strategy = Scripted([(3, 2), (4, 2)])
    good, bad = strategy.made(run.archive, [(3, 2), (4, 2)])
    assert screen.preferences(run.archive, [good, bad])[0] > screen.preferences(run.archive, [good, bad])[1]
    longer = type(good.rewrite)(
        good.rewrite.parent, good.rewrite.child, good.rewrite.block_map, (*good.rewrite.steps, Step("odd", "", None))
    )
    optimist = PredictionScreen(PredictionScreenSettings(optimism=2.0), SPACE)
    same = type(good)("child", good.parent, longer, good.fidelity)
    plain, vague = optimist.preferences(run.archive, [good, same])
    assert vague > plain, "two steps are less certain than one"


def test_settings_of_screens_are_checked():
    assert resolve({"screen": {"draws": 3}}).screen == PredictionScreenSettings(draws=3)
    assert resolve({}).screen is None
    with pytest.raises(PluginError, match="'predicton' is not among the registered screens; did you mean 'prediction'"):
        resolve({"screen": {"name": "predicton"}})
    with pytest.raises(ConfigError, match=r"screen\.draws"):
        resolve({"screen": {"draws": 0}})


def test_a_hope_that_nothing_tells_yet_is_the_lead_alone(drive):
    run = drive(run_settings(ranking="prediction"), Scripted([(0, 2)]), scores())
    run.archive.commit_round([Proposal("start", None, identity(START), Fidelity(4))], threads=1)
    run.archive.finish(0, Evaluation({"score": 0.5}, {}), None)
    made = Scripted([(0, 2)]).made(run.archive, [(0, 2), (0, 2)])
    assert np.isnan(run.archive.predict(made)[1]).all()
    assert PredictionScreen(PredictionScreenSettings(optimism=1.0), SPACE).preferences(run.archive, made) == [0.0, 0.0]


def test_a_search_stores_what_its_screen_said(tmp_path):
    settings = {"task": "null", "executor": {"name": "inline"}, "screen": {"draws": 3}, "final": {"seeds": 0}}
    with spnas_search.search(**settings, budget=6, out=tmp_path / "run") as run:
        children, printed = run.archive.of_kind("child"), list(summary(run))
    assert len(children) == 6
    assert all(child.preference is not None for child in children)
    text = " ".join(part for part in printed if isinstance(part, str))
    said = "What was said of 6 children before their training, when they were chosen, and their scores have a rank"
    assert f"{said} correlation of" in text
    with spnas_search.read_archive(tmp_path / "run") as archive:
        assert [child.preference for child in archive.of_kind("child")] == [child.preference for child in children]
