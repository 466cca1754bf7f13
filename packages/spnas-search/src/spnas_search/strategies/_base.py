"""The contract of a strategy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from spnas_core.encoding import Architecture
from spnas_core.errors import PluginError
from spnas_core.plugins import asked, registry
from spnas_core.space import SearchSpace
from spnas_search.archive import Archive, Inherit, Proposal
from spnas_search.archive.intake import plain_reason


class Strategy(Protocol):
    """Proposes candidates. A strategy keeps no state: everything follows from the archive and the given rng.

    That is what makes a resumed search take the same decisions as an undisturbed one.

    Its settings (or the strategy itself, as attributes) have ``round``, the children per round, and ``epochs``, that
    its children are trained: the start is trained on by as many to measure the noise. An attribute ``fidelity`` of the
    strategy takes the place of ``epochs`` where its children see a smaller canvas, or a share of the images, and so
    must the controls. Children may have any ``Fidelity``: only scores of equal fidelity and age compare directly, so
    the search trains the start at each fidelity that children have, too, and, where the ranking rule wants controls,
    their parents. What a strategy returns is checked, see ``CheckedStrategy``.
    """

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Propose the next round of children.

        Args:
            archive: all candidates so far; everything of earlier rounds has ended. In an asynchronous search some are
                under way (``proposed``): known to ``archive.contains``, and no parents yet.
            rng: seeded by the run's seed and the number of candidates so far; the only source of chance.

        Returns:
            Proposals of kind ``child`` and rung 0, new in the archive, different from each other, inside the space,
            scored on validation images; fewer than a full round where no more can be found, none where the strategy is
            exhausted. Or one of kind ``reignition``: the identity rewrite of a candidate, with a ``Pretraining``; a
            strategy that proposes such says so by a true attribute ``reignites``. A true attribute ``trains_winner``
            has the search end with the training of its winner, unless the settings say. A true attribute
            ``by_rounds`` says that it compares whole rounds, so that it cannot propose one child after the other; a
            true attribute ``by_place``, that what a child is follows from its place in its round, such as which pair
            its parent has won: a screen then chooses for each place alone, and leaves the order. A number
            ``meaningful_from`` says from how many children on it is more than a random search; fewer are warned of. A
            ``Relaxation`` as attribute ``relaxation`` has the start train the choice among its parts, too: its receipt
            says what came of it (``spnas_core.tasks.SharedTraining``). One that consists of several, told apart by
            ``Proposal.strategy``, has a method ``room(archive, number)``: how many children a round of that may have. A
            method ``reaches(start, inherit)`` says whether it finds a child of a start inside the space, as far as some
            draws tell: where not, the search warns before anything is trained.
        """

    def stuck(self, archive: Archive) -> str | None:
        """Say in words why going on makes no sense, or None."""

    def may_use(self, archive: Archive) -> frozenset[int]:
        """Ids of the candidates whose weights a later proposal may inherit from."""


@runtime_checkable
class Numbered(Protocol):
    """A strategy that tells its own children from those of strategies before it.

    Attributes:
        strategy_number: which of the search's strategies it is, from 0, as ``Archive.children_of`` counts them; where
            several follow one another, ``Phases`` sets it.
    """

    strategy_number: int


@dataclass(frozen=True)
class StrategyPlugin:
    """A strategy as the plugins register it.

    Attributes:
        summary: one line for listings.
        settings: pydantic model of the ``[strategy]`` table.
        build: makes the strategy from validated settings and the search space; where a screen chooses among its
            children, that leaves out the bound on measured latency, which the screen's choice is held to.
        screen: the ``[screen]`` table of searches that say nothing of one; None for none. A table that names no other
            screen lies over it.
    """

    summary: str
    settings: type[Any]
    build: Callable[[Any, SearchSpace], Strategy]
    screen: Mapping[str, Any] | None = None


def strategy_plugin(name: str) -> StrategyPlugin:
    """Look up a registered strategy.

    Raises:
        PluginError: no plugin registers the name.
    """
    plugin: StrategyPlugin = registry("strategies").get(name)
    return plugin


def claims(strategy: Strategy, name: str, who: str) -> bool:
    """Return what a strategy says of itself by an attribute that is true or false; it may leave it out.

    Args:
        strategy: as it was built.
        name: of the attribute, such as ``by_rounds``.
        who: names the strategy, see ``owner``.

    Raises:
        PluginError: it is neither True nor False.
    """
    said: object = getattr(strategy, name, False)
    if not isinstance(said, bool | np.bool_):
        raise PluginError(f"{who} has {name} = {said!r}: it must be True or False")
    return bool(said)


def reaches(strategy: Strategy, start: Architecture, inherit: Inherit, who: str) -> bool:
    """Return whether a strategy finds a child of a start, as its method of this name says; it may leave it out.

    Args:
        strategy: as it was built.
        start: of the search.
        inherit: what children begin with.
        who: names the strategy, see ``owner``.

    Raises:
        PluginError: it raised, or said neither True nor False.
    """
    ask = getattr(strategy, "reaches", None)
    if ask is None:
        return True
    said: object = asked(who, "reaches", lambda: ask(start, inherit))
    if not isinstance(said, bool | np.bool_):
        raise PluginError(f"{who} returned {said!r} from reaches: it must be True or False")
    return bool(said)


def why_stuck(said: object, who: str) -> str | None:
    """Return why a strategy is stuck, in one line; None where it is not.

    Args:
        said: what its method ``stuck`` has returned.
        who: names the strategy, see ``owner``.

    Raises:
        PluginError: that is no reason, and not None.
    """
    if said is None:
        return None
    if not isinstance(said, str) or not (reason := plain_reason(said)):
        raise PluginError(f"{who} returned {said!r} from stuck: it must be why it is stuck, or None")
    return reason
