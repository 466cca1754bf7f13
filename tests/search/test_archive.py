"""The archive keeps what was committed, answers from its indexes, and refuses what is not an archive."""

import copy
import json
import math
import pickle
from dataclasses import asdict, replace

import numpy as np
import pytest
from tiny_archives import SCORE, START, child, control, reopened, result, start

from spnas_core.errors import ArchiveError, EvaluationError
from spnas_core.morphisms import Rewrite, identity
from spnas_core.tasks import Evaluation, Fidelity
from spnas_search.archive import Archive, Proposal


@pytest.fixture
def archive(tmp_path):
    with Archive.create(tmp_path / "archive.db", objective=SCORE, run_seed=7) as made:
        yield made


def test_rounds_get_consecutive_numbers_ages_and_seeds(archive):
    (first,) = archive.commit_round([start(epochs=5)], threads=2)
    second, third = archive.commit_round([control(), child()], threads=1)
    assert [first.id, second.id, third.id] == [0, 1, 2]
    assert [first.round, second.round, third.round] == [0, 1, 1]
    assert [first.age, second.age, third.age] == [5, 6, 6]
    assert (first.threads, second.threads) == (2, 1)
    assert len({first.seed, second.seed, third.seed}) == 3
    assert all(0 <= candidate.seed < 2**31 for candidate in archive)
    assert (archive.rounds, len(archive), archive.children) == (2, 3, 1)
    assert archive.start == first
    assert archive.controls(0, Fidelity(1)) == (second,)
    assert archive.of_kind("child") == (third,)
    assert archive.lineage(third) == (first, third)


def test_an_empty_round_changes_nothing(archive):
    assert archive.commit_round([], threads=1) == ()
    assert (archive.rounds, len(archive)) == (0, 0)


def test_seeds_follow_from_the_run_seed_and_the_number(tmp_path):
    seeds = []
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        with Archive.create(tmp_path / name, objective=SCORE, run_seed=seed) as archive:
            seeds.append(archive.commit_round([start()], threads=1)[0].seed)
    # Written down: another seed for the same candidate would make an old search another search.
    assert seeds == [600562731, 600562731, seeds[2]]
    assert seeds[2] != seeds[0]


def test_a_reopened_archive_is_equal_field_by_field(archive):
    archive.commit_round([start()], threads=3)
    archive.commit_round([child(), child(choice=1), control()], threads=3)
    receipt = {"added": ("blocks.1",), "copied": np.int64(3), "output_change": {"s1": np.float32(0.5)}}
    archive.finish(0, Evaluation({"score": np.float64(0.5), "loss": math.nan}, {"parameters": 12}, receipt, 1.5), "abc")
    archive.fail(1, "worker ended by signal 9", 2.5)
    before = list(archive)
    with reopened(archive) as again:
        assert str(list(again)) == str(before)  # compared as text: NaN is not equal to itself
        assert again[1] == before[1]
        assert math.isnan(again[0].metrics["loss"])
        assert again[0].cost == {"parameters": 12}
        assert again[0].receipt == {"added": ["blocks.1"], "copied": 3, "output_change": {"s1": 0.5}}
        assert (again.objective, again.run_seed, again.created) == (SCORE, 7, archive.created)
        assert again.rounds == 2
        assert [candidate.id for candidate in again.pending()] == [2, 3]
        assert again[2].rewrite == child(choice=1).rewrite
        assert again.commit_round([child(choice=1)], threads=1)[0].id == 4


RECEIPT = {"added": ["blocks.1"], "partial_scores": {"1": {"score": 0.25}}}


@pytest.fixture(params=["as it was entered", "as it is read"])
def scored(archive, request):
    """A start with a score, in the archive that has entered it, and in one that reads it."""
    archive.commit_round([start()], threads=1)
    archive.finish(0, Evaluation({"score": 0.5}, {"parameters": 12}, RECEIPT, 1.5), "abc")
    if request.param == "as it was entered":
        yield archive[0]
    else:
        with reopened(archive) as again:
            yield again[0]


