"""How cores are shared among evaluations."""

import pytest

from spnas_core.errors import ConfigError
from spnas_search.executors.resources import share_cores
from spnas_search.settings import resolve


class TestResources:
    def settings(self, **values):
        return resolve({"task": {"name": "null"}, "executor": values}).executor

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

    def test_the_environments_limit_of_threads_holds_unless_the_settings_say(self, monkeypatch):
        monkeypatch.setattr("spnas_search.executors.resources.usable_cores", lambda: 8)
        for limit, threads in (("1", 1), ("3", 3), ("16", 8)):
            monkeypatch.setenv("OMP_NUM_THREADS", limit)
            assert share_cores(self.settings(name="inline")).threads == threads
            assert share_cores(self.settings(name="inline", cores=5)).threads == 5
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        found = share_cores(self.settings(workers=2))
        assert (found.workers, found.threads) == (2, 1)
        assert share_cores(self.settings(), side_by_side=6).workers == 6
