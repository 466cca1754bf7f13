"""A run is held to the images that it reignites on, where these are none of its data."""

import pytest

from spnas_core.errors import ConfigError
from spnas_search.archive import Archive
from spnas_search.run import resume_run, start_run
from spnas_search.testing import NullTask

SETTINGS = {"task": {"name": "null"}, "executor": {"name": "inline"}, "strategy": {"name": "full"}}


@pytest.fixture
def begun(tmp_path, monkeypatch):
    monkeypatch.setattr(NullTask, "pretraining_fingerprint", "one", raising=False)
    with start_run(tmp_path / "run", SETTINGS, lambda *_: None) as run:
        return run.folder


def resumed(folder) -> None:
    with resume_run(folder, lambda *_: None):
        pass


def test_other_images_to_reignite_on_are_refused(begun, monkeypatch):
    resumed(begun)
    for other in ("two", ""):
        monkeypatch.setattr(NullTask, "pretraining_fingerprint", other)
        with pytest.raises(ConfigError, match=r"reignites its candidates on \(task\.pretraining\.data\) have changed"):
            resumed(begun)
    monkeypatch.setattr(NullTask, "pretraining_fingerprint", "one")
    resumed(begun)


def test_a_run_that_began_before_they_were_remembered_is_held_to_those_it_goes_on_with(begun, monkeypatch):
    with Archive.open(begun / "archive.db") as archive:
        archive.forget("pretraining")
    monkeypatch.setattr(NullTask, "pretraining_fingerprint", "two")
    resumed(begun)
    monkeypatch.setattr(NullTask, "pretraining_fingerprint", "three")
    with pytest.raises(ConfigError, match="have changed: restore them"):
        resumed(begun)
