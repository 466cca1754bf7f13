"""A table of trainings grows over many sessions, survives whatever ends them, and depends on no order."""

import errno
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from spnas_core import Architecture
from spnas_core.errors import ArchiveError, ConfigError, DataError, HeldError, MachineError
from spnas_core.morphisms import Expand, Rewrite, identity
from spnas_core.tasks import Fidelity, MetricSpec
from spnas_search.executors.resources import share_cores
from spnas_search.settings import resolve
from spnas_search.studies import (
    Job,
    Study,
    StudyStoppedError,
    Training,
    TrainingKey,
    build_task,
    fill,
    read_study,
    resume_study,
    start_study,
)
from spnas_search.studies.description import CONFIG
from spnas_search.studies.forecast import seconds_left
from spnas_search.studies.jobs import Schedule
from spnas_search.studies.trainings import TrainingFile, read_trainings
from spnas_search.testing.null_task import NullTask

START = Architecture.parse("b@8_11-21-21-21")
CHILD = Expand().options(START)[0]
NAMES = st.text("abcdef", min_size=1, max_size=4)
KEYS = st.builds(
    TrainingKey,
    NAMES,
    NAMES,
    st.integers(0, 99),
    st.integers(0, 9),
    st.dictionaries(NAMES.filter(lambda name: name != "code"), st.integers(-9, 9) | NAMES, max_size=2).map(
        lambda extra: tuple(extra.items())
    ),
)


def started(folder, *, task=None, **values) -> Study:
    values = {"task": {"name": "null", "noise": 0.1, **(task or {})}, "executor": {"name": "inline"}, **values}
    resolved = resolve(values)
    return start_study(folder, "test", resolved, build_task(resolved), lambda *_: None, own={"most": 3})


def resumed(folder, **options) -> Study:
    return resume_study(folder, "test", lambda *_: None, **options)


class Heard:
    """Remembers what it is told, and does something after so many trainings."""

    def __init__(self, after: int = -1, act=lambda: None) -> None:
        self.trainings, self.messages, self.progressed = [], [], 0
        self.after, self.act = after, act

    def message(self, text):
        self.messages.append(text)

    def progress(self, progress):
        self.progressed += 1

    def finished(self, training):
        self.trainings.append(training)
        if len(self.trainings) == self.after:
            self.act()


def scratch(code: str | Architecture = START, epochs: int = 2, repetition: int = 0, **extra) -> Job:
    rewrite = identity(Architecture.parse(str(code)))
    key = TrainingKey(str(code), "scratch", epochs, repetition, tuple(extra.items()))
    return Job(key, rewrite, Fidelity(epochs))


def heir(parent: Job, rewrite: Rewrite | None = None, epochs: int = 1, how: str = "heir") -> Job:
    rewrite = rewrite or identity(parent.rewrite.child)
    key = TrainingKey(str(rewrite.child), how, epochs, parent.key.repetition, (("from", parent.key.number),))
    return Job(key, rewrite, Fidelity(epochs), parent.key)


def line_of(length: int, repetition: int = 0) -> list[Job]:
    """A chain of expansions, one epoch each."""
    line = [scratch(epochs=1, repetition=repetition)]
    for _ in range(length):
        line.append(heir(line[-1], Expand().options(line[-1].rewrite.child)[0]))
    return line


def without_time(trainings) -> dict:
    return {key: replace(training, seconds=0.0) for key, training in trainings.items()}


class TestKeys:
    def test_seed_and_number_never_change(self):
        key = TrainingKey("b@8_11-21", "warm-start", 4, 2, (("path", "ab12"), ("data", "small")))
        assert (key.seed(7), key.seed(8), key.number) == (1066992529, 1577458376, 269757425922321)
        assert TrainingKey("b@8_11-21", "scratch", 4, 2).seed(0) == 1714638269

    @given(st.lists(KEYS, unique=True, min_size=2, max_size=8))
    def test_different_keys_differ_in_seed_and_number(self, keys):
        assert len({key.seed(0) for key in keys}) == len({key.number for key in keys}) == len(keys)

    @given(KEYS)
    def test_reading_is_the_inverse_of_writing(self, key):
        read = TrainingKey.read(json.loads(json.dumps(key.as_dict())))
        assert (read, read.number, read.seed(3)) == (key, key.number, key.seed(3))

    def test_the_order_of_extra_fields_does_not_count(self):
        one = TrainingKey("a", "b", 1, 0, (("x", 1), ("y", 2)))
        assert one == TrainingKey("a", "b", 1, 0, (("y", 2), ("x", 1)))

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            (("a", "b", -1, 0), "the epochs of a training are -1"),
            (("a", "b", 1, 0.0), "the repetition of a training are 0.0"),
            (("a", "b", True, 0), "the epochs of a training are True"),
            (("a", None, 1, 0), "the field 'how' of a training is None"),
            (("a", "b", 1, 0, (("x", 0.5),)), "the field 'x' of a training is 0.5"),
            (("a", "b", 1, 0, (("code", "c"),)), "take a name twice"),
        ],
    )
    def test_refusals(self, fields, message):
        with pytest.raises(ConfigError, match=message):
            TrainingKey(*fields)


