"""What comes next, driven by hand: made-up scores, scripted children, and whole searches over the null task."""

import math
from itertools import groupby

import pytest
from driving import SPACE, START, Scripted, run_settings, scores

from spnas_core.morphisms import identity
from spnas_core.tasks import Evaluation, EvaluationRequest, Fidelity, Pretraining
from spnas_search.archive import Archive, Candidate, Proposal
from spnas_search.driver import outcome
from spnas_search.driver.ageing import oldest_start
from spnas_search.driver.failures import beyond_hope
from spnas_search.driver.rounds import why_ended
from spnas_search.driver.verdict_rounds import finalist_proposals, needed_for_end
from spnas_search.strategies import CheckedStrategy, Serial, SerialSettings
from spnas_search.testing import NullTask

SCRIPT = Scripted([(0, 2), (0, 3)], [(4, 2), (4, 2)])
"""Two children of the start, the second with other epochs than the noise controls; two children of the first."""

BETTER = scores(child={4: 0.6, 5: 0.5, 8: 0.7})
BEGIN = [[("start", None, 4)], [("control", 0, 2), ("control", 0, 2)]]


def test_a_whole_run_round_by_round(drive):
    run = drive(run_settings(), SCRIPT, BETTER)
    assert run.to_the_end() == [
        *BEGIN,
        [("control", 0, 3), ("child", 0, 2), ("child", 0, 3)],
        [("control", 4, 2), ("child", 4, 2), ("child", 4, 2)],
        [("warm", None, 4), ("warm", None, 4), ("final", 3, 0), ("final", 8, 0)],
        [("final", 9, 4), ("final", 9, 4), ("final", 10, 4), ("final", 10, 4)],
    ]
    assert run.phases == ["start", "noise", "search", "search", "verdict", "verdict"]
    assert [phase for phase, _ in groupby(candidate.phase for candidate in run.archive)] == [
        "start", "noise", "search", "verdict",
    ]  # fmt: skip
    assert run.archive[0].architecture == START
    assert run.archive.winner.id == 8
    assert {final.age for final in run.archive.of_kind("final") if final.epochs} == {8}


def test_predicted_merit_needs_no_controls_and_brings_the_start_to_the_childrens_ages(drive):
    script = Scripted([(0, 2), (0, 3)], [(4, 2), (4, 2)], [(7, 2)])
    run = drive(run_settings(ranking="prediction", candidates=5), script, scores())
    assert run.to_the_end()[2:5] == [
        [("control", 0, 3), ("child", 0, 2), ("child", 0, 3)],
        [("control", 1, 2), ("child", 4, 2), ("child", 4, 2)],
        [("control", 6, 2), ("child", 7, 2)],
    ]
    assert oldest_start(run.archive).age == 10
    assert run.archive.lineage(run.archive[9])[0].kind == "start"


def test_from_the_warm_start_all_children_are_of_one_age_and_inherit_by_composed_rewrites(drive):
    run = drive(run_settings(ranking="prediction", inherit="warm-start"), SCRIPT, BETTER)
    assert run.to_the_end()[2:4] == [
        [("control", 0, 3), ("child", 0, 2), ("child", 0, 3)],
        [("child", 4, 2), ("child", 4, 2)],
    ]
    children = run.archive.of_kind("child")
    assert {child.source for child in children} == {0}
    assert {child.age for child in children} == {6, 7}
    grandchild = children[2]
    composed = run.archive.rewrite_from_source(grandchild)
    assert (composed.parent, composed.child) == (START, grandchild.architecture)
    assert composed == run.archive[4].rewrite.then(grandchild.rewrite)


