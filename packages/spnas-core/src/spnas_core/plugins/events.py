"""Telling plugins what happens: a listener that fails is reported, and whoever tells goes on."""

from typing import Any

from spnas_core.plugins.manager import BrokenPlugin, plugin_manager, plugin_origins


def notify(event: str, **facts: Any) -> list[BrokenPlugin]:
    """Call an event hook of every plugin, each on its own.

    Args:
        event: name of the hook, such as ``spnas_run_started``.
        facts: its arguments.

    Returns:
        One entry per plugin whose hook raised, with the reason; all others were called nevertheless.
    """
    manager = plugin_manager()
    plugins = {implementation.plugin: None for implementation in getattr(manager.hook, event).get_hookimpls()}
    failed = []
    for plugin in plugins:
        alone = manager.subset_hook_caller(event, [other for other in plugins if other is not plugin])
        try:
            alone(**facts)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a listener raises is its own matter
            name = manager.get_name(plugin) or type(plugin).__name__
            reason = " ".join(f"{event}: {type(error).__name__}: {error}".split())
            failed.append(BrokenPlugin(name, plugin_origins().get(name, "?"), reason))
    return failed
