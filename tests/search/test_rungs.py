"""Promising children are trained on, the others are stopped early, and the start is compared with them at every age."""

import pytest
from driving import Scripted, run_settings, scores
from scipy import stats

import spnas_search
from spnas_core.errors import ConfigError
from spnas_search.archive import Archive
from spnas_search.driver import next_round
from spnas_search.driver.rungs import chance
from spnas_search.monitors import Silent
from spnas_search.settings import RungSettings
from spnas_search.starting_points import starting_point

CHILDREN, NOISE = {3: 0.9, 4: 0.1}, {1: 0.49, 2: 0.51}
GOOD_AND_BAD = scores(child=CHILDREN, rung={5: 0.5, 6: 0.95, 7: 0.5, 8: 0.97}, control=NOISE)
PAIR = [(0, 2), (0, 2)]


def searched(drive, script, evaluate, **values):
    rungs = {"epochs": [3, 5], "chance": 0.2}
    run = drive(run_settings(ranking="prediction", rungs=rungs, **values), script, evaluate)
    return run, run.to_the_end()


@pytest.mark.parametrize("inherit", ["parent", "warm-start", "none"])
def test_what_may_still_turn_out_best_is_trained_on_and_the_rest_is_stopped(drive, inherit):
    run, rounds = searched(drive, Scripted(PAIR), GOOD_AND_BAD, inherit=inherit)
    first = 0 if inherit == "none" else 1  # the start's own first training at a child's fidelity
    assert rounds[3:5] == [
        [("rung", first, 3), ("rung", 3, 3)],
        [("rung", 5, 5), ("rung", 6, 5)],
    ]
    archive = run.archive
    rungs = archive.of_kind("rung")
    assert [(one.subject, one.fidelity.rung) for one in rungs] == [(0, 1), (3, 1), (0, 2), (3, 2)]
    assert [one.source for one in rungs] == [first, 3, 5, 6]
    warm = 0 if inherit == "none" else 4
    assert [one.age for one in rungs] == [warm + 5, warm + 5, warm + 10, warm + 10]
    assert archive.trained(archive[3]).id == 8
    assert archive.trained(archive[4]).id == 4
    assert archive.winner.id == 3
    assert run.phases[:5] == ["start", "noise", "search", "search", "search"]


def test_no_rung_begins_when_the_hours_are_over(drive):
    rungs = {"epochs": [3, 5], "chance": 0.2}
    run = drive(run_settings(ranking="prediction", rungs=rungs, hours=1.0, candidates=9), Scripted(PAIR), GOOD_AND_BAD)
    while run.archive.children < len(PAIR):
        run.round()
    decided = [next_round(run.archive, run.settings, run.strategy, out_of_time=late) for late in (False, True)]
    assert {proposal.kind for proposal in decided[0].proposals} == {"rung"}
    assert decided[1].phase != "search"


def test_children_inherit_from_the_newest_rung(drive):
    run, _ = searched(drive, Scripted(PAIR, [(3, 2)], [(3, 2)]), GOOD_AND_BAD, candidates=4)
    archive = run.archive
    first, second = archive.of_kind("child")[2:]
    assert (first.parent, first.source) == (3, 3)
    assert second.parent == 3
    assert archive[second.source].kind == "rung"
    assert second.age == archive[second.source].age + 2
    assert archive.rewrite_from_source(second) == second.rewrite


def test_the_verdict_trains_both_to_the_winners_whole_age(drive):
    run, _ = searched(drive, Scripted(PAIR), GOOD_AND_BAD)
    archive = run.archive
    branches = [one for one in archive.of_kind("final") if one.epochs]
    assert {one.epochs for one in branches} == {archive[8].age - archive.start.age}
    kept = next(one for one in archive.of_kind("final") if one.subject == 3 and not one.epochs)
    assert kept.parent == 8


def test_rungs_count_against_the_budget_of_epochs(drive):
    run, _ = searched(drive, Scripted(PAIR), GOOD_AND_BAD, candidates=None, budget_epochs=20)
    assert run.archive.epochs <= 20
    assert len(run.archive.of_kind("rung")) == 2


