"""Strategies: what to try next, given what the archive knows."""

from spnas_search.strategies._base import Strategy, StrategyPlugin, strategy_plugin
from spnas_search.strategies.checked import CheckedStrategy
from spnas_search.strategies.random_walk import RandomSettings, RandomWalk
from spnas_search.strategies.serial import Serial, SerialSettings, parent_odds

__all__ = [
    "CheckedStrategy",
    "RandomSettings",
    "RandomWalk",
    "Serial",
    "SerialSettings",
    "Strategy",
    "StrategyPlugin",
    "parent_odds",
    "strategy_plugin",
]
