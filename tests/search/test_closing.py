"""The end of a search: what is compared, what is missing, and what several searches say together."""

import math
import re
from dataclasses import replace

import pytest
from commands import NULL, budget, done
from reported import BEATEN, COST, NAN, START, Filled, settings, shown, verdict_of

import spnas_search
from spnas_core.morphisms import identity
from spnas_core.tasks import Evaluation, Fidelity
from spnas_search.archive import TEST_IMAGES, Proposal
from spnas_search.driver import NoVerdict, Verdict, outcome, run_search
from spnas_search.driver.verdict import Side
from spnas_search.monitors import Silent
from spnas_search.reports import candidate_json, split_lines, verdict_tables
from spnas_search.reports.closing import finalist_sentences, sentence, summary, unranked
from spnas_search.reports.seeds import SeedsSummary
from spnas_search.run import start_run
from spnas_search.testing.null_task import NullTask


def test_what_is_as_good_as_the_winner_is_another_finalist(tmp_path):
    """Here the best of all, by its one score, is no finalist: what counts is the winner, which is one."""
    settings_ = {
        "task": {"name": "null", "noise": 0.05, "differences": 0.3},
        "executor": {"name": "inline"},
        "seed": 13,
        "strategy": {"name": "random"},
        "screen": "none",
        "inherit": "none",
        "budget": {"candidates": 30},
        "final": {"seeds": 0, "finalists": 3, "rescores": 4},
    }
    with start_run(tmp_path / "run", settings_, lambda *_: None) as run:
        run_search(run, Silent())
        archive = run.archive
        winner, (best,) = archive.winner, archive.best(1)
        assert winner != best
        (said,) = finalist_sentences(archive)
        tied = re.search(r"as good as it, as far as can be told: ([\d, ]+)\.", said)
        named = [] if tied is None else [int(one) for one in tied[1].split(", ")]
        assert winner.id not in named
        for one in archive.finalists:
            behind = archive.lead(winner) - archive.lead(one)
            assert (one.id in named) == (one != winner and behind < archive.difference_error(winner, one))


def test_a_complete_verdict_lacks_nothing(filled):
    archive = filled.add_all(*BEATEN, *verdict_of((0.4, 0.5), (0.6, 0.71)))
    found = outcome(archive, settings())
    assert isinstance(found, Verdict)
    (column,) = found.columns
    assert (column.start, column.winner, column.epochs) == ((0.4, 0.6), (0.5, 0.71), 1)
    assert found.searched == (0.45, 0.95)
    assert found.missing == ()
    # Differences 0.10 and 0.11: mean 0.105, standard error 0.005, t(0.975, 1) = 12.706.
    assert found.gain.mean == pytest.approx(0.105)
    assert (found.gain.low, found.gain.high) == (
        pytest.approx(0.105 - 0.0635, abs=1e-4),
        pytest.approx(0.1685, abs=1e-4),
    )
    shown_table = shown(*verdict_tables(found, "score"))
    assert "trained on from fresh warm starts for 1 epoch, 2 times, on test images" in shown_table
    assert "+0.105 │ +0.041 … +0.169 │" in shown_table
    assert sentence(column, "score") == (
        "Trained from fresh warm starts, the winner is better than the start: +0.105 score (95 % interval +0.041 … "
        "+0.169, 2 seeds)."
    )


def test_whatever_was_tested_on_other_images_says_on_which(filled):
    archive = filled.add_all(*BEATEN, *verdict_of((0.4, 0.5), (0.6, 0.71)))
    assert list(split_lines(archive, archive)) == []
    shared = "validation images (test = validation)"
    archive.remember(TEST_IMAGES, shared)
    found = outcome(archive, settings())
    assert f"2 times, on {shared}" in shown(*verdict_tables(found, "score"))
    table, *_ = SeedsSummary([found, found]).parts()
    assert f"alike from fresh warm starts, on {shared}" in shown(table)
    assert list(split_lines(archive, archive)) == [f"Scores of final are of the {shared}."]
    rows = [candidate_json(archive, candidate) for candidate in archive]
    assert {row["scored_on"] for row in rows if row["split"] == "test"} == {shared}
    assert {row["scored_on"] for row in rows if row["split"] == "validation"} == {"validation images"}
    assert outcome(archive, settings(seeds=0)).reason == f"No verdict on {shared} was asked for (final.seeds = 0)."


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (((0.4, 0.5), (0.6, 0.5)), "winner and start cannot be told apart: +0.000 score"),
        (((0.5, 0.4), (0.7, 0.61)), "the winner is worse than the start: -0.095 score"),
        (((0.5, 0.4), (0.5, 0.4)), "differs from the start by -0.100 score, and so in all of 2 seeds alike: what"),
        (((0.4, 0.5),), "differs from the start by +0.100 score in a single comparison: whether that is more than"),
    ],
)
def test_the_sentence_claims_no_more_than_the_trainings_show(filled, pairs, words):
    found = outcome(filled.add_all(*BEATEN, *verdict_of(*pairs)), settings(seeds=len(pairs)))
    assert words in sentence(found.columns[0], "score")


