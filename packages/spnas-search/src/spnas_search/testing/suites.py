"""The suites of this package over an item that was registered, for ``spnas plugins check``."""

from typing import TypeVar

from pydantic import ValidationError

from spnas_core.testing import NoSuiteError
from spnas_search.executors import ExecutorPlugin
from spnas_search.screens import ScreenPlugin
from spnas_search.strategies import StrategyPlugin
from spnas_search.testing.contracts import ExecutorContract, StrategyContract
from spnas_search.testing.screen_contract import ScreenContract

_Suite = TypeVar("_Suite", StrategyContract, ScreenContract, ExecutorContract)


def strategy_suite(name: str, item: StrategyPlugin) -> StrategyContract:
    """Return the suite over a strategy with its default settings.

    Raises:
        NoSuiteError: it cannot do without settings.
    """
    return _over(f"the strategy {name!r}", item, StrategyContract())


def screen_suite(name: str, item: ScreenPlugin) -> ScreenContract:
    """Return the suite over a screen with its default settings.

    Raises:
        NoSuiteError: it cannot do without settings.
    """
    return _over(f"the screen {name!r}", item, ScreenContract())


def executor_suite(name: str, item: ExecutorPlugin) -> ExecutorContract:
    """Return the suite over an executor with its default settings.

    Raises:
        NoSuiteError: it cannot do without settings, or lacks something here.
    """
    suite = _over(f"the executor {name!r}", item, ExecutorContract())
    if item.untestable is not None and (why := item.untestable()) is not None:
        raise NoSuiteError(why)
    return suite


def _over(what: str, item: StrategyPlugin | ScreenPlugin | ExecutorPlugin, suite: _Suite) -> _Suite:
    """Return a suite over an item with its default settings."""
    try:
        item.settings()
    except ValidationError:
        remedy = f"subclass spnas_search.testing.{type(suite).__name__}, and say its settings"
        raise NoSuiteError(f"{what} cannot do without settings: {remedy}") from None
    suite.plugin = item  # type: ignore[assignment]
    return suite
