"""The winner of a search, trained for use: what that training begins with, and what is kept of it."""

import pytest
from driving import Scripted, run_settings, scores
from reported import shown
from whole_search import searched

from spnas_core.errors import ConfigError
from spnas_search.driver.failures import beyond_hope
from spnas_search.reports import summary
from spnas_search.run import resume_run
from spnas_search.starting_points import resolve_candidate


def trained(run) -> list:
    return [one for one in run.archive if one.phase == "training"]


def test_the_whole_search_ends_with_a_trained_winner(tmp_path):
    with searched(tmp_path) as whole:
        archive = whole.archive
        (last,) = trained(whole)
        assert archive[len(archive) - 1] == last == archive.trained_winner
        assert (last.kind, last.split, last.subject) == ("trained", "test", archive.winner.id)
        assert last.architecture == archive.winner.architecture
        assert last.source == last.parent == archive.winner.id
        assert last.epochs == whole.settings.run.warm_start_epochs
        assert last.age == archive.winner.age + last.epochs
        assert whole.weights.verify(last.id, last.checksum)
        assert resolve_candidate(str(whole.folder)).weights == whole.weights.path(last.id)
        text = shown(*summary(whole))
        score = last.metrics["score"]
        assert f"trained for use, 14 epochs from the weights that the search has left: {score:.3f} score" in text
        assert f"weights/{last.id}.safetensors (the winner's weights)" in text


def test_the_winner_may_be_trained_from_fresh_weights_by_any_strategy(tmp_path):
    final = {"seeds": 0, "train_epochs": 9, "train_fresh": True}
    with searched(tmp_path, strategy="serial", budget={"candidates": 3}, final=final) as run:
        (last,) = trained(run)
        assert (last.parent, last.source, last.age, last.subject) == (None, None, 9, run.archive.winner.id)
        assert "trained for use, 9 epochs from fresh weights" in shown(*summary(run))
        assert run.archive.epochs == sum(one.epochs for one in run.archive if one is not last)
    with resume_run(run.folder, lambda *_: None) as again:
        assert again.archive.trained_winner == last


def test_other_searches_train_no_winner_unless_they_are_told_to(tmp_path):
    with searched(tmp_path, strategy="serial", budget={"candidates": 2}, final={"seeds": 0}) as run:
        assert trained(run) == []
        assert run.archive.trained_winner is None
    with pytest.raises(ConfigError, match=r"this search does not train it: say for how many epochs by final\.train"):
        searched(tmp_path / "fresh", strategy="serial", final={"train_fresh": True})


def test_a_winner_whose_training_fails_is_tried_again(drive):
    settings = run_settings(seeds=0, train_epochs=5)
    run = drive(settings, Scripted([(0, 2)]), scores(child=0.9, trained=None))
    while beyond_hope(run.archive) is None:
        run.round()
    assert run.phases[-3:] == ["training"] * 3
    assert run.phases.count("training") == 3
    run.evaluate = scores()
    run.round()
    assert run.round() is None
    assert run.archive.trained_winner == run.archive[len(run.archive) - 1]
