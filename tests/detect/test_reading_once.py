"""Annotations are parsed once, and handed on: to a run's next step, to several processes, to several trainings."""

import pickle

import pytest
from commands import done
from tiny_training import tiny_settings
from voc_folder import write_voc

from spnas_core.encoding import Architecture
from spnas_core.morphisms import identity
from spnas_core.once import once, reading_once
from spnas_core.tasks import EvaluationRequest, Fidelity
from spnas_detect.commands.progress import TrainProgress
from spnas_detect.data import READERS, open_cache
from spnas_detect.data.voc import read_voc
from spnas_detect.jobs import train
from spnas_detect.preparation import prepare_together
from spnas_detect.processes import ALONE
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask
from spnas_search.run import start_run

TINY = ["--epochs", "1", "--set", "detector.neck_channels=8", "--set", "detector.head_channels=16"]
TINY += ["--set", "training.batch_size=4"]


@pytest.fixture
def voc(tmp_path):
    return write_voc(tmp_path / "voc", images=8)


@pytest.fixture
def parsed(monkeypatch):
    """What was parsed in this process."""
    seen = []

    def reader(path, *, seed, options):
        seen.append(path)
        return read_voc(path, seed=seed, options=options)

    monkeypatch.setitem(READERS, "voc", reader)
    from spnas_core.plugins import registry

    monkeypatch.setitem(registry("datasets").items, "voc", reader)
    return seen


def test_something_is_read_once_inside_and_kept_no_longer_than_needed():
    count = []

    def read():
        count.append(1)
        return len(count)

    assert [once("a", read), once("a", read)] == [1, 2]
    with reading_once():
        assert [once("a", read), once("a", read), once("b", read), once("a", read, is_last=True)] == [3, 3, 4, 3]
        assert once("a", read) == 5
        with reading_once():
            assert once("a", read) == 6
        assert once("a", read) == 5
    assert once("a", read) == 7


def test_a_new_training_parses_once(voc, tmp_path, parsed):
    done("train", "b@8_1-2", *TINY, "--data", f"voc:{voc}", "--out", str(tmp_path / "out"))
    assert len(parsed) == 1
    done("train", "--out", str(tmp_path / "out"), "--resume")
    assert len(parsed) == 2


def test_a_comparison_parses_once_for_all_trainings(voc, tmp_path, parsed):
    out = ["--seeds", "1", "--out", str(tmp_path / "out")]
    done("compare", "b@8_1-2", "b@8_11-2", *TINY, "--data", f"voc:{voc}", *out)
    assert len(parsed) == 1


def test_a_search_parses_once_before_it_begins(voc, tmp_path, parsed):
    values = {
        "start": "b@8_1-1-1-1",
        "task": {"name": "detection", "data": f"voc:{voc}", "detector": {"neck_channels": 8}},
        "strategy": {"name": "serial", "reignition": {"most": 1}},
        "executor": {"name": "inline"},
    }
    with start_run(tmp_path / "run", values, lambda *_: None):
        assert len(parsed) == 1


def test_processes_that_are_started_get_the_cache_and_parse_nothing(voc, tmp_path, parsed, monkeypatch):
    given = []

    def launch(function, arguments, processes):
        given.append((arguments, processes))
        return [function(*pickle.loads(pickle.dumps(arguments)))]

    monkeypatch.setattr("spnas_detect.jobs.session.launch", launch)
    settings = tiny_settings(data=f"voc:{voc}", data_options={}, epochs=1)
    alone = train(settings, tmp_path / "one")
    assert (len(parsed), given) == (1, [])
    progress = TrainProgress(stderr=True)
    progress.message("a remark")  # from now on it holds a console, which does not pickle
    both = train(
        settings.model_copy(update={"devices": 2}), tmp_path / "two", cache=tmp_path / "one" / "cache", monitor=progress
    )
    assert (len(parsed), given[0][1]) == (2, 2)
    assert both.scores == alone.scores


def test_a_candidate_on_another_canvas_takes_the_cache_that_another_worker_has_made(voc, tmp_path, parsed):
    request = EvaluationRequest(
        0, identity(Architecture.parse("b@8_1-1-1-1")), None, None, Fidelity(0, image_size=(32, 32)), seed=0
    )
    task = DetectionTask(DetectionSettings(data=f"voc:{voc}", image_size=(64, 64), training={"batch_size": 4}))
    task.prepare(tmp_path / "cache", lambda *_: None)
    workers = [pickle.loads(pickle.dumps(task)) for _ in range(2)]
    scores = [worker.evaluate(request, lambda _: None).metrics for worker in workers]
    assert repr(scores[0]) == repr(scores[1])
    assert len(parsed) == 2
    assert {open_cache(one).image_size for one in (tmp_path / "cache").iterdir()} == {(64, 64), (32, 32)}


class Rank:
    """One of two processes, whose calls to gather are answered by a script."""

    def __init__(self, rank, local_rank, answers):
        self.is_first, self.local_rank, self.answers = rank == 0, local_rank, iter(answers)

    def gather_values(self, value):
        return [value, *next(self.answers)]


def test_a_process_opens_what_the_first_one_of_its_disk_has_prepared(voc, tmp_path, parsed):
    settings = tiny_settings(data=f"voc:{voc}", data_options={})

    def prepared(processes):
        return prepare_together(settings, tmp_path / "cache", lambda *_: None, processes)

    first = prepared(ALONE)
    assert len(parsed) == 1
    place, elsewhere = (str(first.folder), str(first.root)), ("/nowhere/cache", "/nowhere")
    assert prepared(Rank(1, 1, [[place]] * 3)).folder == first.folder
    assert len(parsed) == 1
    assert prepared(Rank(2, 0, [[elsewhere]] * 3)).folder == first.folder  # the first one of another node
    assert len(parsed) == 2
    assert prepared(Rank(3, 1, [[elsewhere], [elsewhere, place], [elsewhere, place]])).folder == first.folder
    assert len(parsed) == 2
    assert prepared(Rank(3, 1, [[elsewhere]] * 3)).folder == first.folder  # nobody's disk is shared
    assert len(parsed) == 3
