"""Finding and loading plugins."""

import os
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, distributions

import pluggy

from spnas_core import hookspecs
from spnas_core.errors import PluginError

GROUP = "spnas"
BUILT_IN = frozenset({"spnas-core", "spnas-detect", "spnas-search", "spnas-kernels"})
DISABLE_VARIABLE = "SPNAS_DISABLE_PLUGINS"


@dataclass(frozen=True)
class BrokenPlugin:
    """A third-party plugin that could not be used, and why."""

    name: str
    distribution: str
    reason: str


@dataclass(frozen=True)
class _Loaded:
    manager: pluggy.PluginManager
    origins: dict[str, str]
    broken: list[BrokenPlugin]


@cache
def _load() -> _Loaded:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    loaded = _Loaded(manager, {}, [])
    third_party_allowed = os.environ.get(DISABLE_VARIABLE, "") in {"", "0"}
    for distribution, entry_point in _entry_points():
        built_in = distribution in BUILT_IN
        if not (built_in or third_party_allowed):
            continue
        try:
            _register(loaded, distribution, entry_point)
        except BaseException as error:
            if built_in or isinstance(error, KeyboardInterrupt):
                raise
            if entry_point.name not in loaded.origins and loaded.manager.has_plugin(entry_point.name):
                loaded.manager.unregister(name=entry_point.name)
            loaded.broken.append(BrokenPlugin(entry_point.name, distribution, _reason(error)))
    return loaded


def _register(loaded: _Loaded, distribution: str, entry_point: EntryPoint) -> None:
    manager = loaded.manager
    if entry_point.name in loaded.origins:
        raise PluginError(
            f"two plugins are called {entry_point.name!r}: one of {loaded.origins[entry_point.name]} and one of "
            f"{distribution}; rename one of their entry points"
        )
    plugin = entry_point.load()
    manager.register(plugin, name=entry_point.name)
    manager.check_pending()
    loaded.origins[entry_point.name] = distribution


def _entry_points() -> list[tuple[str, EntryPoint]]:
    """All entry points of the group once each, built-in distributions first, then by name."""
    found = {
        (distribution.metadata["Name"], entry_point.name): entry_point
        for distribution in distributions()
        for entry_point in distribution.entry_points
        if entry_point.group == GROUP
    }
    order = sorted(found, key=lambda key: (key[0] not in BUILT_IN, key))
    return [(key[0], found[key]) for key in order]


def plugin_manager() -> pluggy.PluginManager:
    """Return the manager with every usable plugin registered."""
    return _load().manager


def plugin_origins() -> dict[str, str]:
    """Distribution of every registered plugin, by plugin name."""
    return dict(_load().origins)


def broken_plugins() -> list[BrokenPlugin]:
    """Third-party plugins that were left out, with the reason of each."""
    return list(_load().broken)


def report_broken(plugin: str, error: BaseException) -> None:
    """Note that a plugin failed while it registered its items, or when it was asked something."""
    loaded = _load()
    broken = BrokenPlugin(plugin, loaded.origins.get(plugin, "?"), _reason(error))
    if broken not in loaded.broken:
        loaded.broken.append(broken)


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def forget_plugins() -> None:
    """Load anew at the next call; for tests and for programs that install plugins while they run."""
    _load.cache_clear()
