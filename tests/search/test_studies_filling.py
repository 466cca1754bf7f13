"""What is wanted and missing is trained, in order of descent, and survives whatever ends it."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import studying
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from studying import CHILD, START, Heard, heir, line_of, resumed, scratch, started, without_time

from spnas_core.errors import ConfigError, DataError, EvaluationError, HeldError
from spnas_core.morphisms import Rewrite
from spnas_core.tasks import Fidelity
from spnas_search.executors.inline import InlineExecutor
from spnas_search.studies import (
    Job,
    Study,
    StudyStoppedError,
    TrainingKey,
    fill,
    read_study,
)
from spnas_search.studies.jobs import Schedule
from spnas_search.testing.null_task import NullTask


@st.composite
def forests(draw) -> list[Job]:
    """Jobs with any parents among the earlier ones, in any order."""
    jobs: list[Job] = []
    for number in range(draw(st.integers(1, 14))):
        parent = draw(st.none() | st.sampled_from(jobs)) if jobs else None
        made = scratch(epochs=1, number=number)
        jobs.append(replace(made, parent=None if parent is None else parent.key))
    return draw(st.permutations(jobs))


class TestTheSchedule:
    @settings(max_examples=200)
    @given(forests(), st.integers(1, 4), st.data())
    def test_everything_is_done_once_after_its_parent_with_few_weights(self, jobs, most, data):
        schedule, done, weights = Schedule(jobs), set(), set()
        failing = data.draw(st.sets(st.sampled_from([job.key for job in jobs]), max_size=3))
        failed, handed = set(), []
        while True:
            missing = schedule.missing(done, failed)
            needed = schedule.needed(missing, weights)
            weights &= needed
            batch = schedule.next_batch(done, failed, weights, most)
            if not batch.jobs:
                break
            assert len(batch.jobs) <= most
            assert not batch.again
            for job in batch.jobs:
                assert job.parent is None or job.parent in weights
                handed.append(job.key)
                heirs = {other.key for other in jobs if other.parent == job.key}
                assert (job.key in batch.writing) == bool(heirs)
            for key in (job.key for job in batch.jobs):
                if key in failing:
                    failed.add(key)
                else:
                    done.add(key)
                    weights |= {key} & batch.writing
        assert len(set(handed)) == len(handed)
        assert not missing
        assert not weights
        assert len(done) + len(failed) + schedule.heirs_of_failed(done, failed) == len(jobs)
        for key in set(schedule.jobs) - done - failed:
            assert any(job.key in failed for job in schedule.ancestors(key))

    @given(forests())
    def test_weights_that_are_gone_are_made_again_from_the_first_that_is_there(self, jobs):
        schedule = Schedule(jobs)
        last = max(jobs, key=lambda job: len(list(schedule.ancestors(job.key))))
        done, weights, handed = {job.key for job in jobs} - {last.key}, set(), []
        while (batch := schedule.next_batch(done, set(), weights, 1)).jobs:
            (job,) = batch.jobs
            assert (job.key in batch.again) == (job.key in done)
            handed.append(job.key)
            done.add(job.key)
            weights |= batch.writing
        assert handed == [job.key for job in schedule.ancestors(last.key)][::-1]

    def test_lines_of_descent_end_before_others_begin(self):
        lines = [line_of(3, repetition) for repetition in range(4)]
        jobs = [job for generation in zip(*lines, strict=True) for job in generation]
        schedule, done, weights, most = Schedule(jobs), set(), set(), 0
        while (batch := schedule.next_batch(done, set(), weights, 2)).jobs:
            done |= {job.key for job in batch.jobs}
            weights |= batch.writing
            weights &= schedule.needed(schedule.missing(done, set()), weights)
            most = max(most, len(weights))
        assert len(done) == len(jobs)
        assert most <= 2

    def test_the_longest_of_a_batch_stand_in_front(self):
        jobs = [scratch(epochs=epochs) for epochs in (1, 4, 2, 9)]
        batch = Schedule(jobs).next_batch(set(), set(), set(), 3)
        assert [job.fidelity.epochs for job in batch.jobs] == [4, 2, 1]

    def test_the_same_job_may_be_wanted_twice(self):
        assert list(Schedule([scratch(), scratch()]).jobs) == [scratch().key]

    def test_refusals(self):
        job = scratch()
        with pytest.raises(
            ConfigError, match="two different trainings are called scratch of b@8_11-21-21-21, 2 epochs"
        ):
            Schedule([job, replace(job, split="test")])
        with pytest.raises(ConfigError, match=r"inherits from scratch of .*, which is not among the wanted ones"):
            Schedule([heir(job)])
        one = replace(job, parent=TrainingKey("x", "y", 1, 0))
        with pytest.raises(ConfigError, match="would inherit its own weights"):
            Schedule([one, Job(TrainingKey("x", "y", 1, 0), job.rewrite, job.fidelity, job.key)])

    @pytest.mark.parametrize(
        "other",
        [
            replace(scratch(), split="test"),
            replace(scratch(), fidelity=Fidelity(2, share=0.5)),
            replace(scratch(), parent=scratch(epochs=9).key),
            replace(heir(scratch(), CHILD), rewrite=Rewrite(START, CHILD.child, (0, *CHILD.block_map[1:-1], None))),
        ],
    )
    def test_a_digest_tells_what_the_key_does_not(self, other):
        same = heir(scratch(), CHILD) if other.key.how == "heir" else scratch()
        assert other.key == same.key
        assert other.digest != same.digest


class TestFilling:
    def test_outcomes_enter_and_are_not_made_again(self, tmp_path):
        jobs, heard = [scratch(repetition=number) for number in range(3)], Heard()
        with started(tmp_path / "s", seed=5) as study:
            fill(study, jobs, heard)
            found = dict(study.results.trainings)
        assert [one.key for one in heard.trainings] == [job.key for job in jobs]
        assert [one.seed for one in heard.trainings] == [job.key.seed(5) for job in jobs]
        task = NullTask(noise=0.1)
        assert found[jobs[1].key].metrics["score"] == task.score(str(START), 2, jobs[1].key.seed(5))
        assert found[jobs[1].key].cost["multiply_adds"] > 1e5
        with resumed(tmp_path / "s") as study:
            fill(study, jobs, again := Heard())
            assert without_time(study.results.trainings) == without_time(found)
        assert not again.trainings

    def test_more_jobs_in_another_order_change_nothing(self, tmp_path):
        few, many = line_of(2), [job for repetition in range(3) for job in line_of(4, repetition)]
        with started(tmp_path / "one") as study:
            fill(study, few, Heard())
            fill(study, many, Heard(), batch=3)
            one = without_time(study.results.trainings)
        random.Random(0).shuffle(many)
        with started(tmp_path / "other") as study:
            fill(study, many, Heard())
            assert without_time(study.results.trainings) == one

    def test_heirs_go_on_from_their_parents_weights_which_go_when_nobody_needs_them(self, tmp_path):
        line = line_of(3)
        ages, folder = [], tmp_path / "s" / "weights"

        class Watching(Heard):
            def finished(self, training):
                super().finished(training)
                ages.append(sorted(int(load_file(path)["epochs"][0]) for path in folder.glob("[0-9]*")))

        with started(tmp_path / "s", task={"noise": 0.0}) as study:
            fill(study, line, Watching(), batch=1)
            scores = [study.results.trainings[job.key].metrics["score"] for job in line]
        assert ages == [[1], [1, 2], [2, 3], [3]]
        assert not list(folder.iterdir())
        expected = [NullTask().score(str(job.rewrite.child), age) for age, job in enumerate(line, 1)]
        assert scores == pytest.approx(expected)

    def test_a_failed_one_is_entered_and_tried_again_when_asked(self, tmp_path):
        line = line_of(2)
        jobs = [*line, scratch(epochs=5)]
        with started(tmp_path / "s", task={"behaviour": {1: "diverge"}}) as study:
            fill(study, jobs, heard := Heard())
            failed = study.results.trainings[line[1].key]
        assert (failed.reason, failed.metrics) == ("the loss is NaN after epoch 1", {})
        assert [one.key for one in heard.trainings] == [jobs[3].key, line[0].key, line[1].key]
        with resumed(tmp_path / "s") as study:
            fill(study, jobs, heard := Heard())
            assert not heard.trainings
            fill(study, jobs, heard, retry_failed=True)
            assert [one.key for one in heard.trainings] == [line[1].key]  # once, and it failed again
            study.task = NullTask(noise=0.1)
            fill(study, jobs, heard := Heard(), retry_failed=True)
        assert [one.key for one in heard.trainings] == [line[1].key, line[2].key]
        assert not any(one.has_failed for one in read_study(tmp_path / "s", "test")[1].trainings.values())

    def test_failures_alike_in_a_row_stop_it(self, tmp_path):
        jobs = [scratch(repetition=number) for number in range(9)]
        behaviour = {2: "raise", 3: "diverge", 5: "raise", 6: "raise", 7: "raise"}
        with started(tmp_path / "s", task={"behaviour": behaviour}) as study:
            with pytest.raises(
                StudyStoppedError, match="3 trainings in a row failed alike: RuntimeError: the null"
            ) as stop:
                fill(study, jobs, Heard())
            assert len(study.results.trainings) == 8
        assert "Traceback" in stop.value.trace
        assert "--retry-failed" in str(stop.value)

    def test_codes_may_fail_by_what_they_are_once_one_has_a_result(self, tmp_path):
        jobs = [scratch(repetition=number) for number in range(9)]
        with started(tmp_path / "s", task={"behaviour": dict.fromkeys(range(1, 8), "diverge")}) as study:
            fill(study, jobs, Heard())
            assert [one.has_failed for one in study.results.trainings.values()] == [False, *[True] * 7, False]

    def test_failures_that_differ_in_numbers_are_alike(self, tmp_path, monkeypatch):
        def evaluate(self, request, report):
            raise EvaluationError(f"out of memory: {request.seed} bytes are free")

        monkeypatch.setattr(NullTask, "evaluate", evaluate)
        with started(tmp_path / "s") as study:
            with pytest.raises(StudyStoppedError, match="3 trainings in a row failed alike"):
                fill(study, [scratch(repetition=number) for number in range(9)], Heard())
            assert len({training.reason for training in study.results.trainings.values()}) == 3

    def test_a_users_mistake_ends_it_and_enters_nothing(self, tmp_path):
        with started(tmp_path / "s", task={"behaviour": {0: "user-error"}}) as study:
            with pytest.raises(DataError):
                fill(study, [scratch()], Heard())
            assert not study.results.trainings

    def test_a_task_that_returns_no_evaluation_fails_with_its_reason(self, tmp_path, monkeypatch):
        with started(tmp_path / "s") as study:
            monkeypatch.setattr(NullTask, "evaluate", lambda *_: None)
            fill(study, [scratch()], heard := Heard())
        assert "NullTask.evaluate returned a NoneType" in heard.trainings[0].reason

    def test_a_task_that_writes_no_weights_fails_where_they_are_inherited(self, tmp_path, monkeypatch):
        evaluate = NullTask.evaluate
        monkeypatch.setattr(
            NullTask, "evaluate", lambda self, r, report: evaluate(self, replace(r, weights=None), report)
        )
        line = line_of(1)
        with started(tmp_path / "s") as study:
            fill(study, line, heard := Heard())
        assert [one.key for one in heard.trainings] == [line[0].key]
        assert "has written no weights" in heard.trainings[0].reason

    def test_another_job_under_a_known_name_is_refused(self, tmp_path):
        with started(tmp_path / "s") as study:
            fill(study, [scratch()], Heard())
            with pytest.raises(ConfigError, match="holds another training called scratch of b@8_11-21-21-21"):
                fill(study, [replace(scratch(), split="test")], Heard())

    def test_stopping_loses_nothing_finished(self, tmp_path):
        jobs = [job for repetition in range(4) for job in line_of(2, repetition)]
        with started(tmp_path / "whole") as study:
            fill(study, jobs, Heard())
            whole = without_time(study.results.trainings)

        def stop():
            raise KeyboardInterrupt

        for after in (1, 4, 7):
            folder = tmp_path / str(after)
            with started(folder) as study, pytest.raises(KeyboardInterrupt):
                fill(study, jobs, Heard(after, stop), batch=2)
            with resumed(folder) as study:
                assert len(study.results.trainings) == after
                fill(study, jobs, Heard())
                assert without_time(study.results.trainings) == whole

    def test_workers_compute_the_same(self, tmp_path):
        jobs = [job for repetition in range(3) for job in line_of(2, repetition)]
        with started(tmp_path / "one", executor={"name": "inline", "cores": 1}) as study:
            fill(study, jobs, Heard())
            one = without_time(study.results.trainings)
        executor = {"name": "processes", "workers": 2, "cores": 2}
        with started(tmp_path / "two", executor=executor) as study:
            fill(study, jobs, heard := Heard())
            assert without_time(study.results.trainings) == one
        assert heard.progressed >= len(jobs)

    @pytest.mark.parametrize(("workers", "most"), [(1, 16), (8, 16), (20, 40)])
    def test_a_batch_has_two_jobs_for_every_worker(self, tmp_path, monkeypatch, workers, most):
        waiting = []

        class Many(InlineExecutor):
            def outcomes(self):
                waiting.append(len(self._waiting))
                return super().outcomes()

        def many(study, report):
            executor = Many(study.settings.executor, study.task, workers, report)
            executor.workers = workers
            return executor

        monkeypatch.setattr(Study, "make_executor", many)
        with started(tmp_path / "s") as study:
            fill(study, [scratch(repetition=number) for number in range(most + 1)], Heard())
        assert waiting == [most, 1]


KILLED = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
from spnas_search.studies import fill
from studying import *
with started(Path({folder!r}), task={{"duration": 0.02}}) as study:
    fill(study, [job for number in range(9) for job in line_of(3, number)], Heard())
"""


