"""A study's folder is begun, gone on with and refused as a run's is; what is left to do is forecast."""

from dataclasses import replace
from itertools import pairwise

import pytest
from studying import Heard, resumed, scratch, started, training

from spnas_core.errors import ArchiveError, ConfigError, DataError
from spnas_core.tasks import MetricSpec
from spnas_search.installed import installed_versions
from spnas_search.studies import (
    fill,
    read_study,
)
from spnas_search.studies.description import CONFIG
from spnas_search.studies.forecast import seconds_left
from spnas_search.testing.null_task import NullTask


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
        with pytest.raises(ConfigError, match=r"holds a run \(run\.toml\): choose another --out"):
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
            assert study.settings.executor.cores == 1
            assert "budget" not in study.description.settings

    def test_a_setting_that_there_was_not_yet_has_its_default(self, tmp_path):
        started(tmp_path / "s").close()
        begun, _ = read_study(tmp_path / "s", "test")
        space = {key: value for key, value in begun.settings["space"].items() if key != "sampling"}
        replace(begun, settings={**begun.settings, "space": space}).write(tmp_path / "s")
        with pytest.raises(ConfigError, match=r"was made with space.sampling = 'grown', not 'any'"):
            resumed(tmp_path / "s", changes={"space": {"sampling": "any"}})
        for _ in range(2):
            resumed(tmp_path / "s").close()
        assert read_study(tmp_path / "s", "test")[0] == begun

    def test_another_executor_replaces_the_first_with_all_that_it_had(self, tmp_path):
        started(tmp_path, executor={"name": "processes", "timeout": 5.0}).close()
        with resumed(tmp_path, changes={"executor": {"workers": 1}}) as study:
            assert study.settings.as_dict()["executor"]["timeout"] == 5.0
        with resumed(tmp_path, changes={"executor": {"name": "inline"}}) as study:
            assert "timeout" not in study.settings.as_dict()["executor"]

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
        now = {**installed_versions(), "spnas-core": "9.9", "torch": "1.0"}
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