def test_losses_keep_their_direction_and_a_gain_is_an_improvement(losing):
    made = Filled.__new__(Filled)
    made.archive = losing
    made.add_all(*verdict_of((0.8, 0.6), (0.7, 0.4)))
    found = outcome(losing, settings())
    assert (found.columns[0].start, found.columns[0].winner) == ((0.8, 0.7), (0.6, 0.4))
    assert found.gain.mean == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (
            ((0.8, 0.6), (0.7, 0.48)),
            "is better than the start: a gain of +0.210 loss, of which less is better",
        ),
        (
            ((0.5, 0.6), (0.5, 0.61)),
            "is worse than the start: a gain of -0.105 loss, of which less is better",
        ),
        (
            ((0.5, 0.4),),
            "by a gain of +0.100 loss, of which less is better in a single comparison",
        ),
        (((0.5, 0.4), (0.4, 0.5)), "told apart: a gain of +0.000 loss, of which less is better"),
    ],
)
def test_of_a_loss_a_gain_is_what_it_is_lower_by(losing, pairs, words):
    made = Filled.__new__(Filled)
    made.archive = losing
    made.add_all(*verdict_of(*pairs))
    assert words in sentence(outcome(losing, settings(seeds=len(pairs))).columns[0], "loss")


@pytest.mark.parametrize("inherit", ["none", "warm-start", "parent"])
def test_the_weights_that_a_search_leaves_are_scored_beside_its_verdict(tmp_path, inherit):
    values = {
        "task": {"name": "null", "noise": 0.01},
        "executor": {"name": "inline"},
        "inherit": inherit,
        "budget": {"candidates": 6},
    }
    with spnas_search.search(**values, out=tmp_path / "run") as run:
        assert run.archive.winner.kind != "start"
        left = [one for one in run.archive.of_kind("final") if one.parent is not None and one.epochs == 0]
        assert {one.subject for one in left} == {0, run.archive.winner.id}
        assert "The weights that the search has left" in "".join(part for part in summary(run) if isinstance(part, str))
        assert outcome(run.archive, run.settings.run).missing == ()


def test_trainings_from_scratch_are_a_column_of_their_own(filled):
    scratch = [("final", None, score, COST, side) for side, score in ((0, 0.3), (2, 0.5), (0, 0.31), (2, 0.52))]
    archive = filled.add_all(*BEATEN, *verdict_of((0.4, 0.5), (0.6, 0.71)))
    for kind, parent, score, cost, side in scratch:
        rewrite = identity(archive[side].architecture)
        proposal = Proposal(kind, parent, rewrite, Fidelity(2), "test", side)
        (entered,) = archive.commit_round([proposal], threads=1, phase="verdict")
        archive.finish(entered.id, Evaluation({"score": score}, cost), None)
    found = outcome(archive, settings(from_scratch=True))
    assert [column.name for column in found.columns] == ["fresh warm starts", "from scratch"]
    assert (found.columns[1].start, found.columns[1].winner) == ((0.3, 0.31), (0.5, 0.52))
    assert found.missing == ()
    assert found.gain == found.columns[0].gain
    assert "Trained from scratch, the winner is better" in sentence(found.columns[1], "score")


