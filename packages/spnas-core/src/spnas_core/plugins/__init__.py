"""Plugins: found by entry point, loaded when first asked for, registered through the hooks."""

from spnas_core.plugins.events import answers, notify
from spnas_core.plugins.manager import BrokenPlugin, broken_plugins, plugin_manager, plugin_origins
from spnas_core.plugins.registries import Registry, registry, reset_plugins

__all__ = [
    "BrokenPlugin",
    "Registry",
    "answers",
    "broken_plugins",
    "notify",
    "plugin_manager",
    "plugin_origins",
    "registry",
    "reset_plugins",
]
