"""Simulated annealing: a worse network is sometimes kept, ever more rarely.

Kirkpatrick, Gelatt & Vecchi, "Optimization by Simulated Annealing", Science 220, 1983.
"""

import math
from typing import Literal

import numpy as np
from pydantic import Field

from spnas_core import hookimpl
from spnas_core.hookspecs import Register
from spnas_core.space import SearchSpace
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Candidate, Proposal
from spnas_search.strategies import StrategyPlugin
from spnas_search.strategies.mutation import MutationSettings, Mutator


class AnnealingSettings(MutationSettings):
    """The ``[strategy]`` table; see ``MutationSettings`` for the rest of it.

    Attributes:
        name: the strategy's name.
        temperature: of the first round, in units of the objective: a network that is worse by as much is kept with a
            probability of 1/e.
        cooling: factor of the temperature from round to round.
    """

    name: Literal["annealing"] = "annealing"
    temperature: float = Field(0.02, gt=0)
    cooling: float = Field(0.9, gt=0, le=1)


class Annealing:
    """Draws neighbours of the current network; one of them takes its place if it is better, or by chance.

    The parent of the last round is the network that was current then, so nothing needs to be remembered.
    """

    by_rounds = True  # so ``--asynchronous`` is refused

    def __init__(self, settings: AnnealingSettings, space: SearchSpace) -> None:
        self.settings = settings
        self._mutator = Mutator(settings, space)

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Decide where the walk stands, and draw neighbours of that."""
        current = self._current(archive, rng)
        if current is None:
            return []
        drawn = self._mutator.children(self.settings.round, lambda: current, archive, rng)
        return [Proposal("child", parent.id, rewrite, Fidelity(self.settings.epochs)) for parent, rewrite in drawn]

    def stuck(self, archive: Archive) -> str | None:
        """Never before the neighbours are used up."""
        return None

    def may_use(self, archive: Archive) -> frozenset[int]:
        """The last round's children and their parent."""
        before, children = _last_round(archive)
        return frozenset(one.id for one in (before, *children) if one.status == "done")

    def _current(self, archive: Archive, rng: np.random.Generator) -> Candidate | None:
        before, children = _last_round(archive)
        scored = [child for child in children if archive.merit(child) is not None]
        if not scored:
            return before if before.status == "done" else None
        child = scored[int(rng.integers(len(scored)))]
        gain = (archive.merit(child) or 0.0) - (archive.merit(before) or 0.0)
        rounds = len({one.round for one in archive.of_kind("child")})
        temperature = self.settings.temperature * self.settings.cooling ** (rounds - 1)
        # Metropolis: a child that is worse is kept with a probability of exp(gain / temperature).
        return child if gain >= 0 or rng.random() < math.exp(gain / temperature) else before


def _last_round(archive: Archive) -> tuple[Candidate, list[Candidate]]:
    """Return the network that was current when the last children were drawn, and these."""
    children = archive.of_kind("child")
    if not children:
        return archive.start, []
    return archive[children[-1].parent or 0], [one for one in children if one.round == children[-1].round]


@hookimpl
def spnas_register_strategies(register: Register) -> None:
    """Add ``annealing``."""
    register("annealing", StrategyPlugin("keep worse networks ever more rarely", AnnealingSettings, Annealing))
