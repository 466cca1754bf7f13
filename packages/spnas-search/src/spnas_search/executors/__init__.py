"""Where evaluations run: in this process, in worker processes, or wherever a plugin takes them."""

from typing import cast

from spnas_core.plugins import registry
from spnas_search.executors._base import Executor, ExecutorPlugin, Outcome, evaluate_all, places
from spnas_search.executors.checked import CheckedExecutor, make_executor
from spnas_search.executors.settings import ExecutorSettings


def executor_plugin(name: str) -> ExecutorPlugin:
    """Look up a registered executor.

    Raises:
        PluginError: nobody registers the name; the nearest known one is suggested.
    """
    return cast("ExecutorPlugin", registry("executors").get(name))


__all__ = [
    "CheckedExecutor",
    "Executor",
    "ExecutorPlugin",
    "ExecutorSettings",
    "Outcome",
    "evaluate_all",
    "executor_plugin",
    "make_executor",
    "places",
]
