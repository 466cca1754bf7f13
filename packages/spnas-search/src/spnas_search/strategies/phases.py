"""Strategies that follow one another: the whole of SP-NAS is a serial phase, then a parallel one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, Field

from spnas_core.configuration import Count, Table, validate
from spnas_core.errors import ConfigError
from spnas_core.plugins import built, owner, settings_model
from spnas_core.relaxation import Relaxation
from spnas_core.space import SearchSpace
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Proposal
from spnas_search.strategies._base import Numbered, Strategy, claims, why_stuck
from spnas_search.strategies.mutation import Mutations
from spnas_search.strategies.parallel import Parallel, ParallelSettings
from spnas_search.strategies.reignition import Reignition, ReignitionSettings
from spnas_search.strategies.serial import Serial, SerialSettings

FIRST_PHASE = (10, 16)
"""Children of the first phase of a whole search, of so many."""


@dataclass(frozen=True)
class Phase:
    """One of several strategies.

    Attributes:
        name: under which it is registered.
        strategy: the strategy itself.
        candidates: children after which the next one begins; None for no bound.
    """

    name: str
    strategy: Strategy
    candidates: int | None

    @property
    def has_children(self) -> bool:
        """Whether it is there for children, and not for a reignition alone."""
        return not isinstance(self.strategy, ReigniteOnce)

    @property
    def is_free(self) -> bool:
        """Whether its children take no epochs."""
        return self.has_children and not self.epochs

    @property
    def epochs(self) -> int:
        """Epochs of its children, as its ``fidelity`` says, where it has one."""
        fidelity = getattr(self.strategy, "fidelity", None)
        return fidelity.epochs if isinstance(fidelity, Fidelity) else _number(self, "epochs")


class Phases:
    """Strategies one after the other, in one archive.

    The next one begins where one has proposed as many children as it may, says that it is stuck, or has nothing left to
    propose. It goes on from what the earlier ones have found: it sees the whole archive, and one that counts children
    (an evolution its initial samples, Q-learning its schedule) counts those of earlier phases as its own.

    Args:
        phases: in order; at least one.
        settings: of the whole, for whoever asks.
        trains_winner: whether the search ends in the training of its winner, unless the settings say.
    """

    def __init__(self, phases: Sequence[Phase], settings: BaseModel, *, trains_winner: bool = False) -> None:
        self.phases = tuple(phases)
        self.settings = settings
        self.trains_winner = trains_winner
        for number, phase in enumerate(self.phases):
            if isinstance(phase.strategy, Numbered):
                phase.strategy.strategy_number = number

    @property
    def round(self) -> int:
        """Children per round: of the strategy with the largest rounds."""
        return max(_number(phase, "round") for phase in self.phases)

    @property
    def epochs(self) -> int:
        """Epochs of the first strategy's children, at which the noise is measured."""
        return self.phases[0].epochs

    @property
    def has_free_children(self) -> bool:
        """Whether one of them may propose any number of children that take no epochs."""
        return any(phase.is_free and phase.candidates is None for phase in self.phases)

    def next_epochs(self, archive: Archive) -> int:
        """Epochs of the children of the present strategy; of the next that is there for children, where it is not."""
        coming = [phase for phase in self.phases[self.current(archive) :] if phase.has_children]
        return coming[0].epochs if coming else 0

    @property
    def fidelity(self) -> object:
        """Of the first strategy's controls, where it says more than epochs; None where it does not."""
        return getattr(self.phases[0].strategy, "fidelity", None)

    @property
    def reignites(self) -> bool:
        """Whether one of them may reignite."""
        return any(claims(phase.strategy, "reignites", _who(phase)) for phase in self.phases)

    @property
    def by_rounds(self) -> bool:
        """Whether one of them goes by whole rounds."""
        return any(claims(phase.strategy, "by_rounds", _who(phase)) for phase in self.phases)

    @property
    def relaxation(self) -> Relaxation | None:
        """How the start is to train the choice among its parts: what the first of them says that asks for it."""
        return next((found for phase in self.phases if (found := _relaxation(phase)) is not None), None)

    def room(self, archive: Archive, number: int) -> int:
        """Most children that a round of one of the strategies may have: its own round, within its candidates."""
        size, left = _number(self.phases[number], "round"), self._left(archive, number)
        return size if left is None else min(size, left)

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Let the present strategy propose, or the next one that has something to propose."""
        for number in range(self.current(archive), len(self.phases)):
            phase = self.phases[number]
            if self._why_over(archive, number) is not None:
                continue
            if proposed := phase.strategy.propose(archive, rng)[: self._left(archive, number)]:
                return [replace(proposal, strategy=number) for proposal in proposed]
        return []

    def current(self, archive: Archive) -> int:
        """Number of the strategy whose turn it is, from 0."""
        number = archive.strategy
        while number + 1 < len(self.phases) and self._why_over(archive, number) is not None:
            number += 1
        return number

    def stuck(self, archive: Archive) -> str | None:
        """Say why the last strategy is over."""
        last = len(self.phases) - 1
        return self._why_over(archive, last) if self.current(archive) == last else None

    def idle(self, archive: Archive) -> tuple[str, ...]:
        """Names of the strategies that are there for children, and have proposed none."""
        numbered = enumerate(self.phases)
        return tuple(phase.name for number, phase in numbered if phase.has_children and not archive.children_of(number))

    def may_use(self, archive: Archive) -> frozenset[int]:
        """What the present and the later strategies may use."""
        present = self.current(archive)
        return frozenset().union(*(phase.strategy.may_use(archive) for phase in self.phases[present:]))

    def _left(self, archive: Archive, number: int) -> int | None:
        """Children that one of the strategies may still propose; None for no bound."""
        most = self.phases[number].candidates
        return None if most is None else most - len(archive.children_of(number))

    def _why_over(self, archive: Archive, number: int) -> str | None:
        phase, children = self.phases[number], len(archive.children_of(number))
        if phase.candidates is not None and children >= phase.candidates:
            return f"all {phase.candidates} candidates of the {phase.name} phase are evaluated"
        # What a strategy says of being stuck is about the children of the strategy that has proposed last.
        is_asked = archive.strategy == number and children
        return why_stuck(phase.strategy.stuck(archive), _who(phase)) if is_asked else None


class ReigniteOnce:
    """Reignites the best candidate, where none was reignited before, and that is all.

    Args:
        settings: of that reignition; ``most`` is not heeded.
        epochs: that a child is trained.
    """

    round = 1
    reignites = True

    def __init__(self, settings: ReignitionSettings, epochs: int) -> None:
        self.epochs = settings.epochs or epochs
        self._reignition = Reignition(settings.model_copy(update={"most": 1}), epochs)

    def propose(self, archive: Archive, rng: np.random.Generator) -> list[Proposal]:
        """Propose the reignition, once."""
        return self._reignition.propose(archive) if self._reignition.is_left(archive) else []

    def stuck(self, archive: Archive) -> str | None:
        """Never: it has something to propose, or nothing."""
        return None

    def may_use(self, archive: Archive) -> frozenset[int]:
        """The best candidate, while it may be reignited."""
        best = archive.best(1) if self._reignition.is_left(archive) else ()
        return frozenset(candidate.id for candidate in best)


class FirstPhaseReignition(ReignitionSettings):
    """The ``[strategy.serial.reignition]`` table of the whole search.

    Attributes:
        most: reignitions; the paper has at most two. Where this is 1 or more and the phase ends without one, its best
            candidate is reignited before rows are added.
    """

    most: Count = Field(1, ge=0)


class FirstPhaseSettings(SerialSettings):
    """The ``[strategy.serial]`` table of the whole search: single mutations of the best, as in the paper.

    Attributes:
        max_mutations: most morphisms in one child.
        explore: probability that what is drawn comes from the whole space.
        n_stuck: children in a row without progress after which the best is reignited, or the phase ends.
        reignition: what happens then.
    """

    max_mutations: Mutations = 1
    explore: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = 0.0
    n_stuck: Count = Field(4, ge=1)
    reignition: FirstPhaseReignition = FirstPhaseReignition()


class FullSettings(Table):
    """The ``[strategy]`` table of the whole search: the serial phase with reignition, then the parallel one.

    Attributes:
        name: the strategy's name.
        serial: table of the first phase.
        serial_candidates: children after which it ends, where it is not stuck before; None for 10 of each 16 of the
            budget.
        parallel: table of the second phase.
        parallel_candidates: children after which it ends, where it is not stuck before; None for what the
            budget leaves.
    """

    name: Literal["full"] = "full"
    serial: FirstPhaseSettings = FirstPhaseSettings()
    serial_candidates: Count | None = Field(None, ge=1)
    parallel: ParallelSettings = ParallelSettings()
    parallel_candidates: Count | None = Field(None, ge=1)

    def within(self, children: int | None) -> Self:
        """Return the same with as many candidates of the first phase as a budget has for it, unless they are said.

        Args:
            children: that the budget has room for; None where it does not say.
        """
        if self.serial_candidates is not None:
            return self
        serial, whole = FIRST_PHASE
        share = serial if children is None else max(1, min(children - 1, round(children * serial / whole)))
        return self.model_copy(update={"serial_candidates": share})


def full(settings: FullSettings, space: SearchSpace) -> Phases:
    """Build the whole search: serial, the reignition of its best where there was none, parallel.

    The first rows are added to what was reignited last, as many as ``serial.reignition.n_after`` says.
    """
    settings = settings.within(None)
    serial, reignition = settings.serial, settings.serial.reignition
    phases = [Phase("serial", Serial(serial, space), settings.serial_candidates)]
    if reignition.most:
        phases.append(Phase("reignite", ReigniteOnce(reignition, serial.epochs), None))
    handed = Reignition(reignition, serial.epochs, of_earlier=True)
    phases.append(Phase("parallel", Parallel(settings.parallel, space, handed), settings.parallel_candidates))
    return Phases(phases, settings, trains_winner=True)


class PhasesSettings(Table):
    """The ``[strategy]`` table of any strategies that follow one another.

    Attributes:
        name: the strategy's name.
        phases: their tables in order, each with the ``name`` of a registered strategy, its settings, and perhaps
            ``candidates``: children after which the next one begins. None of them consists of phases itself.
    """

    name: Literal["phases"] = "phases"
    phases: tuple[dict[str, Any], ...] = Field(min_length=1)


def any_phases(settings: PhasesSettings, space: SearchSpace) -> Phases:
    """Build the strategies of a list of tables.

    Raises:
        ConfigError: a table without a name, with settings that its strategy does not have, or of a strategy that
            consists of phases itself; or two that want the start to choose among its parts in different ways.
        PluginError: an unknown strategy.
    """
    phases = [_phase(table, number, space) for number, table in enumerate(settings.phases)]
    asking = [number for number, phase in enumerate(phases) if _relaxation(phase) is not None]
    for number in asking[1:]:
        if _relaxation(phases[number]) != _relaxation(phases[asking[0]]):
            raise ConfigError(
                f"strategy.phases.{number} has another relaxation than strategy.phases.{asking[0]}, and the start is "
                "trained with one: give both the same settings of it"
            )
    return Phases(phases, settings)


def _phase(table: dict[str, Any], number: int, space: SearchSpace) -> Phase:
    where, name = f"strategy.phases.{number}.", table.get("name")
    if not isinstance(name, str):
        raise ConfigError(f"{where}name is {name!r}: it must be the name of a registered strategy")
    candidates = table.get("candidates")
    if candidates is not None and (type(candidates) is not int or candidates < 1):
        raise ConfigError(f"{where}candidates is {candidates!r}: it must be a whole number, 1 or more")
    own = {key: value for key, value in table.items() if key != "candidates"}
    settings = validate(settings_model("strategies", name), own, where)
    strategy: Strategy = built("strategies", name, settings, space)
    if isinstance(strategy, Phases):
        raise ConfigError(f"{where}name is {name!r}, which consists of phases itself: list its phases")
    return Phase(name, strategy, candidates)


def _who(phase: Phase) -> str:
    return owner("strategies", phase.name)


def _relaxation(phase: Phase) -> Relaxation | None:
    return getattr(phase.strategy, "relaxation", None)


def _number(phase: Phase, key: str) -> int:
    settings = getattr(phase.strategy, "settings", None)
    return int(getattr(phase.strategy, key, getattr(settings, key, 0)))


def phase_names(table: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the strategies that a ``[strategy]`` table stands for."""
    name = str(table.get("name", "serial"))
    if name == "full":
        reignite = ("reignite",) if FullSettings(**table).serial.reignition.most else ()
        return ("serial", *reignite, "parallel")
    return tuple(str(one.get("name")) for one in table["phases"]) if name == "phases" else (name,)