def test_from_fresh_weights_all_are_alike_and_the_warm_start_is_left_out(drive):
    run = drive(run_settings(ranking="prediction", inherit="none"), SCRIPT, BETTER)
    assert run.to_the_end() == [
        [("start", None, 2)],
        [("control", 0, 2), ("control", 0, 2)],
        [("control", 0, 3), ("child", 0, 2), ("child", 0, 3)],
        [("child", 4, 2), ("child", 4, 2)],
        [("final", None, 2), ("final", None, 2)] * 2,
    ]
    assert {candidate.source for candidate in run.archive} == {None}
    assert all(candidate.age == candidate.epochs for candidate in run.archive)
    assert run.archive.rewrite_from_source(run.archive[8]) == identity(run.archive[8].architecture)
    assert run.archive.spread().freedom == 2, "the start's own training is a replicate of its controls"


def test_only_finals_see_test_images(drive):
    run = drive(run_settings(seeds=3, rescores=2), SCRIPT, BETTER)
    run.to_the_end()
    assert {candidate.split for candidate in run.archive if candidate.kind != "final"} == {"validation"}
    finals = run.archive.of_kind("final")
    assert {final.split for final in finals} == {"test"}
    assert len(finals) == 2 + 3 * 2
    assert len({final.seed for final in finals}) == 8
    assert {final.subject for final in finals} == {0, run.archive.winner.id}


