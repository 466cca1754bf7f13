"""The contract of a screen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from spnas_core.plugins import registry
from spnas_core.space import SearchSpace
from spnas_search.archive import Archive, Proposal


class Screen(Protocol):
    """Says of children that are not trained yet which are likely to be better. A screen keeps no state.

    One that prefers children for more than what it expects of them, such as for what would be learnt, may have a method
    ``expectations`` beside, of the same form and of the same children. What it says of the chosen is kept with them,
    and a run's end compares it with their scores; without it, that are the preferences.
    """

    def preferences(self, archive: Archive, proposals: Sequence[Proposal]) -> Sequence[float]:
        """Return a number for each proposal; higher is better, whatever the unit.

        Args:
            archive: of the search; everything in it has ended.
            proposals: children that may be trained, different from each other and new in the archive; a bound on
                measured latency has not been asked about them yet.
        """


@dataclass(frozen=True)
class ScreenPlugin:
    """A screen as the plugins register it.

    Attributes:
        summary: one line for listings.
        settings: pydantic model of the ``[screen]`` table, which has a ``name`` and ``draws``.
        build: makes the screen from validated settings and the search space, but its bound on measured latency.
    """

    summary: str
    settings: type[Any]
    build: Callable[[Any, SearchSpace], Screen]


def screen_plugin(name: str) -> ScreenPlugin:
    """Look up a registered screen.

    Raises:
        PluginError: no plugin registers the name.
    """
    plugin: ScreenPlugin = registry("screens").get(name)
    return plugin