def test_killing_it_anywhere_loses_nothing_finished(tmp_path):
    jobs = [job for number in range(9) for job in line_of(3, number)]
    with started(tmp_path / "whole", task={"duration": 0.0}) as study:
        fill(study, jobs, Heard())
        whole = without_time(study.results.trainings)
    folder = tmp_path / "killed"
    text = f"{KILLED.format(here=str(Path(studying.__file__).parent), folder=str(folder))}"
    process = subprocess.Popen(
        [sys.executable, "-c", text], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    try:
        lines = folder / "trainings.jsonl"
        while not (lines.exists() and lines.read_bytes().count(b"\n") >= 7):
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)  # asked again and again: a kill comes from outside, at no moment that the study knows of
        with pytest.raises(HeldError, match=rf"the study in {folder} is held by process {process.pid}"):
            resumed(folder)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with resumed(folder) as study:
        assert 7 <= len(study.results.trainings) < len(jobs)
        fill(study, jobs, Heard())
        assert without_time(study.results.trainings) == whole
    assert not list((folder / "weights").iterdir())


class Curved(NullTask):
    """Scores in between, too."""

    def evaluate(self, request, report):
        evaluation = super().evaluate(request, report)
        return replace(evaluation, receipt={"partial_scores": {"1": {"score": 0.25}}})


def test_scores_in_between_stand_with_a_training(tmp_path):
    with started(tmp_path / "s") as study:
        study.task = Curved()
        fill(study, [scratch(epochs=2)], Heard())
        (training,) = study.results.trainings.values()
        assert training.partial == {1: {"score": 0.25}}
    with resumed(tmp_path / "s") as study:
        assert study.results.trainings[training.key] == training
