"""Whether a strategy can find anything with the other settings of its search."""

from collections.abc import Iterator

from spnas_core.errors import ConfigError
from spnas_search.run.latency import LATENCY
from spnas_search.settings import RunSettings
from spnas_search.strategies import CheckedStrategy, Parallel, Phases, Policy, Progressive, QLearning, Strategy


def check_strategy(strategy: CheckedStrategy, settings: RunSettings, *, measures_latency: bool) -> None:
    """Refuse settings under which a strategy would find nothing, or learn nothing, before anything is evaluated.

    Args:
        strategy: of the search; of several that follow one another each is looked at.
        settings: of the search.
        measures_latency: whether the search does.

    Raises:
        ConfigError: it says which strategy or setting, and what to do.
    """
    for name, one in _each(strategy):
        if settings.inherit == "supernet" and isinstance(one, Parallel | Progressive):
            what = "rows" if isinstance(one, Parallel) else "blocks"
            raise ConfigError(
                f"the strategy {name!r} adds {what}, and inherit = 'supernet' allows parts of the start alone, which "
                "have no more than it: choose another strategy, or another way to inherit"
            )
        if settings.space.max_rows == 0 and isinstance(one, Parallel):
            raise ConfigError(
                f"the strategy {name!r} adds rows, and space.max_rows is 0: raise it, or choose another strategy"
            )
        if not measures_latency and _weighs_latency(one):
            raise ConfigError(
                f"the strategy {name!r} has cost = 'latency', which this search does not measure: name it in pareto, "
                "bound it by space.max_latency, or weigh another cost"
            )


def _weighs_latency(strategy: Strategy) -> bool:
    """Whether rewards of a strategy that learns are weighed by latency."""
    if not isinstance(strategy, Policy | QLearning):
        return False
    return strategy.settings.shape == "power" and strategy.settings.cost == LATENCY


def _each(strategy: CheckedStrategy) -> Iterator[tuple[str, Strategy]]:
    """Yield the strategies that a search consists of, with the names under which they are registered."""
    if isinstance(strategy.wrapped, Phases):
        yield from ((phase.name, phase.strategy) for phase in strategy.wrapped.phases)
    else:
        yield strategy.name, strategy.wrapped
