"""What a preset sets of a search, and settings of one's own over it."""

from collections.abc import Mapping
from typing import Any

from spnas_core.errors import ConfigError
from spnas_core.presets import Preset, for_data, laid_over
from spnas_search.settings.resolution import resolve
from spnas_search.strategies import strategy_plugin

DEFAULTS = {"strategy": "serial", "task": "detection", "executor": "processes", "screen": "prediction"}
"""Tables whose keys depend on their ``name``, and which that is where it is missing."""

SHARED = ("round", "epochs")
"""Settings of strategies that mean the same for all that have them."""


def search_values(preset: Preset) -> dict[str, Any]:
    """Return what a preset sets of a search, as plain values of ``run.toml``.

    Raises:
        ConfigError: a key or a value is wrong; preset, file and key are named.
        PluginError: it extends a preset that nobody registers.
    """
    values, task = preset.table("search"), preset.table("task")
    with preset.explained():
        if "task" in values:
            raise ConfigError("[search] has a table 'task': its settings stand in [task], beside [search]")
        if task:
            values["task"] = task
        resolve(values)
    return values


def over_preset(preset: Preset, own: Mapping[str, Any]) -> dict[str, Any]:
    """Lay settings of one's own over those of a preset.

    Where ``own`` names another task, executor or screen than the preset, the preset's table of it is left out. Of
    another strategy it is what the preset has for that strategy as a part of the whole (``full`` has ``serial`` and
    ``parallel``), else children's epochs and rounds, so that a baseline has the same. Options of the preset's data are
    not those of other data.

    Args:
        preset: below.
        own: plain values of ``run.toml``, not checked.

    Raises:
        ConfigError: the preset is wrong.
        PluginError: it extends a preset, or ``own`` names a strategy, that nobody registers.
    """
    values, task = search_values(preset), own.get("task")
    if "task" in values and isinstance(task, Mapping):
        values["task"] = for_data(values["task"], task.get("data"))
    for noun, default in DEFAULTS.items():
        table = own.get(noun)
        name = table.get("name") if isinstance(table, Mapping) else None
        known = values.get(noun)
        if isinstance(known, Mapping) and isinstance(name, str) and name != known.get("name", default):
            values[noun] = strategy_part(known, name) if noun == "strategy" else {}
    return laid_over(values, own)


def strategy_part(strategy: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what a ``[strategy]`` table has for another strategy.

    That is its part for it where it consists of several (``full`` has ``serial``), else what means the same to both.

    Raises:
        PluginError: nobody registers the strategy.
    """
    part = strategy.get(name)
    if isinstance(part, Mapping):
        return {**part, "name": name}
    phases = [table for table in (strategy, *strategy.values()) if isinstance(table, Mapping) and "epochs" in table]
    phase = next(iter(phases), strategy)
    known = strategy_plugin(name).settings.model_fields
    return {key: phase[key] for key in SHARED if key in phase and key in known}
