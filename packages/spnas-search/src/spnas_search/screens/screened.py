"""A strategy whose children a screen has chosen."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np

from spnas_core.encoding import Architecture
from spnas_core.errors import ArchiveError, PluginError
from spnas_core.plugins import asked, owner
from spnas_core.space import Bound
from spnas_search.archive import Archive, Proposal
from spnas_search.archive.intake import finite
from spnas_search.screens._base import Screen
from spnas_search.strategies import CheckedStrategy

REDRAWS = 20
"""Times that children are drawn anew where too few of those drawn keep the measured bounds."""


@dataclass(frozen=True)
class ScreenedStrategy(CheckedStrategy):
    """Asks a strategy for several rounds of children, and proposes those that a screen prefers.

    Where what a child is follows from its place in its round (``Strategy``: ``by_place``), each place gets the one that
    the screen prefers of those drawn for it, and the round keeps its order. Of strategies that follow one another all
    of a round are of the same one, the one that has proposed first, and no more than a round of it may have.

    Where nothing that was drawn keeps the measured bounds, the strategy proposes by itself, held to them: it may know
    where else to look.

    Attributes:
        screen: prefers.
        screen_name: under which it is registered.
        draws: rounds to draw for one that is trained, 1 or more.
        measured: bounds that take long to ask, and that ``space`` leaves out: only what is preferred is held to them,
            and where too little keeps them, children are drawn anew, up to ``REDRAWS`` times.
        unscreened: the strategy with the measured bounds among its own.
    """

    screen: Screen
    screen_name: str
    draws: int
    measured: tuple[Bound, ...] = ()
    unscreened: CheckedStrategy | None = None

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Propose the children that the screen prefers, best first, or place by place; see ``Strategy``.

        Raises:
            PluginError: strategy or screen raised, or broke a rule.
        """
        chosen: dict[int, Proposal] = {}
        places: dict[Architecture, int] = {}
        number: int | None = None
        most, longest = self.round_size, 0
        for _ in range(1 + REDRAWS):
            drawn: dict[Architecture, Proposal] = {}
            for _ in range(self.draws):
                proposals = super().propose(archive, rng)
                if proposals and number is None:
                    number = proposals[0].strategy
                    most = self.room(archive, number)
                proposals = [proposal for proposal in proposals if proposal.strategy == number]
                longest = max(longest, len(proposals))
                for place, proposal in enumerate(proposals):
                    if proposal.rewrite.child not in places:
                        places[proposal.rewrite.child] = place
                        drawn[proposal.rewrite.child] = proposal
                if not proposals:  # the strategy has nothing new: it has tried hard enough, once
                    break
            # A strategy may make a round shorter: of the heirs that are owed, say.
            within = min(most, longest)
            self._choose(chosen, self._ranked(archive, list(drawn.values())), within, places, number or 0)
            if not self.measured or len(chosen) == within:
                break
        found = [chosen[place] for place in takewhile(chosen.__contains__, range(most))]
        if found or not longest or self.unscreened is None:
            return found
        return self.unscreened.propose(archive, rng)

    def _choose(
        self,
        chosen: dict[int, Proposal],
        ranked: Iterator[Proposal],
        most: int,
        places: Mapping[Architecture, int],
        number: int,
    ) -> None:
        """Fill the places of a round that are left, with the best that keep the measured bounds; no more are asked."""
        by_place = self.by_place(number)
        while len(chosen) < most and (proposal := next(ranked, None)) is not None:
            place = places[proposal.rewrite.child] if by_place else len(chosen)
            if place < most and place not in chosen and self._keeps_bounds(proposal):
                chosen[place] = proposal

    def _ranked(self, archive: Archive, proposals: list[Proposal]) -> Iterator[Proposal]:
        if not proposals:
            return
        preferences = self._values(archive, proposals, "preferences")
        has_more = hasattr(self.screen, "expectations")
        expected = self._values(archive, proposals, "expectations") if has_more else preferences
        for place in np.argsort(-preferences, kind="stable").tolist():
            yield replace(proposals[place], preference=float(expected[place]))

    def _keeps_bounds(self, proposal: Proposal) -> bool:
        return all(bound.violation(proposal.rewrite.child) is None for bound in self.measured)

    def _values(self, archive: Archive, proposals: Sequence[Proposal], method: str) -> np.ndarray:
        children = tuple(proposals)  # a copy: whatever the screen does to it, the proposals stay
        found: object = asked(self._whose, method, lambda: getattr(self.screen, method)(archive, children))
        if isinstance(found, Mapping | AbstractSet | str | bytes) or not isinstance(found, Iterable):
            raise PluginError(
                f"{self._whose} returned a {type(found).__name__} for {len(children)} children: it must be one number "
                "for each"
            )
        values: list[object] = asked(self._whose, method, lambda: list(found))  # a generator's own code runs here
        if len(values) != len(children):
            raise PluginError(
                f"{self._whose} returned {len(values)} values for {len(children)} children: it must be one number for "
                "each"
            )
        return np.array([self._number_of(value, child) for value, child in zip(values, children, strict=True)])

    def _number_of(self, value: object, proposal: Proposal) -> float:
        wrong = f"{self._whose} returned what is no number for {proposal.rewrite.child}"
        if getattr(value, "ndim", 0):
            raise PluginError(f"{wrong}, but an array: it must be finite")
        try:
            return finite(None if value is np.ma.masked else value, "it")
        except ArchiveError as error:
            raise PluginError(f"{wrong}: {error}") from None

    @property
    def _whose(self) -> str:
        return owner("screens", self.screen_name)
