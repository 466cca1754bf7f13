"""What every screen must keep, as a suite to run over one's own.

With pytest, subclass it in a test file:

    from spnas_search.testing import ScreenContract

    class TestMine(ScreenContract):
        plugin = ScreenPlugin("what it prefers", MineSettings, Mine)
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from spnas_core.space import SearchSpace
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Proposal
from spnas_search.screens import Screen, ScreenPlugin
from spnas_search.strategies import strategy_plugin
from spnas_search.testing.archives import enter, new_archive, start
from spnas_search.testing.null_task import NullTask

ROUNDS = 4


class ScreenContract:
    """Preferences are numbers, one for each child, and follow from archive and child alone.

    Attributes:
        plugin: the screen, as it is registered.
        settings: of its table, for the suite.
        space: bounds of the searches.
    """

    plugin: ScreenPlugin
    settings: Mapping[str, Any] = {}
    space = SearchSpace(min_blocks=1, max_blocks=40, min_stages=1, max_stages=9, image_size=(64, 64))

    def test_it_says_how_many_children_are_drawn(self) -> None:
        """By ``draws`` of its settings: rounds of children for one that is trained."""
        assert self.plugin.settings(**self.settings).draws >= 1

    def test_every_child_has_a_number(self) -> None:
        """From the first round on, when hardly anything is known, and of what it expects, too."""
        with self._searched() as archive:
            for proposals in self._rounds(archive):
                for what, numbers in self._answers(archive, proposals).items():
                    assert len(numbers) == len(proposals), f"{len(numbers)} {what} of {len(proposals)} children"
                    assert all(math.isfinite(number) for number in numbers), f"{what} {numbers}"

    def test_of_no_children_nothing_is_said(self) -> None:
        """A strategy may find none that are new."""
        with self._searched() as archive:
            for _ in self._rounds(archive):
                assert all(len(numbers) == 0 for numbers in self._answers(archive, []).values())

    def test_preferences_follow_from_the_archive(self) -> None:
        """Neither another instance, nor one that was asked before, nor a reopened archive changes them."""
        used = self._made()
        with self._searched() as archive:
            for proposals in self._rounds(archive):
                before, first = [*archive], self._answers(archive, proposals)
                assert self._answers(archive, proposals) == first, "another instance says something else"
                assert self._answers(archive, proposals, used) == first, "what was asked before changes what it says"
                with Archive.read(archive.path) as reopened:
                    assert self._answers(reopened, proposals) == first, "a reopened archive changes what it says"
                assert [*archive] == before

    def test_the_order_of_children_does_not_matter(self) -> None:
        """Each is judged by itself."""
        with self._searched() as archive:
            for proposals in self._rounds(archive):
                backwards = self._answers(archive, proposals[::-1])
                for what, numbers in self._answers(archive, proposals).items():
                    assert np.allclose(backwards[what][::-1], numbers, rtol=1e-9, atol=1e-12), f"{what} change"

    def _made(self) -> Screen:
        return self.plugin.build(self.plugin.settings(**self.settings), self.space)

    def _answers(
        self, archive: Archive, proposals: Sequence[Proposal], screen: Screen | None = None
    ) -> dict[str, list[float]]:
        screen = screen or self._made()
        found = {"preferences": [float(number) for number in screen.preferences(archive, proposals)]}
        if (expect := getattr(screen, "expectations", None)) is not None:
            found["expectations"] = [float(number) for number in expect(archive, proposals)]
        return found

    @contextmanager
    def _searched(self) -> Iterator[Archive]:
        """An archive with a start and its controls."""
        with new_archive() as archive:
            enter(archive, [Proposal("start", None, start(), Fidelity(4))], NullTask(noise=0.02))
            enter(archive, [Proposal("control", 0, start(), Fidelity(2))] * 3, NullTask(noise=0.02))
            yield archive

    def _rounds(self, archive: Archive) -> Iterator[list[Proposal]]:
        """Children of a serial search from round to round; each round is entered when the next one is asked for."""
        plugin = strategy_plugin("serial")
        strategy = plugin.build(plugin.settings(epochs=2), self.space)
        for number in range(ROUNDS):
            proposals = strategy.propose(archive, np.random.default_rng([number, len(archive)]))
            yield proposals
            enter(archive, proposals, NullTask(noise=0.02))
