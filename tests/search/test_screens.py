"""Screens choose among drawn children, and one that misbehaves is named."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from driving import SPACE, START, Scripted, run_settings, scores

import spnas_search
from spnas_core.configuration import read_toml, write_toml
from spnas_core.errors import ConfigError, PluginError
from spnas_core.morphisms import Step, identity
from spnas_core.presets import find_preset
from spnas_core.tasks import Evaluation, Fidelity
from spnas_search.archive import Archive, Proposal
from spnas_search.reports import summary
from spnas_search.reports.closing import screen_sentences
from spnas_search.run import resume_run, start_run
from spnas_search.screens import ScreenedStrategy
from spnas_search.screens.prediction import PredictionScreen, PredictionScreenSettings
from spnas_search.series import resume_series, start_series
from spnas_search.settings import over_preset, resolve
from spnas_search.strategies import CheckedStrategy, Phases, RandomSearch, RandomSettings, Serial, SerialSettings
from spnas_search.strategies.phases import Phase
from spnas_search.studies.searches.arms import no_baselines, read_arms


def screened(screen, draws=4, round_size=2) -> ScreenedStrategy:
    return ScreenedStrategy("serial", Serial(SerialSettings(round=round_size), SPACE), SPACE, screen, "mine", draws)


def preferring(value):
    """A screen that prefers by a function of the child."""
    return SimpleNamespace(preferences=lambda archive, proposals: [value(one.rewrite.child) for one in proposals])


@pytest.fixture
def archive(drive) -> Archive:
    run = drive(run_settings(ranking="prediction", candidates=0), None, scores())
    run.strategy = SimpleNamespace(control_epochs=4, control_fidelity=Fidelity(4))
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
        (lambda archive, proposals: ["high"] * len(proposals), "returned what is no number for b@8"),
        (lambda archive, proposals: ["1.5"] * len(proposals), "it is '1.5': it must be a finite number"),
        (lambda archive, proposals: np.full(len(proposals), 1 + 1j), "returned what is no number for b@8"),
        (lambda archive, proposals: np.ma.masked_all(len(proposals)), "returned what is no number for b@8"),
        (lambda archive, proposals: np.full(len(proposals), np.timedelta64(3, "s")), "returned what is no number for"),
        (lambda archive, proposals: [10**400] * len(proposals), "returned what is no number for b@8"),
        (lambda archive, proposals: np.ones((len(proposals), 1)), ", but an array"),
        (lambda archive, proposals: dict.fromkeys(proposals, 1.0), "returned a dict"),
        (lambda archive, proposals: 1.0, "returned a float for"),
        (lambda archive, proposals: [1.0], "returned 1 values for 8 children: it must be one number for each"),
        (lambda archive, proposals: proposals.clear(), "raised AttributeError: 'tuple' object has no attribute"),
        (lambda archive, proposals: 1 / 0, "raised ZeroDivisionError"),
        (lambda archive, proposals: (1 / 0 for _ in proposals), "raised ZeroDivisionError"),
    ],
)
def test_a_screen_that_misbehaves_is_named(archive, answer, message):
    strategy = screened(SimpleNamespace(preferences=answer))
    with pytest.raises(PluginError, match=r"screen 'mine' of plugin") as caught:
        strategy.propose(archive, np.random.default_rng(0))
    assert message in str(caught.value)


def test_a_screen_is_not_asked_of_nobody(archive):
    normalising = SimpleNamespace(preferences=lambda archive, proposals: [1.0 / max(map(id, proposals))])
    exhausted = SimpleNamespace(round=2, epochs=4, propose=lambda *_: [])
    strategy = replace(screened(normalising), wrapped=exhausted)
    assert strategy.propose(archive, np.random.default_rng(0)) == []


def test_what_a_screen_expects_is_kept_where_it_prefers_for_more_than_that(archive):
    asked = []

    def expectations(archive, proposals):
        asked.append([one.rewrite.child for one in proposals])
        return [-float(len(one.rewrite.child.stages[0])) for one in proposals]

    longest = preferring(lambda child: len(child.stages[0]))
    plain = screened(longest).propose(archive, np.random.default_rng(5))
    told = screened(SimpleNamespace(preferences=longest.preferences, expectations=expectations)).propose(
        archive, np.random.default_rng(5)
    )
    assert [one.rewrite.child for one in told] == [one.rewrite.child for one in plain]
    assert [one.preference for one in told] == [-one.preference for one in plain]
    assert len(asked) == 1, "of all that were drawn, with the preferences"
    assert {one.rewrite.child for one in told} < set(asked[0])
    wrong = SimpleNamespace(
        preferences=longest.preferences, expectations=lambda archive, proposals: [None] * len(proposals)
    )
    with pytest.raises(PluginError, match="returned what is no number for b@8"):
        screened(wrong).propose(archive, np.random.default_rng(5))


def test_the_built_in_screen_expects_what_it_predicts_and_no_hope(drive):
    run = drive(run_settings(ranking="prediction"), Scripted([(0, 2), (0, 2)]), scores(child={3: 0.9, 4: 0.1}))
    for _ in range(3):
        run.round()
    children = Scripted([(3, 2), (4, 2)]).made(run.archive, [(3, 2), (4, 2)])
    plain, optimist = (PredictionScreen(PredictionScreenSettings(optimism=some), SPACE) for some in (0.0, 2.0))
    expected = optimist.expectations(run.archive, children)
    assert expected == plain.expectations(run.archive, children) == plain.preferences(run.archive, children)
    assert all(map(float.__lt__, expected, optimist.preferences(run.archive, children)))


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
    assert resolve({"screen": {"draws": 3}, "strategy": RANDOM}).screen == PredictionScreenSettings(draws=3)
    for text in ("of its own", 3, ["prediction"]):
        with pytest.raises(ConfigError, match="screen"):
            resolve({"screen": text})
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


# The screen that a strategy comes with


RANDOM = {"name": "random"}
OWN = {"name": "prediction", "draws": 32, "optimism": 1.0}
SEARCH = {"task": {"name": "null"}, "executor": {"name": "inline"}, "final": {"seeds": 0}, "budget": {"candidates": 2}}


def quiet(*_):
    """Whoever is told of reading the data."""


@pytest.mark.parametrize(
    ("values", "screen"),
    [
        ({}, OWN),
        ({"screen": "own"}, OWN),
        ({"screen": {"draws": 5}}, {**OWN, "draws": 5}),
        ({"screen": {"name": "surrogate"}}, {"name": "surrogate", "draws": 4}),
        ({"screen": "none"}, "none"),
        ({"strategy": RANDOM}, "none"),
        ({"strategy": RANDOM, "screen": "own"}, "none"),
        ({"strategy": RANDOM, "screen": {"draws": 5}}, {"name": "prediction", "draws": 5, "optimism": 0.0}),
        ({"strategy": {"name": "full"}}, "none"),
    ],
)
def test_a_search_has_its_strategys_screen_unless_the_settings_say(tmp_path, values, screen):
    with start_run(tmp_path / "run", {**SEARCH, **values}, quiet) as run:
        assert isinstance(run.strategy, ScreenedStrategy) == (screen != "none")
    assert read_toml(tmp_path / "run" / "run.toml")["screen"] == screen
    with resume_run(tmp_path / "run", quiet) as run:
        assert isinstance(run.strategy, ScreenedStrategy) == (screen != "none")


@pytest.mark.parametrize("strategy", [{"name": "serial"}, {"name": "phases", "phases": [{"name": "serial"}]}])
def test_what_has_begun_goes_on_as_it_was(tmp_path, strategy):
    """As runs and series from before strategies had screens, and serial explored."""
    given = {**SEARCH, "strategy": strategy, "screen": "none"}
    with start_run(tmp_path / "run", given, quiet) as run:
        told = serial_settings(run)
    with resume_run(tmp_path / "run", quiet) as run:
        assert serial_settings(run) == told == ("auto", 3)
    start_series(tmp_path / "series", given, 1)
    for path in (tmp_path / "run" / "run.toml", tmp_path / "series" / "series.toml"):
        values = read_toml(path)
        del values["screen"]
        if "explore" in values["strategy"]:
            del values["strategy"]["explore"]
            values["strategy"]["max_mutations"] = 1
        write_toml(values, path)
    with resume_run(tmp_path / "run", quiet) as run:
        assert serial_settings(run) == (0, 1)
    for _, run in resume_series(tmp_path / "series").open(quiet):
        with run:
            assert serial_settings(run) == (0, 1)


def serial_settings(run) -> tuple[float | str, int]:
    """``explore`` and ``max_mutations`` of a serial search, or of the first of several phases; without a screen."""
    assert type(run.strategy) is CheckedStrategy
    phases = getattr(run.strategy.wrapped, "phases", None)
    settings = (phases[0].strategy if phases else run.strategy.wrapped).settings
    return settings.explore, settings.max_mutations


def test_in_a_study_each_strategy_has_its_own_screen(tmp_path):
    (tmp_path / "plain.toml").write_text('screen = "none"\nstrategy = { explore = 0.0 }\n')
    names = ["serial", "hill-climb", str(tmp_path / "plain.toml")]
    for base in (SEARCH, over_preset(find_preset("demo"), SEARCH), resolve(SEARCH).as_dict()):
        arms = {arm.name: arm.values for arm in read_arms(names, base)}
        screens = {name: values["screen"] for name, values in arms.items()}
        assert screens == {"random": "none", "serial": OWN, "hill-climb": "none", "plain": "none"}
        assert (arms["serial"]["strategy"]["explore"], arms["plain"]["strategy"]["explore"]) == ("auto", 0.0)
    for screen in (OWN, {"name": "surrogate", "draws": 2}):  # the user's is for all
        arms = read_arms(["serial"], {**SEARCH, "screen": screen})
        assert [arm.values["screen"] for arm in arms] == [screen] * 2
        (warning,) = no_baselines(arms)
        assert warning.startswith(f"warning: random has the screen {screen['name']!r}, and so does not sample")
    assert no_baselines(read_arms(["serial"], SEARCH)) == ()


def test_a_presets_screen_is_changed_by_single_keys_or_left_out():
    paper = find_preset("paper-coco")
    serial = {"strategy": {"name": "serial"}}
    assert resolve(over_preset(paper, serial)).screen is None
    assert resolve(over_preset(paper, {**serial, "screen": {"draws": 5}})).screen.draws == 5
    assert resolve(over_preset(find_preset("demo"), {"screen": "none"})).screen is None
    assert resolve(over_preset(find_preset("demo"), {"strategy": RANDOM})).screen is None


def test_a_strategy_that_has_nothing_new_is_not_asked_for_the_rounds_that_are_left(archive):
    asked = []
    exhausted = SimpleNamespace(round=2, epochs=4, propose=lambda *_: asked.append(1) or [])
    strategy = replace(screened(preferring(lambda child: 1.0), draws=32), wrapped=exhausted)
    assert strategy.propose(archive, np.random.default_rng(0)) == []
    assert asked == [1]


ROUNDS = [
    {"name": "random", "candidates": 3, "round": 2},
    {"name": "serial", "candidates": 5, "round": 2},
    {"name": "random", "candidates": 6, "round": 6},
]
SERIAL = {"reignition": {"most": 0}}


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ({"name": "phases", "phases": ROUNDS}, [[0, 0], [0], [1, 1], [1, 1], [1], [2] * 6]),
        (
            {"name": "full", "serial": SERIAL, "serial_candidates": 3, "parallel_candidates": 3},
            [[0, 0], [0], [1, 1], [1]],
        ),
    ],
)
@pytest.mark.parametrize("screen", ["none", {"name": "prediction", "draws": 8}])
def test_each_phase_keeps_its_rounds_and_candidates_whatever_the_screen(tmp_path, strategy, expected, screen):
    settings = SEARCH | {"strategy": strategy, "screen": screen, "budget": {"candidates": 30}, "noise_seeds": 2}
    with spnas_search.search(**settings, out=tmp_path / "run") as run:
        rounds: dict[int, list[int]] = {}
        for child in run.archive.of_kind("child"):
            rounds.setdefault(child.round, []).append(child.strategy)
    assert list(rounds.values()) == expected


def test_a_phase_that_once_finds_nothing_shares_no_round_with_the_next_one(archive):
    """Its third draw is empty, by chance, and all children of the next phase would be preferred."""
    first, asked = Serial(SerialSettings(round=2), SPACE), []

    def propose(archive, rng):
        asked.append(1)
        return [] if len(asked) == 3 else first.propose(archive, rng)

    by_chance = SimpleNamespace(round=2, epochs=4, propose=propose, stuck=lambda _: None)
    later = RandomSearch(RandomSettings(round=9), SPACE)
    whole = Phases([Phase("serial", by_chance, None), Phase("random", later, None)], SerialSettings())
    strategy = ScreenedStrategy("phases", whole, SPACE, preferring(lambda child: len(child.digits)), "mine", 8)
    proposed = strategy.propose(archive, np.random.default_rng(0))
    assert [one.strategy for one in proposed] == [0, 0]
    assert len(asked) == 3, "what has nothing new is not asked again"


@pytest.mark.parametrize(
    ("room", "message"),
    [
        (lambda archive, number: 0, "has room for 0 children in a round: it must be 1 or more"),
        (lambda archive, number: "some", "room is 'some': it must be a whole number"),
        (lambda archive, number: 1 / 0, "raised ZeroDivisionError: division by zero in room"),
    ],
)
def test_a_strategy_that_has_no_room_for_what_it_proposes_is_named(archive, room, message):
    first = Serial(SerialSettings(round=2), SPACE)
    wrapped = SimpleNamespace(round=2, epochs=4, propose=first.propose, room=room)
    strategy = replace(screened(preferring(lambda child: 1.0)), wrapped=wrapped)
    with pytest.raises(PluginError, match=r"strategy 'serial' of plugin") as caught:
        strategy.propose(archive, np.random.default_rng(0))
    assert message in str(caught.value)


def test_a_search_that_explores_ends_when_nothing_is_left_and_not_by_chance(tmp_path):
    space = {"max_blocks": 8, "max_stages": 4, "max_multiply_adds": "none"}
    strategy = {"name": "serial", "pool": 1, "max_mutations": 1, "max_redraws": 60, "n_stuck": 1000, "explore": 0.5}
    settings = SEARCH | {"space": space, "strategy": strategy, "screen": {"draws": 2}, "budget": {"candidates": 99}}
    with spnas_search.search(**settings, seed=2, out=tmp_path / "run") as run:
        assert len({child.architecture for child in run.archive.of_kind("child")}) == 34  # all there are, but the start


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


def test_only_children_of_one_age_are_compared():
    """Predictions and scores that rise with age say nothing; here all are in order within their age, or alone in it."""
    children = [
        SimpleNamespace(age=age, fidelity=Fidelity(1), preference=preference, score=score)
        for age, preference, score in (
            (8, 1, 0.1), (8, 2, 0.2), (8, 3, 0.3), (9, 11, 0.02), (9, 12, 0.03), (9, 13, 0.04), (16, 7, 0.9),
        )
    ]  # fmt: skip
    archive = SimpleNamespace(of_kind=lambda _: children, score=lambda child: child.score)
    (said,) = screen_sentences(archive)
    assert said == (
        "What was said of 6 children before their training, when they were chosen, and their scores have a rank "
        "correlation of +1.000, compared within 2 ages (p 0.056 for none)."
    )


def test_scores_that_are_all_equal_at_their_age_rank_nothing(tmp_path):
    task = {"name": "null", "noise": 0, "differences": 0}
    settings = {"task": task, "executor": {"name": "inline"}, "final": {"finalists": 0, "seeds": 0}}
    with spnas_search.search(**settings, budget=30, out=tmp_path / "run") as run:
        assert len({child.age for child in run.archive.of_kind("child")}) > 1
        text = " ".join(part for part in summary(run) if isinstance(part, str))
    assert "How well children were ranked before their training cannot be told from 30 of them." in text
