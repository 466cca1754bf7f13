"""Finding the plugin in whose code an unexpected error arose, so that its user reads one line and not a traceback."""

import inspect
import os
import traceback

from spnas_core.errors import PluginError
from spnas_core.plugins.building import said
from spnas_core.plugins.manager import BUILT_IN, plugin_manager, plugin_origins

TRACEBACK_VARIABLE = "SPNAS_TRACEBACK"
"""Where it is set, and not to 0, errors that a plugin's code raises are shown with all calls that led there."""


def blamed(error: Exception) -> PluginError | None:
    """Return the error that names the plugin in whose code another one arose; None where no plugin took part.

    Of several plugins the innermost one is named. A plugin's code is the package of its entry point, or its module.

    Args:
        error: with its traceback, of any kind.
    """
    if os.environ.get(TRACEBACK_VARIABLE, "") not in {"", "0"}:
        return None
    packages = _packages()
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package in packages:
            plugin = packages[package]
            where = f"{frame.f_code.co_filename}, line {line}"
            return PluginError(
                f"plugin {plugin!r} ({plugin_origins().get(plugin, '?')}) raised {said(error)} in "
                f"{frame.f_code.co_name} ({where}): that is a fault of the plugin's; {TRACEBACK_VARIABLE}=1 shows all "
                "calls"
            )
    return None


def _packages() -> dict[str, str]:
    """Return the plugin whose code a package is, for all that are not built in."""
    origins, found = plugin_origins(), {}
    for name, plugin in plugin_manager().list_name_plugin():
        if plugin is not None and origins.get(name) not in BUILT_IN:
            module = plugin.__name__ if inspect.ismodule(plugin) else type(plugin).__module__
            found[module.partition(".")[0]] = name
    return found
