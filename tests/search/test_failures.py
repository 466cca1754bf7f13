"""Which failures in a row end a search, and which are results."""

import math
from dataclasses import replace

import pytest
from driving import Scripted, run_settings, scores

import spnas_search
from spnas_core.tasks import Evaluation
from spnas_search.driver import SearchStoppedError
from spnas_search.driver.rounds import Round
from spnas_search.testing import NullTask

CHILDREN = 12
BASE = {"executor": {"name": "inline"}, "final": {"seeds": 0, "finalists": 0}, "noise_seeds": 2}


def searched(folder, behaviour, **values):
    task = {"name": "null", "behaviour": behaviour}
    return spnas_search.search(**{**BASE, "task": task, "budget": CHILDREN, "out": folder / "run", **values})


def test_once_a_child_has_a_result_a_candidates_own_failures_are_results(tmp_path):
    with searched(tmp_path, dict.fromkeys(range(7, 14), "diverge")) as run:
        failed = [one for one in run.archive.of_kind("child") if one.status == "failed"]
        assert run.archive.children == CHILDREN
        assert len(failed) >= 5


def test_a_mistake_in_the_code_ends_a_search_however_late_it_comes(tmp_path):
    with pytest.raises(SearchStoppedError, match="3 evaluations in a row failed alike: RuntimeError: the null task"):
        searched(tmp_path, dict.fromkeys(range(7, 14), "raise"))


def test_results_that_are_not_plain_end_a_search_however_late_they_come(tmp_path, monkeypatch):
    def evaluate(task, request, report):
        return replace(plain(task, request, report), seconds=math.nan if request.candidate >= 7 else 0.0)

    plain = NullTask.evaluate
    monkeypatch.setattr(NullTask, "evaluate", evaluate)
    said = "3 evaluations in a row failed alike: the task returned seconds = nan"
    with pytest.raises(SearchStoppedError, match=said):
        searched(tmp_path, {})


def test_what_no_child_has_got_through_yet_may_be_the_set_up(tmp_path):
    with pytest.raises(SearchStoppedError, match="3 evaluations in a row failed alike: the loss is NaN after epoch 1"):
        searched(tmp_path, dict.fromkeys(range(3, 14), "diverge"))


def test_noise_that_is_measured_more_often_than_was_asked_for_is_enough(drive):
    """A control fails, another takes its place, and 'spnas retry' then gives the failed one a score, too."""
    run = drive(run_settings(), Scripted([(0, 2)]), scores(control={1: None}))
    for _ in range(3):
        run.round()
    run.archive.retry([1])
    run.archive.finish(1, Evaluation({"score": 0.5, "loss": -0.5}, {"multiply_adds": 1.0}), None)
    assert [one.kind for one in run.round()] == ["child"]


def test_a_round_without_evaluations_is_none():
    with pytest.raises(ValueError, match="has no evaluations"):
        Round("noise", ())
