"""Plugins: found by entry point, loaded when first asked for, registered through the hooks."""

from spnas_core.plugins.blame import blamed
from spnas_core.plugins.building import asked, built, is_built_in, owner, settings_model
from spnas_core.plugins.events import answers, notify
from spnas_core.plugins.manager import BrokenPlugin, broken_plugins, plugin_manager, plugin_origins
from spnas_core.plugins.registries import Registry, registry, reset_plugins

__all__ = [
    "BrokenPlugin",
    "Registry",
    "answers",
    "asked",
    "blamed",
    "broken_plugins",
    "built",
    "is_built_in",
    "notify",
    "owner",
    "plugin_manager",
    "plugin_origins",
    "registry",
    "reset_plugins",
    "settings_model",
]
