"""Scores that are undefined or not comparable: of rungs, of what is weighed, and of what other code computed."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from driving import SCORE, SPACE, START, Drive, Expand, Scripted, run_settings

import spnas_search
from spnas_core.errors import ConfigError
from spnas_core.morphisms import identity
from spnas_core.tasks import Evaluation, Fidelity
from spnas_search.archive import Archive, Proposal
from spnas_search.driver import SearchStoppedError
from spnas_search.run.identity import Identity, computed_with, keep_former
from spnas_search.run.known_trainings import _asked
from spnas_search.screens import ScreenedStrategy
from spnas_search.settings import RunSettings
from spnas_search.strategies import (
    CheckedStrategy,
    FullSettings,
    PhasesSettings,
    Serial,
    SerialSettings,
    any_phases,
    full,
)
from spnas_search.testing.null_task import NullTask


def driven(folder, settings, script, evaluate):
    folder.mkdir(exist_ok=True)
    archive = Archive.create(
        folder / "archive.db", objective=SCORE, run_seed=0, ranking=settings.ranking, inherit=settings.inherit
    )
    Drive(archive, settings, script, evaluate).to_the_end()
    return archive


@pytest.mark.parametrize("rule", ["prediction", "traits"])
def test_a_rung_has_the_start_at_its_age(tmp_path, rule):
    """Else its score says nothing, however good it is."""
    leads = []
    for top in (0.1, 0.9):

        def score(one, top=top):
            is_it = one.kind == "rung" and one.subject == 5
            return {"score": top if is_it else 0.5 + {1: 0.01, 2: -0.01}.get(one.id, 0), "loss": 0.0}

        settings = run_settings(ranking=rule, candidates=2, seeds=0, rungs={"epochs": [3], "chance": 0.01})
        with driven(tmp_path / str(top), settings, Scripted([(0, 2), (0, 5)]), score) as archive:
            ages = {one.age for one in archive.of_kind("rung") if one.subject == 5}
            assert ages <= {one.age for one in archive.evaluations(0)}
            leads.append(archive.lead(archive[5]))
    assert leads[0] < leads[1] - 0.1


def test_a_rung_without_a_score_is_nobodys_weights(tmp_path):
    def score(one):
        undefined = one.kind == "rung" and one.subject
        return {
            "score": math.nan if undefined else 0.9 if one.kind == "child" else 0.5 + 0.01 * (one.id % 2),
            "loss": 0,
        }

    settings = run_settings(ranking="prediction", candidates=3, seeds=0, rungs={"epochs": [3], "chance": 0.01})
    with driven(tmp_path, settings, Scripted([(0, 2)], [(0, 2)], [(3, 2)]), score) as archive:
        assert any(one.kind == "rung" and one.subject == 3 for one in archive)
        assert archive.trained(archive[3]).kind == "child"
        assert "rung" not in {archive[child.source].kind for child in archive.of_kind("child")}


def test_what_cannot_be_measured_is_not_weighed(tmp_path, monkeypatch):
    evaluate = NullTask.evaluate

    def without_loss(task, request, report):
        found = evaluate(task, request, report)
        return replace(found, metrics={**found.metrics, "loss": math.nan})

    monkeypatch.setattr(NullTask, "evaluate", without_loss)
    settings = {"task": "null", "executor": {"name": "inline"}, "budget": 4, "noise_seeds": 2, "pareto": ["loss"]}
    with pytest.raises(SearchStoppedError, match="the start's loss is undefined, so nothing can be weighed by it"):
        spnas_search.search(**settings, out=tmp_path / "run")


def test_what_other_code_has_computed_meanwhile_is_not_the_formers(tmp_path):
    """Workers end out of order, and whatever has failed is tried again by the new code."""
    with Archive.create(tmp_path / "archive.db", objective=SCORE, run_seed=0) as archive:

        def finish(number):
            archive.finish(number, Evaluation({"score": 0.5}, {}), None)

        archive.commit_round([Proposal("start", None, identity(START), Fidelity(1))], threads=1)
        finish(0)
        children = [Proposal("child", 0, rewrite, Fidelity(1)) for rewrite in Expand().options(START)[:3]]
        archive.commit_round(children, threads=1)
        finish(2)
        finish(3)
        archive.remember("versions", "{}")
        archive.remember("code", json.dumps({"mine": "old"}))
        keep_former(archive, Identity({}, "", "", "", {}, {"mine": "new"}))
        archive.remember("code", json.dumps({"mine": "new"}))
        finish(1)
        codes = [computed_with(archive, number)["code"] for number in range(5)]
        assert codes == [{"mine": name} for name in ("old", "new", "old", "old", "new")]


def test_what_is_tried_again_by_later_code_is_that_codes_whatever_its_number(tmp_path):
    """Between two resumed sessions of the new code, so that nothing has changed when it goes on."""
    old, new = ({"mine": name} for name in ("old", "new"))
    with Archive.create(tmp_path / "archive.db", objective=SCORE, run_seed=0) as archive:
        archive.commit_round([Proposal("start", None, identity(START), Fidelity(1))], threads=1)
        archive.finish(0, Evaluation({"score": 0.5}, {}), None)
        children = [Proposal("child", 0, rewrite, Fidelity(1)) for rewrite in Expand().options(START)[:2]]
        archive.commit_round(children, threads=1)
        archive.finish(1, Evaluation({"score": 0.5}, {}), None)
        archive.fail(2, "out of memory")
        archive.remember("versions", "{}")
        archive.remember("code", json.dumps(old))
        assert keep_former(archive, Identity({}, "", "", "", {}, new)) == ["mine"]
        archive.remember("code", json.dumps(new))
        archive.retry([2])
        assert keep_former(archive, Identity({}, "", "", "", {}, new)) == []
        archive.finish(2, Evaluation({"score": 0.5}, {}), None)
        assert [computed_with(archive, number)["code"] for number in range(3)] == [old, old, new]


@pytest.mark.parametrize("rule", ["gains", "lead"])
def test_scoring_finalists_again_decides_by_whatever_rule(tmp_path, rule):
    """The first child was lucky once; the second one is as good each time."""
    scores = {("child", 3): 0.9, ("child", 4): 0.8, ("replicate", 3): 0.1, ("replicate", 4): 0.8}

    def score(one):
        noise = 0.5 + 0.01 * (-1) ** one.id if one.kind == "control" else 0.5
        return {"score": scores.get((one.kind, one.subject), noise), "loss": 0.0}

    settings = run_settings(ranking=rule, candidates=2, finalists=2, rescores=2, seeds=0)
    with driven(tmp_path, settings, Scripted([(0, 2), (0, 2)]), score) as archive:
        assert len(archive.rescores(archive[3])) == 2
        assert archive.winner.id == 4


@pytest.mark.parametrize("draws", [1, 32])
def test_no_more_than_are_owed_descend_from_a_reignition_in_a_round_of_theirs(tmp_path, draws):
    strategy = {"name": "serial", "n_stuck": 4, "round": 4, "reignition": {"most": 1, "n_after": 1}}
    settings = {"inherit": "warm-start", "executor": {"name": "inline"}, "task": {"name": "null", "noise": 0.02}}
    screen = {"name": "prediction", "draws": draws}
    with spnas_search.search(
        **settings,
        strategy=strategy,
        screen=screen,
        final={"seeds": 0, "finalists": 0},
        budget=16,
        out=tmp_path / "run",
    ) as run:
        (reignited,) = run.archive.of_kind("reignition")
        behind = [child for child in run.archive.of_kind("child") if child.id > reignited.id]
        assert behind
        first = [child for child in behind if child.round == behind[0].round]
        assert [child.parent for child in first] == [reignited.id]


def test_epochs_of_strategies_inside_a_strategy_are_looked_at():
    """What is left out there, too: four epochs of a child."""
    tables = ({"name": "random", "candidates": 2}, {"name": "serial", "epochs": 3, "swap_epochs": 6})
    for name, built, expected in (
        (
            "phases",
            any_phases(PhasesSettings(phases=tables), SPACE),
            [("strategy.phases.0.epochs", 4), ("strategy.phases.1.epochs", 3), ("strategy.phases.1.swap_epochs", 6)],
        ),
        (
            "full",
            full(FullSettings(serial={"epochs": 3}), SPACE),
            [("strategy.serial.epochs", 3), ("strategy.parallel.epochs", 4)],
        ),
        ("serial", Serial(SerialSettings(epochs=3), SPACE), [("strategy.epochs", 3)]),
    ):
        strategy = CheckedStrategy(name, built, SPACE)
        assert list(_asked(RunSettings(), strategy, 0)) == expected


def test_gains_and_reignitions_from_warm_starts_are_refused(tmp_path):
    settings = {
        "task": "null",
        "executor": {"name": "inline"},
        "inherit": "warm-start",
        "ranking": "gains",
        "budget": 2,
    }
    settings["strategy"] = {"name": "serial", "reignition": {"most": 1}}
    with pytest.raises(ConfigError, match="a reignition is older than its control"):
        spnas_search.search(**settings, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_round_is_whole_where_nothing_was_reignited(tmp_path):
    with Archive.create(tmp_path / "archive.db", objective=SCORE, run_seed=0) as archive:
        archive.commit_round([Proposal("start", None, identity(START), Fidelity(1))], threads=1)
        archive.finish(0, Evaluation({"score": 0.5}, {}), None)
        strategy = Serial(SerialSettings(round=3), SPACE)
        screened = ScreenedStrategy("serial", strategy, SPACE, Even(), "even", 2)
        assert len(screened.propose(archive, np.random.default_rng(0))) == 3


class Even:
    """A screen that prefers nothing."""

    def preferences(self, archive, proposals):
        return [0.0] * len(proposals)
