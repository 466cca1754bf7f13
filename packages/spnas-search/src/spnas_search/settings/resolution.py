"""Checking the configuration of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel

from spnas_core.configuration import read_toml, set_key, set_value, validate, without_none, write_toml
from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError
from spnas_core.plugins import registry
from spnas_search.executors import ExecutorSettings, executor_plugin
from spnas_search.settings.models import RunSettings
from spnas_search.strategies import strategy_plugin

__all__ = ["ResolvedSettings", "read_toml", "resolve", "set_key", "set_value", "strategy_name", "suit", "write_toml"]


@dataclass(frozen=True)
class ResolvedSettings:
    """A checked configuration.

    Attributes:
        run: the search's own settings.
        strategy: settings of the strategy, an instance of its model.
        task: settings of the task, an instance of its model.
        executor: settings of the executor, an instance of its model.
        screen: settings of the screen, an instance of its model; None where there is none.
    """

    run: RunSettings
    strategy: BaseModel
    task: BaseModel
    executor: ExecutorSettings
    screen: BaseModel | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return everything, defaults included, as plain values without None."""
        values = self.run.model_dump(mode="json")
        values["strategy"] = self.strategy.model_dump(mode="json")
        values["task"] = self.task.model_dump(mode="json")
        values["executor"] = self.executor.model_dump(mode="json")
        values["screen"] = None if self.screen is None else self.screen.model_dump(mode="json")
        return cast("dict[str, Any]", without_none(values))


def resolve(values: Mapping[str, Any]) -> ResolvedSettings:
    """Check a configuration.

    Args:
        values: nested plain values, as TOML gives them; what is missing takes its default.

    Raises:
        ConfigError: the first wrong key, its value, and what is allowed.
        PluginError: an unknown strategy, task, executor or screen.
    """
    run = validate(RunSettings, values, "")
    strategy = strategy_plugin(_named(run.strategy, "strategy", "serial"))
    executor = executor_plugin(_named(run.executor, "executor", "processes"))
    task = registry("tasks").get(_named(run.task, "task", "detection"))
    return ResolvedSettings(
        run,
        validate(strategy.settings, run.strategy, "strategy."),
        validate(task.settings, run.task, "task."),
        validate(executor.settings, run.executor, "executor."),
        None if run.screen is None else _screen(run.screen),
    )


def suit(values: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Let the task of a new run complete its table with settings that suit its data and the start.

    Args:
        values: a configuration that ``resolve`` takes; whatever it has stays.

    Returns:
        The configuration, and what was chosen and why, one line each.

    Raises:
        SpnasError: the data cannot be read, or does not go with the start.
    """
    run = validate(RunSettings, values, "")
    task = registry("tasks").get(_named(run.task, "task", "detection"))
    if task.suited is None:
        return dict(values), ()
    found = task.suited(run.task, Architecture.parse(run.start), run.init, "task.")
    return {**values, "task": dict(found.values)}, found.remarks


def strategy_name(values: Mapping[str, Any], default: str = "serial") -> str:
    """Return the name of a configuration's strategy.

    Raises:
        ConfigError: it is no text.
    """
    return _named(values.get("strategy", {}), "strategy", default)


def _screen(table: Mapping[str, Any]) -> BaseModel:
    screen = registry("screens").get(_named(table, "screen", "prediction"))
    return cast("BaseModel", validate(screen.settings, table, "screen."))


def _named(table: Mapping[str, Any], what: str, default: str) -> str:
    name = table.get("name", default)
    if not isinstance(name, str):
        raise ConfigError(f"{what}.name is {name!r}: it must be the name of a registered {what}")
    return name
