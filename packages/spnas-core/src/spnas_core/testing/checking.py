"""Running the contract suites over what a plugin has registered: the call behind ``spnas plugins check``."""

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from spnas_core.errors import PluginError, suggestion
from spnas_core.plugins import plugin_origins, registry
from spnas_core.plugins.registries import nouns

CONTRACTS = "contracts"
"""The noun under which plugins register suites."""


@dataclass(frozen=True)
class Broken:
    """A part of a contract that an item does not keep.

    Attributes:
        test: name of the suite's method.
        expected: what the method says of itself.
        reason: what it met, in one line.
    """

    test: str
    expected: str
    reason: str


@dataclass(frozen=True)
class Checked:
    """An item of a plugin and how it did.

    Attributes:
        noun: its kind, such as ``strategies``.
        name: under which it is registered.
        kept: how many tests it has passed.
        broken: what it does not keep.
        untested: why there is no suite for it; empty where there is one.
    """

    noun: str
    name: str
    kept: int = 0
    broken: tuple[Broken, ...] = ()
    untested: str = ""


class NoSuiteError(Exception):
    """A suite cannot be run over this item; the text says why, and what its author can do."""


def check_plugin(plugin: str) -> Iterator[Checked]:
    """Run every suite that there is over all that a plugin has registered.

    Args:
        plugin: name of its entry point.

    Yields:
        One entry per item, when it is done.

    Raises:
        PluginError: no usable plugin has that name.
    """
    if plugin not in plugin_origins():
        known = sorted(plugin_origins())
        raise PluginError(
            f"no usable plugin is called {plugin!r}{suggestion(plugin, known)}: 'spnas plugins' lists them"
        )
    suites = registry(CONTRACTS).items
    for noun in nouns():
        found = registry(noun)
        for name, item in found.items.items():
            if found.plugins[name] == plugin and noun != CONTRACTS:
                yield check_item(noun, name, item, suites.get(noun))


def check_item(noun: str, name: str, item: object, suite_of: Callable[[str, Any], object] | None) -> Checked:
    """Run a suite over one item; whatever it raises is a part of the contract that is broken.

    Args:
        noun: the item's kind.
        name: under which it is registered.
        item: to check.
        suite_of: makes the suite; None where there is none.
    """
    if suite_of is None:
        return Checked(noun, name, untested=f"there is no suite for {noun}")
    try:
        suite = suite_of(name, item)
    except NoSuiteError as why:
        return Checked(noun, name, untested=str(why))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - as below
        return Checked(
            noun, name, broken=(Broken("suite", f"a suite for it can be made of the {noun}'s", _line(error)),)
        )
    kept, broken = 0, []
    for test in (test for test in dir(suite) if test.startswith("test_")):
        method = getattr(suite, test)
        try:
            method()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever a plugin raises, the others are checked
            expected = " ".join((method.__doc__ or test).split())
            broken.append(Broken(test, expected, _line(error)))
        else:
            kept += 1
    return Checked(noun, name, kept, tuple(broken))


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, AssertionError):
        return text or f"does not hold: {traceback.extract_tb(error.__traceback__)[-1].line}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