CHANGES = {
    "a metric": lambda one: one.metrics.update(score=1.0),
    "a new metric": lambda one: one.metrics.setdefault("loss", 0.0),
    "no metric": lambda one: one.metrics.clear(),
    "a metric of a copy that is shallow": lambda one: copy.copy(one).metrics.pop("score"),
    "a metric by its name": lambda one: one.metrics.__setitem__("score", 1.0),
    "metrics by an operator": lambda one: one.metrics.__ior__({"score": 1.0}),
    "a cost": lambda one: one.cost.__delitem__("parameters"),
    "the receipt": lambda one: one.receipt.popitem(),
    "a list": lambda one: one.receipt["added"].append("blocks.2"),
    "an entry of a list": lambda one: one.receipt["added"].__setitem__(0, "blocks.2"),
    "a list by an operator": lambda one: one.receipt["added"].__iadd__(["blocks.2"]),
    "what is deep inside": lambda one: one.receipt["partial_scores"]["1"].update(score=1.0),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nobody_can_write_into_a_result(scored, change):
    with pytest.raises(TypeError, match="the results of a candidate cannot be changed: change a copy"):
        change(scored)
    assert (scored.metrics, scored.cost, scored.receipt) == ({"score": 0.5}, {"parameters": 12}, RECEIPT)


def test_nor_into_that_of_a_candidate_without_one(archive):
    (proposed,) = archive.commit_round([start()], threads=1)
    with pytest.raises(TypeError, match="change a copy"):
        proposed.metrics.update(score=1.0)


@pytest.mark.parametrize("copied", [lambda one: pickle.loads(pickle.dumps(one)), copy.deepcopy, copy.copy])
def test_a_copy_of_a_candidate_equals_it(scored, copied):
    again = copied(scored)
    assert again == scored
    assert hash(again) == hash(scored)
    with pytest.raises(TypeError):
        again.metrics["score"] = 1.0


def test_results_are_encoded_and_copied_as_what_they_look_like(scored):
    assert json.loads(json.dumps(scored.receipt)) == scored.receipt == RECEIPT
    assert asdict(scored)["receipt"] == RECEIPT
    changed = dict(scored.metrics) | {"score": 1.0}
    assert (changed, scored.metrics | {"loss": 2.0}) == ({"score": 1.0}, {"score": 0.5, "loss": 2.0})
    assert type(scored.metrics | {}) is type(scored.metrics.copy()) is dict


def test_contains_knows_starts_and_children_in_any_status(archive):
    archive.commit_round([start()], threads=1)
    archive.commit_round([child(), control()], threads=1)
    archive.fail(1, "out of memory")
    assert archive.contains(START)
    assert archive.contains(child().rewrite.child)
    assert not archive.contains(child(choice=1).rewrite.child)


def test_a_candidate_ends_once(archive):
    archive.commit_round([start()], threads=1)
    archive.finish(0, result(0.5), None)
    with pytest.raises(ArchiveError, match="candidate 0 is done already"):
        archive.finish(0, result(0.6), None)
    with pytest.raises(ArchiveError, match="candidate 0 is done already"):
        archive.fail(0, "late")
    with pytest.raises(ArchiveError, match=r"candidate 1 is not in .*: it holds 0 to 0"):
        archive.fail(1, "unknown")
    assert archive[0].metrics == {"score": 0.5}


def test_two_writers_cannot_end_a_candidate_twice(archive):
    archive.commit_round([start()], threads=1)
    with Archive.open(archive.path) as other:
        other.fail(0, "first")
    with pytest.raises(ArchiveError, match="ended by another process"):
        archive.finish(0, result(0.5), None)
    assert archive[0].status == "proposed"


def test_replaced_weights_outlive_the_process(archive):
    archive.commit_round([start()], threads=1)
    with pytest.raises(ArchiveError, match="only a done candidate"):
        archive.replace_weights(0, "new")
    archive.finish(0, result(0.5), "old")
    assert archive.replace_weights(0, "new").checksum == "new"
    with reopened(archive) as again:
        assert again[0].checksum == "new"


def test_a_result_without_the_objective_is_refused(archive):
    archive.commit_round([start()], threads=1)
    with pytest.raises(EvaluationError, match="returned no metric 'score'; did you mean 'scores'"):
        archive.finish(0, Evaluation({"scores": 1.0}, {}), None)
    assert archive[0].status == "proposed"


@pytest.mark.parametrize("part", ["metrics", "cost", "receipt"])
@pytest.mark.parametrize("digits", [400, 5000])
def test_a_result_with_a_number_beyond_all_floats_is_refused(archive, part, digits):
    archive.commit_round([start()], threads=1)
    with pytest.raises(EvaluationError, match=r"must be finite|cannot be archived"):
        archive.finish(0, replace(result(0.5), **{part: {"score": 0.5, "other": -(10**digits)}}), None)
    assert archive[0].status == "proposed"


def test_ages_that_no_archive_can_store_are_refused(archive):
    archive.commit_round([start(epochs=5)], threads=1)
    with pytest.raises(ArchiveError, match="cannot be written: Python int too large"):
        archive.commit_round([replace(child(), fidelity=Fidelity(2**63 - 1))], threads=1)
    assert len(archive) == 1
    assert archive.commit_round([child()], threads=1)[0].id == 1


def test_a_receipt_that_is_not_plain_is_refused(archive):
    archive.commit_round([start()], threads=1)
    with pytest.raises(EvaluationError, match="the receipt of the task holds a object"):
        archive.finish(0, Evaluation({"score": 1.0}, {}, {"module": object()}), None)


@pytest.mark.parametrize(
    ("proposal", "message"),
    [
        (start(), "a second start"),
        (Proposal("child", None, child().rewrite, Fidelity(1)), "has parent None"),
        (Proposal("start", 0, identity(START), Fidelity(1)), "the parent of a start is None"),
        (child(parent=2), "in no earlier round"),
        (child(parent=-1), "in no earlier round"),
        (child(parent=1), "has parent 1, a control"),
        (child(of=child().rewrite.child), "rewrites b@8_11-1, but its parent is b@8_1-1"),
        (Proposal("control", 0, child().rewrite, Fidelity(1)), "a control is the parent itself"),
        (Proposal("control", 0, Rewrite(START, START, (0, None)), Fidelity(1)), "a control is the parent itself"),
    ],
)
def test_impossible_proposals_are_refused_and_nothing_is_entered(archive, proposal, message):
    archive.commit_round([start()], threads=1)
    archive.commit_round([control()], threads=1)
    with pytest.raises(ArchiveError, match=message):
        archive.commit_round([child(), proposal], threads=1)
    assert len(archive) == 2
    with reopened(archive) as again:
        assert len(again) == 2


def test_withdrawn_failures_are_proposed_again_and_later_rounds_are_gone(archive):
    archive.commit_round([start()], threads=1)
    archive.finish(0, result(0.5), None)
    archive.commit_round([control(), child()], threads=1)
    archive.finish(1, result(0.6), None)
    before = archive[2]
    archive.fail(2, "no space", 1.0)
    archive.commit_round([child(choice=1)], threads=1)
    archive.fail(3, "no space", 1.0)
    archive.withdraw([2, 3])
    assert [candidate.id for candidate in archive.pending()] == [2]
    assert archive[2] == before
    assert len(archive) == 3
    assert not archive.contains(child(choice=1).rewrite.child)
    with reopened(archive) as again:
        assert list(again) == list(archive)
        with pytest.raises(ArchiveError, match="candidate 2 is proposed"):
            again.withdraw([2])


def test_elapsed_time_comes_with_the_results(archive):
    archive.commit_round([start()], threads=1)
    archive.finish(0, result(0.5), None, elapsed=2.5)
    archive.commit_round([control()], threads=1)
    archive.fail(1, "late", elapsed=1.5)
    with reopened(archive) as again:
        assert again.elapsed == 4.0
