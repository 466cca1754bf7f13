"""For those who write strategies, tasks and executors: what helps to test them."""

from spnas_search.testing.null_task import NullSettings, NullTask

__all__ = ["NullSettings", "NullTask"]
