"""Telling plugins what happens, and asking them: one that fails is reported, and whoever tells or asks goes on."""

from collections.abc import Iterator
from typing import Any

from spnas_core.errors import SpnasError
from spnas_core.plugins.manager import BUILT_IN, BrokenPlugin, plugin_manager, plugin_origins, report_broken


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
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a listener raises is its own matter
            name = manager.get_name(plugin) or type(plugin).__name__
            reason = " ".join(f"{event}: {type(error).__name__}: {error}".split())
            failed.append(BrokenPlugin(name, plugin_origins().get(name, "?"), reason))
    return failed


def answers(question: str, *kinds: type, may_refuse: bool = False, **facts: Any) -> Iterator[Any]:
    """Ask every plugin, whoever was registered last first, as pluggy does.

    Where one that is not built in fails or answers something of another kind, it is reported among the broken ones.

    Args:
        question: name of a hook.
        kinds: of an answer; None is one, too.
        may_refuse: whether an answer may be that the user has to mend something.
        facts: arguments of the hook.

    Yields:
        The answers; whoever has heard enough stops listening.

    Raises:
        SpnasError: that answer.
    """
    for implementation in reversed(getattr(plugin_manager().hook, question).get_hookimpls()):
        name = implementation.plugin_name
        try:
            answer = implementation.function(**{key: facts[key] for key in implementation.argnames})
            _check_kind(question, answer, kinds)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if plugin_origins().get(name) in BUILT_IN or (may_refuse and isinstance(error, SpnasError)):
                raise
            report_broken(name, error)
            continue
        yield answer


def _check_kind(question: str, answer: object, kinds: tuple[type, ...]) -> None:
    if answer is not None and not isinstance(answer, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{question} is answered by a {type(answer).__name__}: it must be a {wanted}, or None")
