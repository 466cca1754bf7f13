"""Strategies: what to try next, given what the archive knows."""

from spnas_search.strategies._base import Strategy, StrategyPlugin, strategy_plugin
from spnas_search.strategies.checked import CheckedStrategy
from spnas_search.strategies.evolution import Evolution, EvolutionSettings
from spnas_search.strategies.generations import Generations, GenerationsSettings
from spnas_search.strategies.gradient import Gradient, GradientSettings
from spnas_search.strategies.hill_climb import HillClimb, HillClimbSettings
from spnas_search.strategies.learned.policy import Policy, PolicySettings
from spnas_search.strategies.learned.q_learning import QLearning, QLearningSettings
from spnas_search.strategies.parallel import Parallel, ParallelSettings, row_odds
from spnas_search.strategies.phases import FullSettings, Phases, PhasesSettings, any_phases, full, phase_names
from spnas_search.strategies.pool import Pool, PoolSettings, parent_odds
from spnas_search.strategies.progressive import Progressive, ProgressiveSettings
from spnas_search.strategies.random_search import RandomSearch, RandomSettings
from spnas_search.strategies.regularized_evolution import RegularizedEvolution, RegularizedEvolutionSettings
from spnas_search.strategies.reignition import Reignition, ReignitionSettings
from spnas_search.strategies.sampling import AnySampler, Sampler
from spnas_search.strategies.serial import Serial, SerialSettings

__all__ = [
    "AnySampler",
    "CheckedStrategy",
    "Evolution",
    "EvolutionSettings",
    "FullSettings",
    "Generations",
    "GenerationsSettings",
    "Gradient",
    "GradientSettings",
    "HillClimb",
    "HillClimbSettings",
    "Parallel",
    "ParallelSettings",
    "Phases",
    "PhasesSettings",
    "Policy",
    "PolicySettings",
    "Pool",
    "PoolSettings",
    "Progressive",
    "ProgressiveSettings",
    "QLearning",
    "QLearningSettings",
    "RandomSearch",
    "RandomSettings",
    "RegularizedEvolution",
    "RegularizedEvolutionSettings",
    "Reignition",
    "ReignitionSettings",
    "Sampler",
    "Serial",
    "SerialSettings",
    "Strategy",
    "StrategyPlugin",
    "any_phases",
    "full",
    "parent_odds",
    "phase_names",
    "row_odds",
    "strategy_plugin",
]
