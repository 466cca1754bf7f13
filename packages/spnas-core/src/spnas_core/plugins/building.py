"""Plugins' own code, asked in a way that names the plugin where something goes wrong."""

import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from spnas_core.errors import PluginError, SpnasError
from spnas_core.plugins.manager import BUILT_IN, plugin_origins
from spnas_core.plugins.registries import registry

_T = TypeVar("_T")


def owner(noun: str, name: str) -> str:
    """Say what is registered and whose it is, for messages: ``screen 'mine' of plugin 'ours' (ours 1.0)``."""
    one = f"{noun.removesuffix('ies')}y" if noun.endswith("ies") else noun.removesuffix("s")
    plugin = registry(noun).plugins.get(name, "?")
    return f"{one} {name!r} of plugin {plugin!r} ({plugin_origins().get(plugin, '?')})"


def is_built_in(noun: str, name: str) -> bool:
    """Whether what is registered under a name comes from spnas itself; so does what nobody registers."""
    plugin = registry(noun).plugins.get(name)
    return plugin is None or plugin_origins().get(plugin) in BUILT_IN


def settings_model(noun: str, name: str) -> type[Any]:
    """Return the model of the table that configures what is registered under a name.

    Raises:
        PluginError: nobody registers the name, or its settings are no pydantic model, or one without a ``name``.
    """
    model = getattr(registry(noun).get(name), "settings", None)
    if not (isinstance(model, type) and hasattr(model, "model_validate")):
        raise PluginError(f"{owner(noun, name)} has settings {model!r}: they must be a pydantic model, the class")
    if "name" not in getattr(model, "model_fields", {}):
        raise PluginError(f"{owner(noun, name)} has settings {model.__name__} without a field 'name': add one")
    return model


def built(noun: str, name: str, *arguments: Any) -> Any:
    """Have what is registered under a name built.

    Raises:
        PluginError: nobody registers the name, or building it raised; wanting to end the process is that too.
        SpnasError: whatever of this kind it raised, such as a setting that does not go with another.
    """
    item = registry(noun).get(name)
    try:
        return item.build(*arguments)
    except (SpnasError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise raised(owner(noun, name), "build", error) from error


def asked(who: str, method: str, ask: Callable[[], _T], *, passes: tuple[type[Exception], ...] = ()) -> _T:
    """Ask a plugin for something.

    Args:
        who: names it, see ``owner``.
        method: that is asked, for messages.
        ask: calls it.
        passes: errors that are not the plugin's, such as those of the data that it reads; they go through as they are.

    Raises:
        PluginError: it raised, whatever that was; wanting to end the process is that too.
        KeyboardInterrupt: the user wants to end it.
    """
    try:
        return ask()
    except KeyboardInterrupt:
        raise
    except passes:
        raise
    except SpnasError as error:
        raise PluginError(f"{who}: {error}") from error
    except BaseException as error:
        raise raised(who, method, error) from error


def raised(who: str, method: str, error: BaseException) -> PluginError:
    """Return the error, in one line, that says what a plugin raised and where."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return PluginError(f"{who} raised {said(error)} in {method} ({frame.filename}, line {frame.lineno})")


def said(error: BaseException) -> str:
    """Return an error's type and text as one printable line."""
    from spnas_core.commands.wording import printable

    return printable(" ".join(f"{type(error).__name__}: {error}".split())).removesuffix(":")