@pytest.mark.parametrize(
    ("candidates", "seeds", "reason", "start_won"),
    [
        (BEATEN, 0, "No verdict on test images was asked for (final.seeds = 0).", False),
        (BEATEN[:1], 0, "No verdict on test images was asked for (final.seeds = 0).", False),
        ([("start", None, NAN)], 2, "No candidate has a defined score: there is nothing to compare.", False),
        (BEATEN[:2], 2, "There is nothing to compare the start with: no child was evaluated.", False),
        ((*BEATEN[:2], ("child", 0, 0.25)), 2, f"No child beat the start {START}: there is nothing", True),
        ((*BEATEN[:2], ("child", 0, "torn")), 2, "compare the start with: no child has a defined score.", False),
        (BEATEN, 2, "0 of 2 fresh warm starts ended (they were not evaluated); the start has scores of 0 of 2", False),
        ((*BEATEN, *verdict_of((0.4,))), 2, "winner has scores of 0 of 2 trainings (they were not evaluated)", False),
        ((*BEATEN, *verdict_of((NAN, 0.5), (NAN, 0.6))), 2, "(final 7 has no defined score, final 9 has no", False),
        ((*BEATEN, *verdict_of((0.4, "no [disk]"))), 2, "has scores of 0 of 2 trainings (final 7 failed: no", False),
        ((*BEATEN, *verdict_of((0.4, None))), 2, "(final 7 was not evaluated)", False),
        ((*BEATEN, ("warm", None, "torn [x]", COST, 0)), 2, "fresh warm starts ended (warm 3 failed: torn [x])", False),
    ],
)  # fmt: skip
def test_a_search_without_a_verdict_says_why(filled, candidates, seeds, reason, start_won):
    found = outcome(filled.add_all(*candidates), settings(seeds=seeds))
    assert isinstance(found, NoVerdict)
    assert reason in found.reason
    assert found.reason.endswith(".")
    assert found.start_won is start_won


def test_a_verdict_of_fewer_seeds_than_asked_for_says_so(filled):
    archive = filled.add_all(*BEATEN, *verdict_of((0.4, 0.5), (NAN, 0.6)))
    found = outcome(archive, settings())
    assert isinstance(found, Verdict)
    assert (found.columns[0].start, found.columns[0].winner) == ((0.4,), (0.5,))
    assert "1 times, on test images" in shown(*verdict_tables(found, "score"))
    assert found.missing == ("the start has scores of 1 of 2 trainings (final 9 has no defined score)",)


def test_one_training_of_a_side_is_called_that(filled):
    (column,) = outcome(filled.add_all(*BEATEN, *verdict_of((0.4, 0.5))), settings(seeds=1)).columns
    alone = replace(column, paired=False, winner=(0.5, 0.6, 0.7))
    assert sentence(alone, "score") == (
        "Trained from scratch, the winner differs from the start by +0.200 score by 1 trainings of the start and 3 of "
        "the winner: whether that is more than chance cannot be said (an interval needs two of each)."
    )


def test_a_failed_training_in_between_costs_no_pair_of_start_and_winner(filled):
    archive = filled.add_all(*BEATEN, *verdict_of((0.4, 0.5), (0.6, 0.71)))
    (column,) = outcome(archive, settings()).columns
    between = Side(archive[2], (0.45, NAN))
    both = replace(column, between=(between,))
    assert both.gain == column.gain
    assert both.gain_of(between.scores).mean == pytest.approx(0.05)
    assert both.gain_of(between.scores).count == 1
    assert "│ 0.450" in shown(*verdict_tables(replace(outcome(archive, settings()), columns=(both,)), "score"))


def test_children_without_a_merit_are_counted(filled):
    assert unranked(filled.add_all(*BEATEN)) == ""
    filled.add_all(("child", 0, NAN), ("child", 0, NAN), ("child", 0, "failed ones have no score to rank"))
    filled.add("child", 2, 0.9)
    filled.add_all(("control", 6, 0.5), ("child", 6, 0.9))
    assert unranked(filled.archive) == (
        "Children without a merit, which rank nowhere: 2 whose score is undefined, 1 whose control has no score, "
        "1 whose parent has no merit."
    )


def test_finalists_that_fail_are_not_tried_again_beyond_the_budget(tmp_path):
    """Without failures this search takes all of its 100 epochs."""
    values = {
        "task": {"name": "null"},
        "executor": {"name": "inline"},
        "strategy": {"name": "random", "epochs": 4},
        "warm_start_epochs": 4,
        "inherit": "none",
        "budget": {"epochs": 100},
        "final": {"finalists": 3, "rescores": 2, "seeds": 0},
    }
    with spnas_search.search(**values, out=tmp_path / "whole") as run:
        finalists = [one.id for one in run.archive if one.phase == "finalists"]
        assert run.archive.epochs == 100
        assert len(finalists) == 6
    values["task"]["behaviour"] = {finalists[0]: "diverge", finalists[1]: "nan"}
    with spnas_search.search(**values, out=tmp_path / "failing") as run:
        assert [one.id for one in run.archive if one.phase == "finalists"] == finalists
        assert run.archive.epochs == 100
        assert run.archive.winner is not None
    # Without a bound on epochs what failed is trained again, and what is undefined is not.
    values["budget"] = {"candidates": 14}
    with spnas_search.search(**values, out=tmp_path / "unbounded") as run:
        assert len([one for one in run.archive if one.phase == "finalists"]) == 7


