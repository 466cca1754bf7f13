"""A strategy whose children a screen has chosen."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from spnas_core.encoding import Architecture
from spnas_core.errors import PluginError
from spnas_core.plugins import plugin_origins, registry
from spnas_core.space import Bound
from spnas_search.archive import Archive, Proposal
from spnas_search.archive.intake import plain_reason
from spnas_search.screens._base import Screen
from spnas_search.strategies import CheckedStrategy

REDRAWS = 20
"""Times that children are drawn anew where too few of those drawn keep the measured bounds."""


@dataclass(frozen=True)
class ScreenedStrategy(CheckedStrategy):
    """Asks a strategy for several rounds of children, and proposes those that a screen prefers.

    Attributes:
        screen: prefers.
        screen_name: under which it is registered.
        draws: rounds to draw for one that is trained, 1 or more.
        measured: bounds that take long to ask, and that ``space`` leaves out: only what is preferred is held to them,
            and where too little keeps them, children are drawn anew, up to ``REDRAWS`` times.
    """

    screen: Screen
    screen_name: str
    draws: int
    measured: tuple[Bound, ...] = ()

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Propose the children that the screen prefers, best first; see ``Strategy``.

        Raises:
            PluginError: strategy or screen raised, or broke a rule.
        """
        chosen: list[Proposal] = []
        known: set[Architecture] = set()
        for _ in range(1 + REDRAWS):
            drawn: dict[Architecture, Proposal] = {}
            for _ in range(self.draws):
                proposals = super().propose(archive, rng)
                for proposal in proposals:
                    if proposal.rewrite.child not in known:
                        drawn.setdefault(proposal.rewrite.child, proposal)
                if not proposals:  # the strategy has nothing new: it has tried hard enough, once
                    break
            known |= drawn.keys()
            ranked = self._ranked(archive, list(drawn.values()))
            chosen += islice(filter(self._keeps_bounds, ranked), self.round_size - len(chosen))
            if not self.measured or len(chosen) == self.round_size:
                break
        return chosen

    def _ranked(self, archive: Archive, proposals: list[Proposal]) -> Iterator[Proposal]:
        preferences = self._preferences(archive, proposals)
        for place in np.argsort(-preferences, kind="stable").tolist():
            yield replace(proposals[place], preference=float(preferences[place]))

    def _keeps_bounds(self, proposal: Proposal) -> bool:
        return all(bound.violation(proposal.rewrite.child) is None for bound in self.measured)

    def _preferences(self, archive: Archive, proposals: list[Proposal]) -> np.ndarray:
        try:
            found = np.asarray(self.screen.preferences(archive, proposals), float)
        except Exception as error:
            reason = plain_reason(f"{type(error).__name__}: {error}")
            raise PluginError(f"{self._whose} raised {reason}") from error
        if found.shape != (len(proposals),):
            raise PluginError(
                f"{self._whose} returned values of shape {found.shape} for {len(proposals)} children: it must be one "
                "number for each"
            )
        if not np.isfinite(found).all():
            child = proposals[int(np.argmin(np.isfinite(found)))].rewrite.child
            raise PluginError(f"{self._whose} returned what is no number for {child}: it must be finite")
        return found

    @property
    def _whose(self) -> str:
        plugin = registry("screens").plugins.get(self.screen_name, "?")
        return f"screen {self.screen_name!r} of plugin {plugin!r} ({plugin_origins().get(plugin, '?')})"
