"""Which evaluations come next: a pure function of the archive.

A run passes through these phases, and where it stands follows from what the archive holds:

1. the start is trained from fresh or given weights;
2. controls of the start, trained alike with different seeds, measure the noise of a score;
3. rounds of children, each with the controls that its parents still lack, and with one step that brings the start
   towards the age of the best so far;
4. the start is brought all the way to the winner's age, and both are trained on and scored on test images.
"""

from dataclasses import dataclass

import numpy as np

from spnas_core.encoding import Architecture
from spnas_core.morphisms import identity
from spnas_search.archive import Archive, Candidate, Proposal
from spnas_search.settings import RunSettings
from spnas_search.strategies import Strategy

NOISE_ROUND = 1


@dataclass(frozen=True)
class Round:
    """Evaluations that may run side by side.

    Attributes:
        phase: what they are for, for people.
        proposals: in the order in which they enter the archive.
    """

    phase: str
    proposals: tuple[Proposal, ...]


def next_round(
    archive: Archive, settings: RunSettings, strategy: Strategy, *, control_epochs: int, out_of_time: bool = False
) -> Round | None:
    """Decide what to evaluate next.

    Args:
        archive: every proposed candidate has ended.
        settings: of the run.
        strategy: proposes children.
        control_epochs: of the controls that measure the noise.
        out_of_time: whether no further children may begin.

    Returns:
        The round; None where the run is complete.
    """
    if not len(archive):
        rewrite = identity(Architecture.parse(settings.start))
        return Round("start", (Proposal("start", None, rewrite, settings.warm_start_epochs),))
    start = archive.start
    if len(archive) == 1 and (settings.budget.candidates or settings.final.seeds):
        noise = Proposal("control", start.id, identity(start.architecture), control_epochs)
        return Round("noise", (noise,) * settings.noise_seeds)
    if not (_final_has_begun(archive) or out_of_time or strategy.stuck(archive)):
        children = _children(archive, settings, strategy)
        if children:
            return Round("search", children)
    return _final(archive, settings)


def _final_has_begun(archive: Archive) -> bool:
    """Every round of the search has a child; one without, after the start and the noise, belongs to the final."""
    last_round = archive[len(archive) - 1].round
    number = len(archive) - 1
    while number >= 0 and archive[number].round == last_round:
        if archive[number].kind == "child":
            return False
        number -= 1
    return last_round > NOISE_ROUND


def _children(archive: Archive, settings: RunSettings, strategy: Strategy) -> tuple[Proposal, ...]:
    """A round of children, each behind the control that its parent lacks."""
    left = settings.budget.candidates - archive.children
    if left <= 0:
        return ()
    rng = np.random.default_rng([settings.seed, len(archive)])
    proposals: list[Proposal] = []
    controlled: set[tuple[int, int]] = set()
    for child in strategy.propose(archive, rng)[:left]:
        if child.parent is None:
            continue
        group = (child.parent, child.epochs)
        if group not in controlled and archive.control_score(*group) is None:
            parent = archive[child.parent].architecture
            proposals.append(Proposal("control", child.parent, identity(parent), child.epochs))
        controlled.add(group)
        proposals.append(child)
    if proposals:
        proposals.extend(_ageing(archive, settings, controlled))
    return tuple(proposals)


def _ageing(archive: Archive, settings: RunSettings, controlled: set[tuple[int, int]]) -> list[Proposal]:
    """One step that brings the start towards the age of the best so far, beside a round rather than at the end.

    The final comparison needs it, and at the end each such step would be alone in its round.
    """
    best = archive.best(1)
    if not settings.final.seeds or not best:
        return []
    aged, epochs = aged_start_of(archive, best[0])
    if epochs is None or (aged.id, epochs) in controlled or archive.controls(aged.id, epochs):
        return []
    return [Proposal("control", aged.id, identity(aged.architecture), epochs)]


def _final(archive: Archive, settings: RunSettings) -> Round | None:
    """Bring the start to the winner's age by the same portions of epochs, then train both on and test them."""
    if not settings.final.seeds or archive.of_kind("final"):
        return None
    best = archive.best(1)
    if not best:
        return None
    winner = best[0]
    aged_start, missing_epochs = aged_start_of(archive, winner)
    if missing_epochs is not None:
        if archive.controls(aged_start.id, missing_epochs):
            return None  # the start failed to train on: there is nothing to compare with
        proposal = Proposal("control", aged_start.id, identity(aged_start.architecture), missing_epochs)
        return Round("final", (proposal,))
    compared = [aged_start] if winner.id == archive.start.id else [aged_start, winner]
    finals = tuple(
        Proposal("final", candidate.id, identity(candidate.architecture), settings.final.epochs, "test")
        for _ in range(settings.final.seeds)
        for candidate in compared
    )
    return Round("final", finals)


def aged_start_of(archive: Archive, winner: Candidate) -> tuple[Candidate, int | None]:
    """Follow the start's controls through the same portions of epochs as the winner's lineage.

    Returns:
        The oldest control found, and the epochs of the next portion that has no control yet; None where the control
        has the winner's age.
    """
    aged = archive.start
    for step in archive.lineage(winner)[1:]:
        controls = [control for control in archive.controls(aged.id, step.epochs) if control.status == "done"]
        if not controls:
            return aged, step.epochs
        aged = controls[0]
    return aged, None


def why_ended(archive: Archive, settings: RunSettings, strategy: Strategy, *, out_of_time: bool) -> str:
    """Say why no further children were proposed."""
    if archive.children >= settings.budget.candidates:
        return f"all {settings.budget.candidates} candidates of the budget are evaluated"
    if out_of_time:
        return f"the budget of {settings.budget.hours:g} hours is used up"
    return strategy.stuck(archive) or "the strategy found no new architecture inside the search space"
