"""From the settings of a run to its strategy, and to the screen before it."""

from spnas_core.plugins import built
from spnas_core.space import Bound, SearchSpace
from spnas_search.screens import ScreenedStrategy
from spnas_search.settings import ResolvedSettings
from spnas_search.strategies import CheckedStrategy
from spnas_search.strategies.one_by_one import one_by_one


def build_strategy(
    settings: ResolvedSettings, space: SearchSpace, quick: SearchSpace, measured: tuple[Bound, ...]
) -> CheckedStrategy:
    """Build the strategy, and the screen that chooses among its children where there is one.

    Args:
        settings: of the run.
        space: bounds of the search.
        quick: those of them that take no time to ask.
        measured: the others.
    """
    name = settings.strategy.model_dump()["name"]
    table = one_by_one(settings.strategy) if settings.run.asynchronous else settings.strategy
    if settings.screen is None:
        return CheckedStrategy(name, built("strategies", name, table, space), space)
    strategy, values = built("strategies", name, table, quick), settings.screen.model_dump()
    screen = built("screens", values["name"], settings.screen, quick)
    whole = CheckedStrategy(name, built("strategies", name, table, space), space) if measured else None
    return ScreenedStrategy(name, strategy, quick, screen, values["name"], values["draws"], measured, whole)
