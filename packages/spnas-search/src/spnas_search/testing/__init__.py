"""For those who write strategies, screens, tasks and executors: what helps to test them."""

from spnas_search.testing.contracts import ExecutorContract, StrategyContract
from spnas_search.testing.null_task import NullSettings, NullTask
from spnas_search.testing.screen_contract import ScreenContract

__all__ = ["ExecutorContract", "NullSettings", "NullTask", "ScreenContract", "StrategyContract"]
