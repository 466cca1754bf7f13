"""A strategy as the loop sees it: whatever it proposes is checked, and what it raises names its plugin."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from spnas_core.encoding import Architecture
from spnas_core.errors import ArchiveError, PluginError
from spnas_core.plugins import asked, owner
from spnas_core.relaxation import Relaxation
from spnas_core.space import SearchSpace
from spnas_core.tasks import Fidelity
from spnas_search.archive import OFFSPRING, Archive, Proposal
from spnas_search.archive.intake import plain_proposal, whole
from spnas_search.strategies._base import Strategy, claims, why_stuck
from spnas_search.strategies.phases import Phases

_T = TypeVar("_T")


@dataclass(frozen=True)
class CheckedStrategy:
    """A strategy that can only propose what a search may evaluate.

    A proposal must be a child of a done node of the archive, rewritten from that parent's architecture, scored on
    validation images, new in the archive and in its round, inside the space, and of plain values. A reignition is its
    parent once more, so it need not be new.

    Attributes:
        name: under which the strategy is registered.
        wrapped: the strategy itself.
        space: bounds of the search.
    """

    name: str
    wrapped: Strategy
    space: SearchSpace

    @property
    def round_size(self) -> int:
        """Children per round, at least 1.

        Raises:
            PluginError: the strategy does not say, or says something that is no positive number.
        """
        return self._number("round", 1)

    @property
    def control_fidelity(self) -> Fidelity:
        """Of the controls that measure the noise: what the strategy says as ``fidelity``, else its children's epochs.

        Raises:
            PluginError: the strategy does not say, or says something else.
        """
        found = getattr(self.wrapped, "fidelity", None)
        if found is None:
            return Fidelity(self._number("epochs", 0))
        if not isinstance(found, Fidelity) or found.rung:
            raise PluginError(f"{self._who} has fidelity = {found!r}: it must be a Fidelity of rung 0")
        return found

    @property
    def control_epochs(self) -> int:
        """Epochs of the controls that measure the noise.

        Raises:
            PluginError: the strategy does not say, or says something else.
        """
        return self.control_fidelity.epochs

    def next_epochs(self, archive: Archive) -> int:
        """Epochs of the next children: of several strategies that follow one another, of those whose turn it is.

        Args:
            archive: of the search.
        """
        phases = self.wrapped
        if not isinstance(phases, Phases):
            return self.control_epochs
        return self._asked("stuck", lambda: phases.next_epochs(archive))

    @property
    def has_free_children(self) -> bool:
        """Whether children that take no epochs may come, of which a budget of epochs has room for any number."""
        return self.wrapped.has_free_children if isinstance(self.wrapped, Phases) else not self.control_epochs

    @property
    def leaves_untrained(self) -> bool:
        """Whether there are children that take no epochs, however many."""
        if isinstance(self.wrapped, Phases):
            return any(phase.is_free for phase in self.wrapped.phases)
        return not self.control_epochs

    def room(self, archive: Archive, number: int) -> int:
        """Most children of a round of one of several strategies, as a method of this name has it; else of any round.

        Args:
            archive: of the search.
            number: of that strategy, as its proposals have it.

        Raises:
            PluginError: the strategy raised, or what it says is no positive number.
        """
        room = getattr(self.wrapped, "room", None)
        if room is None:
            return self.round_size
        most = self._asked("room", lambda: whole(room(archive, number), "room"))
        if most < 1:
            raise PluginError(f"{self._who} has room for {most} children in a round: it must be 1 or more")
        return most

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Propose the next round of children; see ``Strategy``.

        Raises:
            PluginError: the strategy raised, or a proposal breaks a rule.
        """
        proposals: object = self._asked("propose", lambda: self.wrapped.propose(archive, rng))
        if not isinstance(proposals, (list, tuple)):
            raise PluginError(f"{self._who} proposed a {type(proposals).__name__}: it must return a list of Proposal")
        checked: list[Proposal] = []
        taken: set[Architecture] = set()
        for place, proposal in enumerate(proposals):
            checked.append(self._checked(archive, proposal, place, taken))
            taken.add(checked[-1].rewrite.child)
        return checked

    @property
    def trains_winner(self) -> bool:
        """Whether a search with it ends in the training of its winner, unless the settings say.

        Raises:
            PluginError: it is neither True nor False.
        """
        return claims(self.wrapped, "trains_winner", self._who)

    @property
    def reignites(self) -> bool:
        """Whether the strategy may propose reignitions, as it says by an attribute of this name.

        Raises:
            PluginError: it is neither True nor False.
        """
        return claims(self.wrapped, "reignites", self._who)

    @property
    def meaningful_from(self) -> int:
        """Children from which on a search says something of the strategy, as an attribute of this name has it; 0 else.

        Raises:
            PluginError: it is no whole number.
        """
        value = getattr(self.wrapped, "meaningful_from", 0)
        try:
            return whole(value, "meaningful_from")
        except ArchiveError as error:
            raise PluginError(f"{self._who} has meaningful_from = {value!r}: it must be a whole number") from error

    @property
    def relaxation(self) -> Relaxation | None:
        """How the start is to train the choice among its parts, as an attribute of this name says; None for not at all.

        Raises:
            PluginError: it is something else.
        """
        found = getattr(self.wrapped, "relaxation", None)
        if found is not None and not isinstance(found, Relaxation):
            raise PluginError(f"{self._who} has relaxation = {found!r}: it must be a Relaxation, or None")
        return found

    @property
    def by_rounds(self) -> bool:
        """Whether the strategy goes by whole rounds, as it says by an attribute of this name.

        Raises:
            PluginError: it is neither True nor False.
        """
        return claims(self.wrapped, "by_rounds", self._who)

    def by_place(self, number: int) -> bool:
        """Whether what a child is follows from its place in its round, as an attribute of the strategy says.

        Args:
            number: of that strategy, of several that follow one another; 0 where there is one.

        Raises:
            PluginError: it is neither True nor False.
        """
        if isinstance(self.wrapped, Phases):
            phase = self.wrapped.phases[number]
            return claims(phase.strategy, "by_place", owner("strategies", phase.name))
        return claims(self.wrapped, "by_place", self._who)

    def stuck(self, archive: Archive) -> str | None:
        """Say why going on makes no sense, or None; see ``Strategy``.

        Raises:
            PluginError: the strategy raised, or returned something else.
        """
        said: object = self._asked("stuck", lambda: self.wrapped.stuck(archive))
        return why_stuck(said, self._who)

    def may_use(self, archive: Archive) -> frozenset[int]:
        """Ids of the candidates whose weights a later proposal may inherit from; see ``Strategy``.

        Raises:
            PluginError: the strategy raised, or named something else than candidates.
        """
        named: object = self._asked("may_use", lambda: self.wrapped.may_use(archive))
        try:
            numbers = frozenset(whole(one, "a candidate") for one in named)  # type: ignore[attr-defined]
        except (TypeError, ArchiveError) as error:
            raise PluginError(f"{self._who} returned {named!r} from may_use: it must be ids of candidates") from error
        if unknown := sorted(number for number in numbers if not 0 <= number < len(archive)):
            raise PluginError(f"{self._who} may use candidate {unknown[0]}: the archive holds {len(archive)}")
        return numbers

    @property
    def _who(self) -> str:
        return owner("strategies", self.name)

    def _number(self, key: str, least: int) -> int:
        settings = getattr(self.wrapped, "settings", None)
        value = getattr(self.wrapped, key, getattr(settings, key, None))
        try:
            number = whole(value, key)
        except ArchiveError:
            number = least - 1
        if number < least:
            raise PluginError(
                f"{self._who} has {key} = {value!r}: its settings must have a whole number {key!r}, {least} or more, "
                "or the strategy an attribute of that name"
            )
        return number

    @property
    def _strategies(self) -> int | None:
        """How many strategies it consists of; None where it is several of a plugin's own, which says no number."""
        if isinstance(self.wrapped, Phases):
            return len(self.wrapped.phases)
        return None if hasattr(self.wrapped, "room") else 1

    def _asked(self, method: str, ask: Callable[[], _T]) -> _T:
        return asked(self._who, method, ask)

    def _checked(self, archive: Archive, proposal: object, place: int, taken: set[Architecture]) -> Proposal:
        what = f"proposal {place} of {self._who}"
        try:
            plain = plain_proposal(proposal, what)
        except ArchiveError as error:
            raise PluginError(str(error)) from error
        child = plain.rewrite.child
        for wrong in self._broken_rules(archive, plain):
            raise PluginError(f"{what} {wrong}")
        if plain.kind == "child" and child in taken:
            raise PluginError(f"{what} is {child} a second time: the proposals of a round must differ")
        return plain

    def _broken_rules(self, archive: Archive, proposal: Proposal) -> Iterator[str]:
        """Yield which rules a proposal breaks, and what each of them is."""
        child = proposal.rewrite.child
        yield from _wrong_kind(proposal)
        if proposal.split != "validation":
            yield f"is scored on {proposal.split} images: only the verdict may look at those"
        if proposal.fidelity.rung:
            yield f"is of rung {proposal.fidelity.rung}: a child begins at rung 0"
        if proposal.strategy < 0 or (self._strategies is not None and proposal.strategy >= self._strategies):
            yield f"is of strategy {proposal.strategy}: {_counted(self._strategies)}"
        if proposal.subject is not None:
            yield f"has subject {proposal.subject}: a child is its own"
        if proposal.parent is None or not 0 <= proposal.parent < len(archive):
            yield f"has parent {proposal.parent}: it must be one of the {len(archive)} candidates of the archive"
            return
        parent = archive[proposal.parent]
        if not parent.is_node or parent.status != "done":
            yield f"has parent {parent.id}, a {parent.status} {parent.kind}: it must be a done start or child"
        if proposal.rewrite.parent != parent.architecture:
            yield f"rewrites {proposal.rewrite.parent}, but its parent {parent.id} is {parent.architecture}"
        if proposal.kind == "child" and archive.contains(child):
            yield f"is {child}, which was proposed before: it must be new in the archive"
        if outside := self.space.violations(child):
            yield f"is {child}, outside the search space: {'; '.join(outside)}"


def _counted(strategies: int | None) -> str:
    found = "" if strategies is None else f", and there {'are' if strategies > 1 else 'is'} {strategies}"
    return f"strategies that follow one another are counted from 0{found}"


def _wrong_kind(proposal: Proposal) -> Iterator[str]:
    if proposal.kind not in OFFSPRING:
        kinds = "children and reignitions"
        yield f"is of kind {proposal.kind!r}: a strategy proposes {kinds}, all else is the search's matter"
    elif (proposal.kind == "reignition") != (proposal.pretraining is not None):
        yield f"is a {proposal.kind} with pretraining {proposal.pretraining}: a reignition has one, and nothing else"
