"""The block type and the strategy keep what spnas expects of every one."""

from spnas_example import Climb, ClimbSettings, WideKernels

from spnas_core.testing import BlockContract
from spnas_search.strategies import StrategyPlugin
from spnas_search.testing import StrategyContract


class TestWideKernels(BlockContract):
    spec = WideKernels()


class TestClimb(StrategyContract):
    plugin = StrategyPlugin("mutate the best candidate only", ClimbSettings, Climb)