# All of it


def summary_of(folder, **values) -> tuple[str, list[int]]:
    """What is printed at the end of a search over the null task, and the numbers of its finals."""
    given = {"executor": {"name": "inline"}, "budget": 4, "warm_start_epochs": 2, **values}
    with spnas_search.search(out=folder, **given) as run:
        return shown(*summary(run)), [final.id for final in run.archive.of_kind("final")]


def test_the_summary_says_what_is_missing(tmp_path):
    null = {"name": "null", "behaviour": {6: "nan"}}
    text, _ = summary_of(tmp_path / "none", task=null, final={"seeds": 0})
    assert "No verdict on test images was asked for (final.seeds = 0)." in text
    assert "Children without a merit, which rank nowhere: 1 whose score is undefined." in text
    complete, finals = summary_of(tmp_path / "complete", task="null")
    assert len(finals) == 2 + 2 * 4
    assert "Trained from fresh warm starts, " in complete
    assert "The weights that the search has left, on test images: winner " in complete
    assert "finalists were scored again by" in complete
    assert re.search(
        r"Scores that differ by their seed alone spread by \d\.\d+ \(standard deviation, \d+ degrees", complete
    )
    assert "incomplete" not in complete
    null["behaviour"] = {finals[2]: "nan"}
    text, _ = summary_of(tmp_path / "incomplete", task=null)
    missing = f"the start has scores of 3 of 4 trainings (final {finals[2]} has no defined score)"
    assert f"The verdict is incomplete: {missing}." in text


def test_weights_are_named_where_there_are_some_and_commands_are_quoted(tmp_path):
    folder = tmp_path / "a run"
    given = {"executor": {"name": "inline"}, "budget": 4, "warm_start_epochs": 2}
    with spnas_search.search(out=folder, task="null", **given) as run:
        trained = run.archive.trained(run.archive.winner)
        file = folder / "weights" / f"{trained.id}.safetensors"
        *_, files, following = summary(run)
        assert files == (
            f"Everything is in {folder}: run.toml, archive.db, weights/{trained.id}.safetensors (the winner's weights)."
        )
        assert following.endswith(f"spnas candidates '{folder}' --pareto")
        for spoil in (lambda: file.write_bytes(b""), file.unlink):
            spoil()
            *_, files, _ = summary(run)
            assert files == f"Everything is in {folder}: run.toml, archive.db."


def test_a_run_remembers_what_its_task_calls_the_test_images(tmp_path, monkeypatch):
    shared = "validation images (test = validation)"
    monkeypatch.setattr(NullTask, "test_images", shared, raising=False)
    done("run", *NULL, *budget(2), "--out", tmp_path / "shared")
    assert done("candidates", tmp_path / "shared").splitlines()[-1].endswith(f" are of the {shared}.")


def test_finalists_that_are_under_way_have_no_winner_yet_and_what_failed_scored_nobody(tmp_path):
    values = {
        "task": {"name": "null"},
        "executor": {"name": "inline"},
        "budget": {"candidates": 14},
        "final": {"finalists": 3, "rescores": 2, "seeds": 0},
    }
    with spnas_search.search(**values, out=tmp_path / "whole") as run:
        finalists = [one.id for one in run.archive if one.phase == "finalists"]
        (sentence,) = finalist_sentences(run.archive)
        assert f"scored again by {len(finalists)} trainings: the winner is" in sentence
    values["task"]["behaviour"] = {finalists[0]: "diverge", finalists[1]: "nan"}
    with spnas_search.search(**values, out=tmp_path / "failing") as run:
        scored = [one for one in run.archive if one.phase == "finalists" and math.isfinite(run.archive.score(one))]
        (sentence,) = finalist_sentences(run.archive)
        assert f"scored again by {len(scored)} trainings" in sentence
        again = run.archive.finalists[0]
        proposal = Proposal("replicate", again.parent, again.rewrite, again.fidelity, subject=again.id)
        run.archive.commit_round([proposal], threads=1, phase="finalists")
        (sentence,) = finalist_sentences(run.archive)
        assert sentence == "3 finalists are being scored again: which of them wins is not known yet."
