"""Registries: what the plugins have registered, by noun and name."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from spnas_core import hookspecs
from spnas_core.errors import PluginError, suggestion
from spnas_core.plugins.claims import clash
from spnas_core.plugins.kinds import item_mistake
from spnas_core.plugins.manager import BUILT_IN, forget_plugins, plugin_manager, plugin_origins, report_broken


@dataclass
class Registry:
    """Items of one kind.

    Attributes:
        noun: ``blocks``, ``strategies``, …: the end of the hook's name.
        items: item by name, in order of registration.
        plugins: name of the registering plugin by item name.
    """

    noun: str
    items: dict[str, Any] = field(default_factory=dict)
    plugins: dict[str, str] = field(default_factory=dict)

    def add(self, plugin: str, name: str, item: object) -> None:
        """Register one item.

        Raises:
            PluginError: the name is taken, and both plugins are named; or the item is not of the noun's kind, or has a
                name that nobody could ask for.
        """
        if (mistake := item_mistake(self.noun, name, item)) is not None:
            raise PluginError(f"plugin {plugin!r} {mistake}")
        if (found := clash(self.noun, name, item, self.items)) is not None:
            shared, other = found
            names = "" if other == name else f", as {other!r} and as {name!r}"
            raise PluginError(
                f"plugins {self.plugins[other]!r} and {plugin!r} both register {shared!r} among the {self.noun}"
                f"{names}: uninstall one, or rename"
            )
        self.items[name] = item
        self.plugins[name] = plugin

    def get(self, name: str) -> Any:
        """Return an item.

        Raises:
            PluginError: nobody registers the name; the nearest known one is suggested.
        """
        if name not in self.items:
            raise PluginError(f"{name!r} is not among the registered {self.noun}{suggestion(name, self.items)}")
        return self.items[name]


@cache
def registry(noun: str) -> Registry:
    """Collect what all plugins register under ``spnas_register_<noun>``.

    Where two claim one name, the first keeps it: what is built in, then by the plugins' names. The other is reported
    among the broken ones; what else it registers counts.
    """
    found = Registry(noun)
    origins = plugin_origins()
    caller = getattr(plugin_manager().hook, f"spnas_register_{noun}")
    for implementation in caller.get_hookimpls():
        plugin = implementation.plugin_name
        items: list[tuple[str, object]] = []
        try:
            implementation.function(lambda name, item, items=items: items.append((name, item)))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if origins.get(plugin) in BUILT_IN:
                raise
            report_broken(plugin, error)
            continue
        for name, item in items:
            try:
                found.add(plugin, name, item)
            except PluginError as error:
                if origins.get(plugin) in BUILT_IN:
                    raise
                report_broken(plugin, error)
    return found


def nouns() -> tuple[str, ...]:
    """Everything that plugins can register, as the hooks name it."""
    prefix = "spnas_register_"
    return tuple(name.removeprefix(prefix) for name in vars(hookspecs) if name.startswith(prefix))


def reset_plugins() -> None:
    """Forget everything that was loaded and registered."""
    registry.cache_clear()
    forget_plugins()
