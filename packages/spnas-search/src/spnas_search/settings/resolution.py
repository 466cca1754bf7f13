"""Checking the configuration of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, cast

from pydantic import BaseModel

from spnas_core.configuration import read_toml, set_key, set_value, validate, without_none, write_toml
from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError, PluginError
from spnas_core.plugins import owner, registry, settings_model
from spnas_core.presets import laid_over
from spnas_search.executors import ExecutorSettings
from spnas_search.settings.models import RunSettings
from spnas_search.strategies import FullSettings, StrategyPlugin, strategy_plugin

__all__ = [
    "ResolvedSettings",
    "moved",
    "of_begun",
    "read_toml",
    "resolve",
    "set_key",
    "set_value",
    "strategy_name",
    "suit",
    "write_toml",
]


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
        return cast("dict[str, Any]", without_none(values))

    def settled(self) -> Self:
        """Return the same as a run is stored: with the table of the screen that is meant by ``own``, and with phases.

        How many candidates the first phase of a whole search has follows from the budget that it begins with.
        """
        screen = "none" if self.screen is None else self.screen.model_dump(mode="json")
        strategy = self.strategy
        if isinstance(strategy, FullSettings):
            strategy = strategy.within(self.run.expected_children(strategy.serial.epochs))
        return replace(self, run=self.run.model_copy(update={"screen": screen}), strategy=strategy)


def resolve(values: Mapping[str, Any]) -> ResolvedSettings:
    """Check a configuration.

    Args:
        values: nested plain values, as TOML gives them; what is missing takes its default.

    Raises:
        ConfigError: the first wrong key, its value, and what is allowed.
        PluginError: an unknown strategy, task, executor or screen.
    """
    run = validate(RunSettings, values, "")
    strategy = _named(run.strategy, "strategy", "serial")
    executor = _named(run.executor, "executor", "processes")
    task = _named(run.task, "task", "detection")
    models: dict[str, Any] = {
        "": RunSettings,
        "strategy.": settings_model("strategies", strategy),
        "task.": settings_model("tasks", task),
        "executor.": settings_model("executors", executor),
    }
    return ResolvedSettings(
        run,
        validate(models["strategy."], run.strategy, "strategy.", models),
        validate(models["task."], run.task, "task.", models),
        validate(models["executor."], run.executor, "executor.", models),
        _screen(run.screen, strategy_plugin(strategy)),
    )


def of_begun(values: Mapping[str, Any]) -> dict[str, Any]:
    """Complete settings of what has begun by what it began with, where that was before strategies had screens.

    Args:
        values: as they were stored; since then always with a ``screen``.
    """
    if "screen" in values:
        return dict(values)
    found = {"screen": "none", **values}
    if "strategy" in found:
        found["strategy"] = _as_before(found["strategy"])
    return found


_BEFORE = {"max_mutations": 1, "explore": 0.0}
"""What ``serial`` had where nothing was said: inside of ``phases`` only what was said is stored."""


def _as_before(table: Any) -> Any:
    if isinstance(table, list):
        return [_as_before(one) for one in table]
    if not isinstance(table, Mapping):
        return table
    before = _BEFORE if table.get("name") == "serial" else {}
    return {**before, **{key: _as_before(value) for key, value in table.items()}}


def moved(values: Mapping[str, Any], data: str) -> dict[str, Any]:
    """Return a configuration that has begun with its data elsewhere; a path that exists is absolute then.

    Args:
        values: of the run, as they are stored.
        data: where the data lies now, as the task's setting ``data`` has it.

    Raises:
        ConfigError: the task has no such setting, or another is wrong.
    """
    found = {**values, "task": {**resolve(of_begun(values)).run.task, "data": data}}
    found["task"]["data"] = resolve(of_begun(found)).task.model_dump().get("data", data)
    return found


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


def _screen(given: Mapping[str, Any] | str, strategy: StrategyPlugin) -> BaseModel | None:
    own = strategy.screen
    if given == "none" or (given == "own" and own is None):
        return None
    above = {} if isinstance(given, str) else given
    below = {} if own is None else {"name": "prediction", **own}
    table = laid_over({"screen": below}, {"screen": above})["screen"]  # of another name it replaces
    name = _named(table, "screen", "prediction")
    screen: BaseModel = validate(settings_model("screens", name), table, "screen.")
    draws = screen.model_dump().get("draws")
    if type(draws) is not int or draws < 1:
        raise PluginError(
            f"{owner('screens', name)} has draws = {draws!r}: its settings must have a whole number 'draws', 1 or more"
        )
    return screen


def _named(table: Any, what: str, default: str) -> str:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{what} is {table!r}: it must be a table with a name")
    name = table.get("name", default)
    if not isinstance(name, str):
        raise ConfigError(f"{what}.name is {name!r}: it must be the name of a registered {what}")
    return name
