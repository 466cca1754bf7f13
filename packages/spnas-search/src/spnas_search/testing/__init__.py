"""For those who write strategies, tasks and executors: what helps to test them."""

from spnas_search.testing.contracts import ExecutorContract, StrategyContract
from spnas_search.testing.null_task import NullSettings, NullTask

__all__ = ["ExecutorContract", "NullSettings", "NullTask", "StrategyContract"]