def training(number: int = 0, **values) -> Training:
    given = {"metrics": {"AP": 0.1 * number, "LAMR": math.nan}, "cost": {"parameters": 7}, **values}
    return Training(TrainingKey("b@8_11-21", "scratch", 4, number), "d" * 16, number, 1, 1.5, 4, **given)


class TestTheFile:
    def test_what_is_appended_is_read(self, tmp_path):
        path = tmp_path / "trainings.jsonl"
        with TrainingFile(path) as file:
            for number in range(3):
                file.append(training(number))
            file.append(training(3, metrics={}, cost={}, reason="the loss is NaN"))
        found = read_trainings(path)
        assert [one.key.repetition for one in found.trainings.values()] == [0, 1, 2, 3]
        assert repr(list(found.trainings.values())[1]) == repr(training(1))
        assert math.isnan(found.trainings[training(0).key].metrics["LAMR"])
        assert found.trainings[training(3).key].has_failed
        assert not found.note
        assert all(json.loads(line) for line in path.read_text().splitlines())

    def test_of_two_lines_of_one_key_the_last_counts(self, tmp_path):
        with TrainingFile(tmp_path / "t") as file:
            file.append(training(1, metrics={}, reason="no luck"))
            file.append(training(1))
        assert not read_trainings(tmp_path / "t").trainings[training(1).key].has_failed

    def test_a_cut_anywhere_loses_the_cut_line_and_no_other(self, tmp_path):
        path = tmp_path / "t"
        with TrainingFile(path) as file:
            for number in range(3):
                file.append(training(number))
        whole = path.read_bytes()
        ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
        for size in range(len(whole)):
            path.write_bytes(whole[:size])
            complete = sum(end <= size for end in ends)
            found = read_trainings(path)
            assert len(found.trainings) == complete
            assert bool(found.note) == (size not in {0, *ends})
            if size % 7:
                continue
            with TrainingFile(path) as file:
                assert file.note == found.note
                file.append(training(9))
            again = read_trainings(path)
            assert not again.note
            assert [key.repetition for key in again.trainings] == [*range(complete), 9]

    def test_zeros_after_a_power_cut_are_dropped(self, tmp_path):
        (tmp_path / "t").write_bytes(b"\0" * 40)
        assert "the last line was cut off" in read_trainings(tmp_path / "t").note

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("{not json}", "t, line 2: it is no JSON; restore a copy"),
            ("[1]", "t, line 2: the field 'metrics' is missing"),
            (
                '{"code": "a", "how": "b", "epochs": 1, "metrics": {}, "cost": {}}',
                "line 2: the field 'digest' is missing",
            ),
            ('{"metrics": {"AP": "high"}, "cost": {}}', "line 2: a field is of another kind"),
            ("", "line 2: it is no JSON"),
        ],
    )
    def test_another_line_that_is_damaged_is_named(self, tmp_path, line, message):
        path = tmp_path / "t"
        with TrainingFile(path) as file:
            file.append(training(0))
        path.write_text(f"{path.read_text()}{line}\n{path.read_text()}")
        with pytest.raises(ArchiveError, match=message):
            read_trainings(path)

    @pytest.mark.parametrize("fails", ["write", "fsync"])
    def test_a_full_disk_leaves_the_file_as_it_was(self, tmp_path, monkeypatch, fails):
        path = tmp_path / "t"
        with TrainingFile(path) as file:
            file.append(training(0))
            before, write = path.read_bytes(), os.write

            def half(descriptor, data):
                monkeypatch.setattr(os, "write", full)
                return write(descriptor, data[: len(data) // 2])

            def full(*_):
                raise OSError(errno.ENOSPC, "No space left on device")

            monkeypatch.setattr(os, fails, half if fails == "write" else full)
            with pytest.raises(MachineError, match="No space left on device"):
                file.append(training(1))
            monkeypatch.undo()
            assert path.read_bytes() == before
            file.append(training(1))
        assert len(read_trainings(path).trainings) == 2

    def test_every_line_is_on_the_disk_before_it_counts(self, tmp_path, monkeypatch):
        synced = []
        with TrainingFile(tmp_path / "t") as file:
            monkeypatch.setattr(os, "fsync", lambda _: synced.append((tmp_path / "t").read_text().count("\n")))
            file.append(training(0))
            file.append(training(1))
        assert synced == [1, 2]


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

    def test_weights_that_are_gone_are_made_again_and_their_scores_stay(self, tmp_path):
        line = line_of(3)
        with started(tmp_path / "s", task={"noise": 0.0}) as study:
            fill(study, line[:2], Heard())  # nothing inherits from the second yet, so its weights are not kept
            before = dict(study.results.trainings)
            fill(study, line, heard := Heard())
            found = study.results.trainings
        assert [message.split(":")[0] for message in heard.messages] == [
            f"the weights of {job.key} are missing" for job in line[:2]
        ]
        assert [one.key for one in heard.trainings] == [job.key for job in line[2:]]
        assert all(found[key] == one for key, one in before.items())
        assert found[line[3].key].metrics["score"] == NullTask().score(str(line[3].rewrite.child), 4)
        assert len(read_study(tmp_path / "s", "test")[1].trainings) == 4

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


KILLED = """
import sys
sys.path.insert(0, {here!r})
from test_studies_trainings import *
with started(Path({folder!r}), task={{"duration": 0.02}}) as study:
    fill(study, [job for number in range(9) for job in line_of(3, number)], Heard())
"""


def test_killing_it_anywhere_loses_nothing_finished(tmp_path):
    jobs = [job for number in range(9) for job in line_of(3, number)]
    with started(tmp_path / "whole", task={"duration": 0.0}) as study:
        fill(study, jobs, Heard())
        whole = without_time(study.results.trainings)
    folder = tmp_path / "killed"
    text = f"{KILLED.format(here=str(Path(__file__).parent), folder=str(folder))}"
    process = subprocess.Popen(
        [sys.executable, "-c", text], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    try:
        lines = folder / "trainings.jsonl"
        while not (lines.exists() and lines.read_bytes().count(b"\n") >= 7):
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
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


class TestTheFolder:
    def test_a_new_study_needs_a_folder_without_one(self, tmp_path):
        started(tmp_path / "s").close()
        with pytest.raises(ConfigError, match="holds a study already: continue it with --resume"):
            started(tmp_path / "s")
        (tmp_path / "s" / CONFIG).unlink()
        with pytest.raises(ConfigError, match=r"holds trainings.jsonl of an earlier study, without its study.toml"):
            started(tmp_path / "s")
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "run.toml").touch()
        with pytest.raises(ConfigError, match="holds a run already"):
            started(tmp_path / "run")

    def test_a_study_that_cannot_start_leaves_nothing_behind(self, tmp_path, monkeypatch):
        def prepare(self, cache, report):
            cache.mkdir(parents=True)
            raise DataError("no images")

        monkeypatch.setattr(NullTask, "prepare", prepare)
        with pytest.raises(DataError):
            started(tmp_path / "a" / "s")
        assert not (tmp_path / "a").exists()
        for values, error in (
            ({"objective": "scor"}, "did you mean 'score'"),
            ({"executor": {"name": "x"}}, "executor"),
        ):
            with pytest.raises(Exception, match=error):
                started(tmp_path / "a" / "s", **values)
            assert not (tmp_path / "a").exists()

    def test_what_is_no_study_is_refused(self, tmp_path):
        for folder in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(ArchiveError, match=r"holds no study: there is no study.toml in it"):
                resumed(folder)
        started(tmp_path / "s").close()
        with pytest.raises(ArchiveError, match="holds a study of the kind 'test', not 'signal'"):
            read_study(tmp_path / "s", "signal")

    def test_settings_that_decide_a_score_must_stay(self, tmp_path):
        started(tmp_path / "s").close()
        with pytest.raises(
            ConfigError, match=r"was made with task.noise = 0.1, not 0.2: leave that out, or start another"
        ):
            resumed(tmp_path / "s", changes={"task": {"noise": 0.2}})
        with pytest.raises(ConfigError, match="was made with seed = 0, not 1"):
            resumed(tmp_path / "s", changes={"seed": 1})
        resumed(tmp_path / "s", changes={"executor": {"cores": 1}, "budget": {"candidates": 7}}).close()
        with resumed(tmp_path / "s") as study:
            assert study.settings.run.executor.cores == 1
            assert "budget" not in study.description.settings

    def test_another_objective_is_taken(self, tmp_path):
        started(tmp_path / "s", objective="loss").close()
        assert read_study(tmp_path / "s", "test")[0].objective == MetricSpec("loss", higher_is_better=False)
        resumed(tmp_path / "s", changes={"objective": "score"}).close()
        assert read_study(tmp_path / "s", "test")[0].objective == MetricSpec("score")

    def test_an_altered_description_is_noticed(self, tmp_path):
        started(tmp_path / "s").close()
        path = tmp_path / "s" / CONFIG
        text = path.read_text()
        for old, new in (("seed = 0", "seed = 1"), ("noise = 0.1", "noise = 0.2"), ('kind = "test"', "kind = 3")):
            path.write_text(text.replace(old, new))
            with pytest.raises(ConfigError, match=r"study.toml was altered"):
                resumed(tmp_path / "s")
        path.write_text(text.replace('cores = "auto"', "cores = 1"))
        resumed(tmp_path / "s").close()

    def test_data_must_be_what_it_was_wherever_it_lies(self, tmp_path, monkeypatch):
        monkeypatch.setattr(NullTask, "fingerprint", "abc", raising=False)
        started(tmp_path / "s").close()
        resumed(tmp_path / "s").close()
        monkeypatch.setattr(NullTask, "fingerprint", "other")
        with pytest.raises(ConfigError, match=r"the data of .* has changed: .* restore it, say where that data lies"):
            resumed(tmp_path / "s")

    def test_other_versions_are_taken_when_accepted(self, tmp_path, monkeypatch):
        started(tmp_path / "s").close()
        now = {"spnas-core": "9.9", "torch": "1.0"}
        monkeypatch.setattr("spnas_search.studies.study.installed_versions", lambda: now)
        with pytest.raises(
            ConfigError, match=r"was computed with spnas-core .*, and 9.9 is installed: .*--accept-versions"
        ):
            resumed(tmp_path / "s")
        resumed(tmp_path / "s", accept_versions=True).close()
        resumed(tmp_path / "s").close()

    def test_a_line_that_was_cut_off_is_told(self, tmp_path):
        with started(tmp_path / "s") as study:
            fill(study, [scratch(), scratch(epochs=3)], Heard())
        path = tmp_path / "s" / "trainings.jsonl"
        path.write_bytes(path.read_bytes()[:-9])
        with resumed(tmp_path / "s") as study:
            assert study.remarks == [
                "trainings.jsonl: the last line was cut off and is dropped; its training is made again"
            ]
            fill(study, [scratch(), scratch(epochs=3)], heard := Heard())
        assert [one.key.epochs for one in heard.trainings] == [2]  # the shorter one was the last


class TestResources:
    def settings(self, **values):
        return resolve({"task": {"name": "null"}, "executor": values}).run.executor

    def test_cores_are_shared(self):
        found = share_cores(self.settings(cores=4))
        assert (found.workers, found.threads) == (4, 1)
        found = share_cores(self.settings(cores=5, workers=2))
        assert (found.workers, found.threads, found.remark) == (2, 2, "")
        found = share_cores(self.settings(name="inline", cores=4))
        assert (found.workers, found.threads, found.remark) == (1, 4, "")

    def test_what_an_executor_cannot_do_is_said(self):
        found = share_cores(self.settings(name="inline", cores=4, workers=3))
        assert (found.workers, found.threads) == (1, 4)
        assert "the executor 'inline' has at most 1" in found.remark
        with pytest.raises(ConfigError, match=r"executor.workers is 3, on 2 CPU"):
            share_cores(self.settings(cores=2, workers=3))
        with pytest.raises(ConfigError, match="cannot end an evaluation"):
            share_cores(self.settings(name="inline", timeout=3))


class TestTheForecast:
    def done(self, *pairs):
        return [replace(training(number), trained_epochs=e, seconds=s) for number, (e, s) in enumerate(pairs)]

    def test_seconds_follow_from_trainings_and_epochs(self):
        done = self.done((1, 5.0), (2, 7.0), (10, 23.0), (4, 11.0))  # 3 s, and 2 s per epoch
        missing = [scratch(epochs=5), scratch(epochs=20)]
        assert seconds_left(done, missing, 1) == pytest.approx(2 * 3 + 25 * 2)
        assert seconds_left(done, missing, 2) == pytest.approx(28)
        assert seconds_left(done, [], 2) == 0

    def test_few_trainings_tell_nothing(self):
        done = self.done((1, 5.0), (2, 7.0), (3, 9.0))
        assert seconds_left(done[:2], [scratch()], 1) is None
        assert seconds_left([*done[:2], replace(done[2], reason="no luck")], [scratch()], 1) is None

    def test_epochs_never_cost_less_than_nothing(self):
        left = [seconds_left(self.done((1, 9.0), (2, 5.0), (4, 2.0)), [scratch(epochs=e)], 1) for e in (1, 9, 99)]
        assert all(one >= 0 for one in left)
        assert all(a <= b for a, b in pairwise(left))
