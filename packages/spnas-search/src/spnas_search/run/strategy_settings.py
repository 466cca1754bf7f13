"""Whether a strategy can find anything with the other settings of its search."""

import math
from collections.abc import Iterator
from itertools import pairwise

from spnas_core.commands.wording import counted
from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError
from spnas_core.morphisms import AddRow
from spnas_core.plugins import owner
from spnas_core.space import SearchSpace
from spnas_search.run.latency import LATENCY
from spnas_search.settings import RunSettings
from spnas_search.strategies import (
    CheckedStrategy,
    Parallel,
    Phases,
    Policy,
    Progressive,
    QLearning,
    Strategy,
)
from spnas_search.strategies._base import reaches


def check_strategy(
    strategy: CheckedStrategy, settings: RunSettings, space: SearchSpace, *, measures_latency: bool
) -> Iterator[str]:
    """Refuse settings under which a strategy would find nothing, or learn nothing, before anything is evaluated.

    Args:
        strategy: of the search; of several that follow one another each is looked at.
        settings: of the search.
        space: bounds of the search; those that are measured are not asked.
        measures_latency: whether the search does.

    Yields:
        Warnings of what may come to nothing.

    Raises:
        ConfigError: it says which strategy or setting, and what to do.
    """
    start = Architecture.parse(settings.start)
    for number, (name, one) in enumerate(_each(strategy)):
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
        if isinstance(one, Parallel) and (outside := _row_outside(one, start, space.quick)) is not None:
            if not number:
                raise ConfigError(
                    f"the strategy {name!r} adds rows, and {outside}: raise the bound, or begin elsewhere"
                )
            yield (
                f"warning: {outside}: the {name} phase finds something only where those before it find what leaves room"
            )
        if not number and not reaches(one, start, settings.inherit, owner("strategies", name)):
            drawn = getattr(getattr(one, "settings", None), "max_redraws", None)
            yield (
                f"warning: none of {'the' if drawn is None else drawn} children of {start} that the strategy {name!r} "
                "has drawn lies inside the search space: widen its bounds, or the search may end without a child"
            )


def _row_outside(strategy: Parallel, start: Architecture, space: SearchSpace) -> str | None:
    """Say what a first row beside the start breaks, the one that comes nearest; None where one can be added."""
    children = [one.child for one in AddRow(strategy.settings.shares).options(start)]
    if any(child in space for child in children):
        return None
    child = min(children, key=lambda child: _excess(child, space))
    said = "; ".join(space.violations(child))
    return f"none fits beside {start}: what comes nearest, beside stage {children.index(child) + 1}, makes {said}"


def _excess(architecture: Architecture, space: SearchSpace) -> float:
    """How many times as much as a bound on cost allows an architecture has, of the bound that it breaks most."""
    cost = backbone_cost(architecture, *space.image_size).as_dict()
    return max((cost[name] / limit for name, limit in space.limits().items() if limit), default=0.0)


def check_phases(strategy: CheckedStrategy, settings: RunSettings) -> Iterator[str]:
    """Warn of phases that the budget ends before, and of a budget that they leave unused.

    Args:
        strategy: of the search; where it does not consist of several there is nothing to say.
        settings: of the search.
    """
    if not isinstance(strategy.wrapped, Phases) or settings.budget.children == 0:
        return
    phases = [(number, phase) for number, phase in enumerate(strategy.wrapped.phases) if phase.has_children]
    paid = (epochs for _, phase in phases if (epochs := phase.epochs))
    room, taken = settings.expected_children(next(paid, 0)), 0.0
    about = "" if settings.budget.epochs is None else "about "
    has = "hours alone" if room is None else f"room for {about}{counted(room, 'candidate')}"
    for (number, phase), (_, following) in pairwise(phases):
        taken += math.inf if phase.candidates is None else phase.candidates
        if room is None or taken >= room:
            most = "any number of" if math.isinf(taken) else f"up to {taken:g}"
            yield (
                f"warning: the budget has {has}, and the {phase.name} phase ends after {most}, unless it is stuck "
                f"before: the {following.name} phase may never begin; set budget.candidates higher, or "
                f"{_key(strategy.name, number, phase.name)} lower"
            )
            return
    number, phase = phases[-1]
    taken += math.inf if phase.candidates is None else phase.candidates
    is_said = settings.budget.candidates is not None or settings.budget.epochs is not None
    if is_said and room is not None and taken < room:
        yield (
            f"warning: the budget has {has}, and the phases together end after {taken:g}: set "
            f"{_key(strategy.name, number, phase.name)} higher"
        )


def _key(strategy: str, number: int, phase: str) -> str:
    """Name the setting of how many candidates a phase has."""
    return f"strategy.{phase}_candidates" if strategy == "full" else f"strategy.phases.{number}.candidates"


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
