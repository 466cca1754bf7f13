"""Runs from before a setting was there go on, again and again."""

import json

import pytest

from spnas_core.configuration import read_toml, write_toml
from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError
from spnas_core.morphisms import identity
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Proposal
from spnas_search.run import resume_run, start_run
from spnas_search.run.reopening import extend_budget


def quiet(*_):
    """Whoever is told of reading the data."""


@pytest.fixture
def old(tmp_path):
    """A run whose settings know nothing of ``min_mutations``, neither in its file nor in its archive."""
    out = tmp_path / "run"
    settings = {"task": {"name": "null"}, "executor": {"name": "inline"}, "budget": {"candidates": 3}}
    with start_run(out, settings, quiet):
        pass
    values = read_toml(out / "run.toml")
    del values["strategy"]["min_mutations"]
    write_toml(values, out / "run.toml")
    with Archive.open(out / "archive.db") as archive:
        archive.remember("settings", json.dumps(values))
        start = identity(Architecture.parse("b@8_11-21-21-21"))
        archive.commit_round([Proposal("start", None, start, Fidelity(4))], threads=1)
        archive.fail(0, "told to")  # from the first result on the settings are fixed
    return out


def test_a_run_from_before_a_setting_is_resumed_more_than_once(old):
    for _ in range(3):
        with resume_run(old, quiet) as run:
            assert run.settings.strategy.min_mutations == 1
            assert "min_mutations" not in run.archive.recall("settings")


def test_it_is_extended_and_resumed(old):
    extend_budget(old, {"candidates": 5})
    for _ in range(2):
        with resume_run(old, quiet) as run:
            assert run.settings.run.budget.candidates == 5


def test_another_value_of_that_setting_is_refused(old):
    values = read_toml(old / "run.toml")
    values["strategy"] |= {"min_mutations": 2, "max_mutations": 2}
    write_toml(values, old / "run.toml")
    with pytest.raises(ConfigError, match=r"has strategy\.max_mutations = 2, and the run was made with 3"):
        resume_run(old, quiet)
