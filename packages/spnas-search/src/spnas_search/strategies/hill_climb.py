"""Hill climbing by network morphisms: a round of neighbours, and on from the best of them.

Elsken, Metzen & Hutter, "Simple And Efficient Architecture Search for Convolutional Neural Networks", 2017,
algorithm 1.
"""

from typing import Literal

import numpy as np
from pydantic import Field

from spnas_core.configuration import Few
from spnas_core.encoding import Architecture
from spnas_core.space import SearchSpace
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Candidate, Inherit, Proposal
from spnas_search.strategies.mutation import MutationSettings, Mutator


class HillClimbSettings(MutationSettings):
    """The ``[strategy]`` table of a hill climb; see ``MutationSettings`` for the rest of it.

    The paper takes rounds of 8, the network itself among them, and its neighbours always lie 5 morphisms apart.

    Attributes:
        name: the strategy's name.
        round: neighbours per round.
    """

    name: Literal["hill-climb"] = "hill-climb"
    round: Few = Field(4, ge=1)


class HillClimb:
    """Draws neighbours of one network, the current one, until one of a round is better and takes its place.

    Where the climb stands follows from the archive. It begins at the best there is, which is the start unless
    strategies before it have found a better one; only its own children are rounds of the climb. All children of a round
    have one parent, the current network when they were drawn; so the current one now is the best of the last round's
    children and their parent. The best is the one of the highest merit; the parent stays unless a child exceeds it, and
    the older child comes first among equals. Children without a merit, failed or not yet comparable, do not count, and
    a round without a better child is followed by other neighbours of the same network. Earlier rounds are not judged
    again: where new scores change merits, the climb goes on from where it is.

    Merit is what compares. In the paper the network itself is trained on beside its neighbours. Under a rule with
    controls this is the control: a child exceeds its parent's merit where its score exceeds the control's. Under the
    other rules age is a part of the model. One thing differs: a network that stays keeps the weights it had, not those
    of its control.

    Example: the start (merit 0.50) had children of 0.48 and 0.53; that of 0.53 had children of 0.51 and 0.52. It is
    still the current one, and its next neighbours are drawn.

    The climb ends at a local optimum: where no new neighbour is found.

    Args:
        settings: the ``[strategy]`` table.
        space: bounds of the search.

    Raises:
        PluginError: the odds name an unknown morphism.
        ConfigError: all odds are zero.
    """

    by_rounds = True
    strategy_number = 0

    def __init__(self, settings: HillClimbSettings, space: SearchSpace) -> None:
        self.settings = settings
        self.space = space
        self._mutator = Mutator(settings, space)

    def current(self, archive: Archive) -> Candidate | None:
        """Where the climb stands; None where nothing has a merit."""
        ranked = [(archive.merit(candidate), candidate) for candidate in self._contenders(archive)]
        known = [(merit, candidate) for merit, candidate in ranked if merit is not None]
        if not archive.start_may_win:  # it is left as soon as a child is known, however good it is
            known = [found for found in known if found[1].kind != "start"] or known
        return max(known, key=lambda found: found[0])[1] if known else None

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Draw neighbours of the current network that are new."""
        current = self.current(archive)
        if current is None:
            return []
        drawn = self._mutator.children(self.settings.round, lambda: current, archive, rng)
        return [Proposal("child", parent.id, rewrite, Fidelity(self.settings.epochs)) for parent, rewrite in drawn]

    def reaches(self, start: Architecture, inherit: Inherit) -> bool:
        """Whether some draws find a child of the start inside the space; see ``Strategy``."""
        del inherit
        return self._mutator.reaches(start)

    def stuck(self, archive: Archive) -> str | None:
        """Never before the neighbours are used up."""
        return None

    def may_use(self, archive: Archive) -> frozenset[int]:
        """The last round's children and their parent: a control that comes late can still decide between them.

        Before the first round, where the climb would begin now.
        """
        return frozenset(candidate.id for candidate in self._contenders(archive) if candidate.status == "done")

    def _contenders(self, archive: Archive) -> list[Candidate]:
        """The current network of the last round and the children that were drawn from it; the best before the first."""
        children = archive.children_of(self.strategy_number)
        if not children:
            return list(archive.best(1) or (archive.start,))
        last = children[-1]
        neighbours = [child for child in children if (child.round, child.parent) == (last.round, last.parent)]
        return [archive[last.parent or 0], *neighbours]