def test_a_rung_that_failed_is_not_tried_again(drive):
    run, rounds = searched(drive, Scripted(PAIR), scores(child=CHILDREN, rung=None, control=NOISE))
    with_rungs = [entered for entered in rounds if any(kind == "rung" for kind, *_ in entered)]
    assert with_rungs == [[("rung", 1, 3), ("rung", 3, 3)]]
    assert run.archive.winner.id == 3


def test_a_chance_is_that_of_the_difference(drive):
    run = drive(run_settings(ranking="prediction"), Scripted(PAIR), GOOD_AND_BAD)
    for _ in range(3):
        run.round()
    archive = run.archive
    best = archive.best(1)[0]
    assert chance(archive, best) == 1.0
    gap, error = archive.behind(archive[4])
    assert gap == archive.lead(best) - archive.lead(archive[4])
    assert error == pytest.approx(archive.difference_error(best, archive[4]))
    assert chance(archive, archive[4]) == pytest.approx(1 - stats.norm.cdf(gap / error), abs=1e-12)
    assert chance(archive, archive[4]) < 0.2
    assert not archive.tied(best)
    assert RungSettings().epochs == ()


def test_rungs_need_a_rule_without_controls(tmp_path):
    settings = {"task": "null", "executor": {"name": "inline"}, "rungs": {"epochs": [2]}, "ranking": "gains"}
    with pytest.raises(ConfigError, match=r"rungs\.epochs are \[2\], and the ranking rule 'gains'"):
        spnas_search.search(**settings, budget=4, out=tmp_path / "run")


def test_a_whole_search_with_rungs_and_its_winners_weights(tmp_path):
    settings = {"task": {"name": "null", "noise": 0.02}, "executor": {"name": "inline"}, "rungs": {"epochs": [2, 4]}}
    with spnas_search.search(**settings, budget=8, out=tmp_path / "run") as run:
        winner, trained = run.archive.winner, run.archive.trained(run.archive.winner)
        assert run.archive.of_kind("rung")
        assert run.weights.path(trained.id).exists()
    assert starting_point(str(tmp_path / "run"))["init"].endswith(f"{trained.id}.safetensors")
    with Archive.open(tmp_path / "run" / "archive.db") as archive:
        assert archive.trained(archive[winner.id]) == trained


@pytest.mark.parametrize("inherit", ["parent", "warm-start", "none"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_weights_that_rungs_go_on_from_are_there(tmp_path, inherit, asynchronous):
    """Whatever the noise: of 60 children that differ by luck alone nearly all may still turn out best."""

    class Listening(Silent):
        said: tuple[str, ...] = ()

        def message(self, text: str) -> None:
            self.said += (text,)

    settings = {
        "task": {"name": "null", "noise": 0.5},
        "executor": {"name": "inline"},
        "rungs": {"epochs": [2, 2], "chance": 0.05},
        "final": {"finalists": 1, "seeds": 2},
        "strategy": {"name": "serial", "round": 40, "epochs": 2},
        "asynchronous": asynchronous,
    }
    listening = Listening()
    given = {**settings, "inherit": inherit, "monitor": listening, "budget": 60}
    with spnas_search.search(**given, out=tmp_path / "run") as run:
        assert len(run.archive.of_kind("rung")) > 20
    assert [text for text in listening.said if "evaluating it again" in text] == []


@pytest.mark.parametrize("inherit", ["parent", "warm-start", "none"])
def test_the_start_is_scored_at_the_age_of_a_rung_though_its_own_rung_has_failed(drive, inherit):
    evaluate = scores(child=CHILDREN, rung={5: None, 6: 0.95, 8: 0.9}, control=NOISE)
    run, rounds = searched(drive, Scripted(PAIR), evaluate, inherit=inherit)
    archive = run.archive
    assert archive[6].kind == "rung"
    ages = {one.age for one in archive.evaluations(0) if one.status == "done" and one.split == "validation"}
    assert archive[6].age in ages
    assert any(kind == "control" for entered in rounds[4:] for kind, *_ in entered)
