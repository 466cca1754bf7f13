"""Where evaluations run: in this process, in worker processes, or wherever a plugin takes them."""

from typing import cast

from spnas_core.plugins import registry
from spnas_search.executors._base import Executor, ExecutorFactory, Outcome


def executor_factory(name: str) -> ExecutorFactory:
    """Look up a registered executor.

    Raises:
        PluginError: nobody registers the name; the nearest known one is suggested.
    """
    return cast("ExecutorFactory", registry("executors").get(name))


__all__ = ["Executor", "ExecutorFactory", "Outcome", "executor_factory"]