def control_precedes_each_child(archive: Archive) -> bool:
    """Each child finds a control of its parent by its epochs, in its round before it or in an earlier round."""
    return all(
        any(control.id < child.id for control in archive.controls(child.parent, child.fidelity))
        for child in archive.of_kind("child")
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("inherit", ["parent", "warm-start", "none"])
@pytest.mark.parametrize("ranking", ["gains", "lead", "prediction"])
def test_searches_over_the_null_task_keep_the_order_and_the_budget(drive, tmp_path, seed, inherit, ranking):
    task = NullTask(noise=0.03)
    strategy = CheckedStrategy("serial", Serial(SerialSettings(round=3, epochs=2, swap_epochs=5), SPACE), SPACE)

    def weights(number):
        return None if number is None else tmp_path / f"{number}.safetensors"

    def evaluate(candidate: Candidate) -> dict:
        request = EvaluationRequest(
            candidate.id,
            run.archive.rewrite_from_source(candidate),
            weights(candidate.source),
            weights(candidate.id),
            candidate.fidelity,
            candidate.seed,
            split=candidate.split,
        )
        return dict(task.evaluate(request, lambda progress: None).metrics)

    settings = run_settings(candidates=8, seed=seed, inherit=inherit, ranking=ranking, rescores=2, finalists=2)
    run = drive(settings, strategy, evaluate, task.metrics[0])
    run.to_the_end()
    archive = run.archive
    phases = [phase for phase, _ in groupby(run.phases)]
    assert phases[:3] == ["start", "noise", "search"]
    after = ["finalists"] * bool(archive.finalists) + ["verdict"] * (archive.winner.id != 0)
    assert phases[3:] == after
    assert archive.children == 8
    if ranking != "prediction":
        assert control_precedes_each_child(archive)
        assert all(archive.gain(child) is not None for child in archive.of_kind("child"))
    assert all(archive.lead(child) is not None for child in archive.of_kind("child"))
    groups = [(c.parent, c.fidelity) for c in archive.of_kind("control") if c.round > 1]
    assert len(groups) == len(set(groups)), "one control serves all children of equal parent and fidelity"
    if ranking != "gains":
        ages = {one.age for one in archive.evaluations(0)}
        assert {child.age for child in archive.of_kind("child")} <= ages, "the start was at every child's age"


@pytest.mark.parametrize("candidates", [0, 1, 3, 4, 5])
def test_the_budget_is_met_exactly_where_the_strategy_gives_more(drive, candidates):
    run = drive(run_settings(candidates=candidates), Scripted([(0, 2)] * 3, [(0, 2)] * 3), scores())
    run.to_the_end()
    assert run.archive.children == candidates
    assert why_ended(run.archive, run.settings, run.strategy, out_of_time=False) == (
        f"all {candidates} candidates of the budget are evaluated"
    )


@pytest.mark.parametrize("epochs", [24, 25, 26, 30])
def test_a_budget_of_epochs_counts_everything_but_the_verdict(drive, epochs):
    settings = run_settings(candidates=None, budget_epochs=epochs, rescores=2, finalists=3)
    run = drive(settings, Scripted(*[[(0, 2)] * 2] * 20), scores(child=0.6))
    run.to_the_end()
    archive = run.archive
    spent = sum(candidate.epochs for candidate in archive if candidate.phase != "verdict")
    assert archive.epochs == spent <= epochs
    assert archive.children == (epochs - 4 - 2 * 2 - 3 * 2 * 2) // 2
    assert len(archive.of_kind("replicate")) == 2 * min(3, archive.children)
    ended = why_ended(archive, run.settings, run.strategy, out_of_time=False)
    assert ended == f"the budget of {epochs} epochs is used up"


def test_a_child_that_the_epochs_left_do_not_suffice_for_is_said_to_be_why_the_search_ends(drive):
    """Start and noise take 8 of 17 epochs, a first child 2; the next ones' parent lacks a control, and they take 6."""
    settings = run_settings(candidates=None, budget_epochs=17, seeds=0)
    run = drive(settings, Scripted([(0, 2)], [(3, 6)]), scores(child=0.6))
    run.to_the_end()
    assert run.archive.children == 1
    assert why_ended(run.archive, run.settings, run.strategy, out_of_time=False) == (
        "of the budget of 17 epochs 7 are left for the search, and the next child and what judges it take 12"
    )
    run.strategy.rounds = run.strategy.rounds[:1]
    ended = why_ended(run.archive, run.settings, run.strategy, out_of_time=False)
    assert ended.startswith("the strategy found no new architecture inside the search space")


def test_a_budget_of_epochs_holds_where_children_train_for_longer_than_controls(drive):
    settings = run_settings(ranking="prediction", candidates=None, budget_epochs=80, rescores=2, finalists=3)
    run = drive(settings, Scripted(*[[(0, 2), (0, 8)]] * 4), scores(child=0.6))
    run.to_the_end()
    assert len(run.archive.of_kind("replicate")) == 6
    assert 8 in {one.epochs for one in run.archive.of_kind("replicate")}
    assert run.archive.epochs <= 80


@pytest.mark.parametrize("undefined", [None, math.nan], ids=["failed", "undefined"])
def test_a_budget_of_epochs_holds_where_controls_and_noise_fail(drive, undefined):
    """Each is needed, and proposed again; what the budget has no more room for is not."""
    for failing, epochs in (({1: undefined, 2: undefined}, 10), ({3: undefined, 5: undefined, 6: undefined}, 14)):
        settings = run_settings(candidates=None, budget_epochs=epochs, seeds=0)
        run = drive(settings, Scripted([(0, 3)], [(0, 3)]), scores(control=failing))
        run.to_the_end()
        assert run.archive.epochs <= epochs


def test_failed_children_count_against_the_budget(drive):
    run = drive(run_settings(candidates=3), Scripted([(0, 2)] * 2, [(0, 2)] * 2), scores(child=None))
    run.to_the_end()
    assert run.archive.children == 3
    assert {child.status for child in run.archive.of_kind("child")} == {"failed"}
    assert run.archive.winner.kind == "start"


def test_without_children_only_the_start_is_trained(drive):
    run = drive(run_settings(candidates=0), SCRIPT, scores())
    assert run.to_the_end() == [[("start", None, 4)]]
    again = drive(run_settings(candidates=2, seeds=0), SCRIPT, BETTER)
    assert [phase for phase, _ in groupby(again.to_the_end() and again.phases)] == ["start", "noise", "search"]


@pytest.mark.parametrize("undefined", [None, math.nan], ids=["failed", "undefined"])
def test_a_failed_control_is_proposed_again(drive, undefined):
    script = Scripted([(0, 3)], [(0, 3), (0, 3)], [(0, 3)])
    run = drive(run_settings(), script, scores(control={3: undefined}))
    assert run.to_the_end()[2:5] == [
        [("control", 0, 3), ("child", 0, 3)],
        [("control", 0, 3), ("child", 0, 3), ("child", 0, 3)],
        [("child", 0, 3)],
    ]
    assert all(run.archive.gain(child) is not None for child in run.archive.of_kind("child"))


def test_noise_is_measured_again_where_a_replicate_has_failed(drive):
    run = drive(run_settings(), Scripted([(0, 2)]), scores(control={2: None}))
    assert run.to_the_end()[:3] == [*BEGIN, [("control", 0, 2)]]
    assert run.phases[:4] == ["start", "noise", "noise", "search"]
    assert run.archive.noise(2) == 0.0


def test_a_control_that_is_owed_is_proposed_again_before_the_verdict(drive):
    run = drive(run_settings(candidates=1), Scripted([(0, 3)]), scores(child=0.9, control={3: None}))
    assert run.to_the_end()[2:4] == [[("control", 0, 3), ("child", 0, 3)], [("control", 0, 3)]]
    assert run.phases[2:4] == ["search", "search"]
    assert run.archive.winner.id == 4


@pytest.mark.parametrize("rounds", [2, 3])
def test_out_of_time_ends_the_search_at_once(drive, rounds):
    run = drive(run_settings(hours=2.0), SCRIPT, BETTER)
    for _ in range(rounds):
        run.round()
    children = run.archive.children
    run.to_the_end(out_of_time=True)
    assert run.archive.children == children
    assert run.phases[rounds:] == ([] if rounds == 2 else ["verdict", "verdict"])
    assert why_ended(run.archive, run.settings, run.strategy, out_of_time=True) == "the budget of 2 hours is used up"


def test_the_start_is_evaluated_even_out_of_time_and_nothing_else_is(drive):
    run = drive(run_settings(hours=1.0), SCRIPT, BETTER)
    run.to_the_end(out_of_time=True)
    assert run.phases == ["start"]
    found = outcome(run.archive, run.settings)
    assert not found.start_won
    assert found.reason == "There is nothing to compare the start with: no child was evaluated."


def test_a_stuck_strategy_ends_the_search(drive):
    run = drive(run_settings(candidates=9), Scripted([(0, 2)], [(0, 2)], stuck_after=1), scores())
    run.to_the_end()
    assert run.archive.children == 1
    assert why_ended(run.archive, run.settings, run.strategy, out_of_time=False) == "told to"


def test_an_exhausted_strategy_ends_the_search(drive):
    run = drive(run_settings(candidates=9), Scripted([(0, 2)]), scores(child=0.9))
    run.to_the_end()
    assert run.phases == ["start", "noise", "search", "verdict", "verdict"]
    ended = why_ended(run.archive, run.settings, run.strategy, out_of_time=False)
    assert ended.startswith("the strategy found no new architecture inside the search space")


class Moody(Scripted):
    """Finds nothing new at first and something when asked again later, as random redraws may."""

    def propose(self, archive: Archive, rng) -> list[Proposal]:
        if archive.children < 2:
            return super().propose(archive, rng)
        return [] if len(archive) == 6 else self.made(archive, [(0, 3)])


def test_the_search_does_not_begin_again_once_the_verdict_has_begun(drive):
    run = drive(run_settings(candidates=3), Moody([(0, 2)], [(3, 2)]), scores(child=0.9))
    run.to_the_end()
    assert run.phases == ["start", "noise", "search", "search", "verdict", "verdict"]


def test_finalists_are_scored_again_and_the_winner_is_one_of_them_or_the_start(drive):
    # Child 3 is first and turns out to be worse than child 5, which was no finalist, has ever scored.
    evaluate = scores(child={3: 0.9, 4: 0.2, 5: 0.85}, control={1: 0.49, 2: 0.51}, replicate=0.5)
    settings = run_settings(ranking="prediction", candidates=3, rescores=3, finalists=1)
    run = drive(settings, Scripted([(0, 2)] * 3), evaluate)
    for _ in range(3):
        run.round()
    assert [one.id for one in run.archive.best(2)] == [3, 5]
    run.to_the_end()
    archive = run.archive
    assert [one.id for one in archive.finalists] == [3]
    assert [(one.kind, one.subject, one.parent) for one in archive.rescores(archive[3])] == [("replicate", 3, 0)] * 3
    assert archive.best(1)[0].id == 5
    assert archive.winner.id in {0, 3}


def test_the_verdict_changes_no_lead(drive):
    run = drive(run_settings(ranking="prediction"), SCRIPT, scores(child={4: 0.6, 5: 0.5, 8: 0.7}, warm=0.9, final=0.1))
    leads = {}
    while run.round() is not None:
        if run.archive.phase == "search":
            leads = {one.id: run.archive.lead(one) for one in run.archive}
    assert run.archive.phase == "verdict"
    assert {number: run.archive.lead(run.archive[number]) for number in leads} == leads


def test_what_the_end_will_ask_for_is_kept(drive):
    run = drive(
        run_settings(rescores=1, finalists=1), Scripted([(0, 2)], [(3, 2)], [(0, 2)]), scores(child={3: 0.6, 5: 0.9})
    )
    needed = set()
    while run.round() is not None:
        if run.archive.winner is not None:
            needed = needed_for_end(run.archive, run.settings)
        if run.archive.children == 3 and run.archive.phase == "search":
            best = run.archive.best(1)[0]
            assert best.source != run.archive.start.id
            assert {best.id, best.source} <= needed, "finalists are scored again from what they began with"
        if run.archive.phase == "verdict" and not any(one.parent for one in run.archive.of_kind("final") if one.epochs):
            assert {one.id for one in run.archive.of_kind("warm")} <= needed
    assert not {one.id for one in run.archive.of_kind("warm")} & needed, "both were trained from every warm start"


@pytest.mark.parametrize("kind", ["control", "replicate", "warm", "final"])
def test_what_is_needed_and_fails_again_and_again_is_found(drive, kind):
    good = scores(child=0.9)

    def evaluate(candidate: Candidate) -> dict | None:
        return None if candidate.kind == kind and candidate.epochs != 2 else good(candidate)  # noise has 2 epochs

    run = drive(run_settings(rescores=1, finalists=1), Scripted([(0, 3)]), evaluate)
    for _ in range(12):
        if (found := beyond_hope(run.archive)) is not None:
            break
        assert run.round() is not None
    assert (found.kind, found.status) == (kind, "failed")


def test_a_child_that_fails_is_nothing_that_is_needed(drive):
    run = drive(run_settings(), Scripted([(0, 2)] * 2, [(0, 2)] * 2), scores(child=None))
    run.to_the_end()
    assert beyond_hope(run.archive) is None


def test_a_failed_test_of_the_searched_weights_is_tried_again(drive):
    first = iter([None])

    def evaluate(candidate):
        if candidate.kind == "final" and not candidate.epochs and candidate.subject:
            return next(first, {"score": 0.9, "loss": -0.9})
        return BETTER(candidate)

    run = drive(run_settings(), SCRIPT, evaluate)
    run.to_the_end()
    assert outcome(run.archive, run.settings).searched == (0.5, 0.9)


def test_candidates_that_are_no_children_take_no_finalists_place(drive):
    run = drive(run_settings(finalists=2, rescores=1), SCRIPT, BETTER)
    for _ in range(4):
        run.round()
    archive = run.archive
    start = identity(archive.start.architecture)
    for score in (0.65, 0.66):
        (born,) = archive.commit_round(
            [Proposal("reignition", 0, start, Fidelity(2), pretraining=Pretraining(1))], threads=1
        )
        archive.finish(born.id, Evaluation({"score": score, "loss": -score}, {"multiply_adds": 6.0}), None)
    assert [one.kind for one in archive.best(3)] == ["child", "reignition", "reignition"]
    finalists = finalist_proposals(archive, run.settings)
    assert [one.subject for one in finalists] == [one.id for one in archive.best(9) if one.kind == "child"][:2]
