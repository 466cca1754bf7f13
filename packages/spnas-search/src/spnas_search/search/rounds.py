"""Which evaluations come next: a pure function of the archive.

A run passes through these phases, and where it stands follows from what the archive holds:

1. the start is trained from fresh or given weights;
2. controls of the start, trained alike with different seeds, measure the noise of a score;
3. rounds of children, each with the controls that its parents still lack, and with one step that brings the start
   towards the age of the best so far;
4. the start is brought all the way to the winner's age, and both are trained on and scored on test images.

A child is worth nothing without its control, and the final comparison nothing with a hole: a control or final that has
failed is proposed again (the loop stops where that happens again and again).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spnas_core.encoding import Architecture
from spnas_core.morphisms import identity
from spnas_search.archive import Archive, Candidate, Proposal
from spnas_search.settings import RunSettings
from spnas_search.strategies import Strategy


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
    if missing := _missing_noise(archive, settings, control_epochs):
        start = archive.start
        return Round("noise", (Proposal("control", start.id, identity(start.architecture), control_epochs),) * missing)
    if not (_final_has_begun(archive) or out_of_time or strategy.stuck(archive)):
        children = _children(archive, settings, strategy)
        if children:
            return Round("search", children)
    return _final(archive, settings)


def phase_of(archive: Archive) -> str:
    """Return what the last round is for: ``start``, ``noise``, ``search`` or ``final``."""
    kinds = {archive[number].kind for number in _last_numbers(archive)}
    if "start" in kinds or not kinds:
        return "start"
    if "child" in kinds:
        return "search"
    return "final" if _final_has_begun(archive) else "noise"


def _missing_noise(archive: Archive, settings: RunSettings, control_epochs: int) -> int:
    """How many of the controls that measure the noise have no score yet, before the first child."""
    if archive.children or archive.of_kind("final") or not (settings.budget.candidates or settings.final.seeds):
        return 0
    controls = archive.controls(archive.start.id, control_epochs)
    return settings.noise_seeds - sum(math.isfinite(archive.score(control)) for control in controls)


def _final_has_begun(archive: Archive) -> bool:
    """Every round of the search has a child; one without, once there are children, belongs to the final."""
    if archive.of_kind("final"):
        return True
    return archive.children > 0 and not any(archive[number].kind == "child" for number in _last_numbers(archive))


def _last_numbers(archive: Archive) -> Iterator[int]:
    """Yield the numbers of the last round's candidates, the last one first."""
    last = archive.rounds - 1
    for number in range(len(archive) - 1, -1, -1):
        if archive[number].round != last:
            return
        yield number


def _children(archive: Archive, settings: RunSettings, strategy: Strategy) -> tuple[Proposal, ...]:
    """A round of children, each behind the control that its parent lacks."""
    left = settings.budget.candidates - archive.children
    if left <= 0:
        return ()
    rng = np.random.default_rng([settings.seed, len(archive)])
    children = [child for child in strategy.propose(archive, rng)[:left] if child.parent is not None]
    if not children:
        return ()
    proposals = _owed(archive)
    controlled = {(owed.parent, owed.epochs) for owed in proposals}
    for child in children:
        group = (child.parent or 0, child.epochs)
        if group not in controlled and archive.control_score(*group) is None:
            proposals.append(_control(archive, *group))
        controlled.add(group)
        proposals.append(child)
    return (*proposals, *_ageing(archive, settings, controlled))


def _control(archive: Archive, parent: int, epochs: int) -> Proposal:
    return Proposal("control", parent, identity(archive[parent].architecture), epochs)


def _owed(archive: Archive) -> list[Proposal]:
    """Controls that have failed, while children of their parents have scores that say nothing without them."""
    groups = dict.fromkeys(
        (child.parent, child.epochs)
        for child in archive.of_kind("child")
        if child.parent is not None and math.isfinite(archive.score(child))
    )
    return [_control(archive, *group) for group in groups if archive.control_score(*group) is None]


def _ageing(archive: Archive, settings: RunSettings, controlled: set[tuple[int | None, int]]) -> list[Proposal]:
    """One step that brings the start towards the age of the best so far, beside a round rather than at the end.

    The final comparison needs it, and at the end each such step would be alone in its round.
    """
    best = archive.best(1)
    if not settings.final.seeds or not best:
        return []
    aged, epochs = aged_start_of(archive, best[0])
    if epochs is None or (aged.id, epochs) in controlled:
        return []
    return [_control(archive, aged.id, epochs)]


def _final(archive: Archive, settings: RunSettings) -> Round | None:
    """Bring the start to the winner's age by the same portions of epochs, then train both on and test them."""
    if owed := _owed(archive):
        return Round("final", tuple(owed))
    best = archive.best(1)
    if not settings.final.seeds or not best:
        return None
    winner = best[0]
    aged_start, missing_epochs = aged_start_of(archive, winner)
    if missing_epochs is not None:
        return Round("final", (_control(archive, aged_start.id, missing_epochs),))
    compared = [aged_start] if winner.id == archive.start.id else [aged_start, winner]
    tested = [final.parent for final in archive.of_kind("final") if final.status != "failed"]
    finals = tuple(
        Proposal("final", candidate.id, identity(candidate.architecture), settings.final.epochs, "test")
        for seed in range(settings.final.seeds)
        for candidate in compared
        if seed >= tested.count(candidate.id)
    )
    return Round("final", finals) if finals else None


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
