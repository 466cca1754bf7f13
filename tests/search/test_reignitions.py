"""What was pretrained anew among others: it wins nothing, its children are its own, and its weights stay for them."""

import pytest
from whole_search import FULL, searched

import spnas_search
from spnas_search.driver.rungs import chance
from spnas_search.driver.verdict_rounds import finalist_proposals
from spnas_search.driver.weights import needed_weights
from spnas_search.settings import RunSettings
from spnas_search.studies.searches.found import look_at


def test_a_reignition_is_no_winner_and_children_are_behind_what_may_win(tmp_path):
    """Its code is its parent's: what a verdict would call better were pretrained weights. A study ranks none."""
    winners = set()
    for seed in (6, 12, 44, 72):  # among the first ninety, those in which a reignition leads, whoever is second
        with spnas_search.search(
            task={"name": "null", "noise": 0.3, "differences": 0.0},
            executor={"name": "inline"},
            budget=6,
            strategy={"name": "serial", "n_stuck": 2, "reignition": {"most": 1}},
            ranking="lead",
            warm_start_epochs=2,
            seed=seed,
            final={"rescores": 0, "seeds": 0},
            out=tmp_path / str(seed),
        ) as run:
            archive, winner = run.archive, run.archive.winner
            assert archive.best(1)[0].kind == "reignition"
            winners.add(winner.kind)
            assert archive.behind(winner)[0] == 0
            assert chance(archive, winner) == 1
            is_over = winner.kind == "start"
            assert (finalist_proposals(archive, RunSettings()) == ()) == is_over, "no child is better than the start"
            codes = [code for code, _ in look_at(archive, "a", 0, 99, run.space, 0).ranked]
            assert len(codes) == len(set(codes))
    assert winners == {"start", "child"}


def test_a_round_of_heirs_has_no_others_among_which_a_screen_might_choose(tmp_path):
    reignition = {"most": 1, "pretrain_epochs": 1, "n_after": 1}
    table = FULL | {"serial": {"n_stuck": 99, "reignition": reignition}, "serial_candidates": 6}
    table["parallel"] = {"n_stuck": 99, "round": 2}
    for seed in range(4):
        screen = {"name": "surrogate", "draws": 8}
        with searched(tmp_path / str(seed), strategy=table, screen=screen, seed=seed) as run:
            (reignition,) = run.archive.of_kind("reignition")
            first, *_ = run.archive.children_of(2)
            assert first.parent == reignition.id


@pytest.mark.parametrize("seed", [2, 3])
def test_weights_that_children_of_a_reignition_begin_with_are_kept_in_later_phases(tmp_path, seed):
    """By ``inherit = "warm-start"`` these are not their parents'; another strategy does not know of the reignition."""
    serial = {"name": "serial", "candidates": 12, "n_stuck": 1, "max_mutations": 1}
    serial["reignition"] = {"most": 1, "n_after": 6}
    phases = [serial, {"name": "regularized-evolution", "initial": 0, "population": 10}]
    with spnas_search.search(
        task={"name": "null", "noise": 0.001},
        executor={"name": "inline"},
        inherit="warm-start",
        seed=seed,
        out=tmp_path / "run",
        budget=90,
        final={"seeds": 0, "finalists": 0},
        strategy={"name": "phases", "phases": phases},
    ) as run:
        (reignition,) = run.archive.of_kind("reignition")
        begun_with = {run.archive.source_of_child(parent) for parent in run.strategy.may_use(run.archive)}
        assert reignition.id in begun_with
        assert begun_with <= needed_weights(run)


def test_a_reignition_that_is_older_than_the_controls_of_its_parent_has_no_gain(tmp_path):
    values = {"task": {"name": "null"}, "executor": {"name": "inline"}, "ranking": "lead", "final": {"seeds": 0}}
    found = 0
    for seed in range(6):
        with spnas_search.search(
            **values,
            inherit="warm-start",
            seed=seed,
            strategy={"name": "serial", "n_stuck": 2, "reignition": {"most": 1}},
            budget=8,
            out=tmp_path / str(seed),
        ) as run:
            for one in run.archive.of_kind("reignition"):
                controls = run.archive.controls(one.parent, one.fidelity)
                alike = [control for control in controls if control.age == one.age and control.status == "done"]
                assert (run.archive.gain(one) is None) == (not alike)
                found += bool(controls) and not alike
    assert found
