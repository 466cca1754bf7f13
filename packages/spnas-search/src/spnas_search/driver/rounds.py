"""Which evaluations come next: a pure function of the archive.

A run passes through these phases, each of which is stored with its rounds:

1. ``start``: the start is trained from fresh or given weights;
2. ``noise``: it is trained on with several seeds, as the children will be, which measures the noise of a score;
3. ``search``: rounds of children, each with the controls that the ranking rule needs and its parents still lack, and
   with the start brought to the children's ages;
4. ``finalists``: the best few are trained again with other seeds, before one of them is called the winner;
5. ``verdict``: start and winner are trained alike from fresh warm starts and scored on test images;
6. ``training``: the winner is trained for use, where that is asked for.

What has failed and is needed is proposed again (the loop stops where that happens again and again).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from spnas_core.encoding import Architecture
from spnas_core.morphisms import identity
from spnas_core.tasks import Fidelity
from spnas_search.archive import ENDING, OFFSPRING, Archive, Phase, Proposal
from spnas_search.driver.ageing import ageing_proposals, owed_ageing
from spnas_search.driver.rungs import rung_proposals
from spnas_search.driver.verdict_rounds import finalist_proposals, verdict_proposals
from spnas_search.driver.winner_training import training_proposals
from spnas_search.settings import RunSettings
from spnas_search.strategies import CheckedStrategy


@dataclass(frozen=True)
class Round:
    """Evaluations that may run side by side.

    Attributes:
        phase: what they are for.
        proposals: in the order in which they enter the archive; at least one, or a search would never end.
    """

    phase: Phase
    proposals: tuple[Proposal, ...]

    def __post_init__(self) -> None:
        if not self.proposals:
            raise ValueError(f"a round of the phase {self.phase!r} has no evaluations")


def next_round(
    archive: Archive, settings: RunSettings, strategy: CheckedStrategy, *, out_of_time: bool = False
) -> Round | None:
    """Decide what to evaluate next.

    Args:
        archive: every proposed candidate has ended.
        settings: of the run.
        strategy: proposes children.
        out_of_time: whether no further children may begin.

    Returns:
        The round; None where the run is complete.
    """
    fidelity = strategy.control_fidelity
    epochs = fidelity.epochs
    if not len(archive):
        rewrite = identity(Architecture.parse(settings.start))
        own = fidelity if settings.inherit == "none" else Fidelity(settings.start_epochs(epochs))
        return Round("start", (Proposal("start", None, rewrite, own),))
    if archive.phase in {"start", "noise", "search"}:
        if not out_of_time and (missing := _missing_noise(archive, settings, fidelity)):
            return Round("noise", (_control(archive, archive.start.id, fidelity),) * missing)
        if why_over(archive, settings, strategy, out_of_time=out_of_time) is None:
            children = _children(archive, settings, strategy)
            if children:
                return Round("search", children)
        rungs = () if out_of_time else rung_proposals(archive, settings.rungs)
        lacking = _owed(archive)
        wanted = [*lacking, *_ages_of_rungs(archive, [*lacking, *rungs]), *rungs]
        if owed := _affordable(wanted, _left(archive, settings, epochs)):
            return Round("search", owed)
    return _ending(archive, settings, strategy)


def next_beside(
    archive: Archive, settings: RunSettings, strategy: CheckedStrategy, free: int, *, out_of_time: bool = False
) -> Round | None:
    """Decide what may begin while evaluations of the search are under way, in an asynchronous one.

    Only children, and what judges them, begin beside others. All else waits until everything has ended, and is decided
    by ``next_round``: the warm start, the noise, the end, and a strategy that follows another. While a candidate is
    reignited nothing begins, since the next children are to descend from it.

    Args:
        archive: some of its candidates are under way.
        settings: of the run.
        strategy: proposes children.
        free: workers without work; children are no more than that.
        out_of_time: whether no further children may begin.

    Returns:
        Evaluations; None where nothing may begin before something has ended.
    """
    pending = archive.pending()
    if archive.phase != "search" or free < 1 or any(one.kind == "reignition" for one in pending):
        return None
    if why_over(archive, settings, strategy, out_of_time=out_of_time) is not None:
        return None  # not for good: the children under way may turn out to be progress
    children = _children(archive, settings, strategy, most=free)
    follows = any(one.kind in OFFSPRING and one.strategy != archive.strategy for one in children)
    return None if follows or not children else Round("search", children)


def _ending(archive: Archive, settings: RunSettings, strategy: CheckedStrategy) -> Round | None:
    """Decide what comes when no more children do; None where nothing does."""
    finalists = () if archive.phase in {"verdict", "training"} else finalist_proposals(archive, settings)
    # Those that failed have spent epochs, too: what the budget has no more room for is not tried again.
    if affordable := _affordable(finalists, _unspent(archive, settings)):
        return Round("finalists", affordable)
    if archive.phase != "training" and (verdict := verdict_proposals(archive, settings)):
        return Round("verdict", verdict)
    training = training_proposals(archive, settings, strategy)
    return Round("training", training) if training else None


def why_over(archive: Archive, settings: RunSettings, strategy: CheckedStrategy, *, out_of_time: bool) -> str | None:
    """Say why no further children are to be proposed; None where there is no reason but that none may be left."""
    budget = settings.budget
    if budget.children is not None and archive.children >= budget.children:
        return f"all {budget.children} candidates of the budget are evaluated"
    if budget.epochs is not None and _left(archive, settings, epochs := strategy.next_epochs(archive)) < epochs:
        return f"the budget of {budget.epochs} epochs is used up"
    if out_of_time:
        return f"the budget of {budget.hours:g} hours is used up"
    return strategy.stuck(archive)


def why_ended(archive: Archive, settings: RunSettings, strategy: CheckedStrategy, *, out_of_time: bool) -> str:
    """Say why no further children were proposed."""
    if (found := why_over(archive, settings, strategy, out_of_time=out_of_time)) is not None:
        return found
    dear = _too_dear(archive, settings, strategy) if archive.phase not in ENDING else None
    return dear or "the strategy found no new architecture inside the search space, or none that the budget allows"


def _too_dear(archive: Archive, settings: RunSettings, strategy: CheckedStrategy) -> str | None:
    """Say that the epochs that are left do not suffice for a child and what judges it; None where that is not why."""
    if settings.budget.epochs is None:
        return None
    proposals = _judged_children(archive, settings, strategy)
    children = [one for one in proposals if one.kind in OFFSPRING]
    left = _left(archive, settings, strategy.control_epochs, children)
    if not children or _within(proposals, left):
        return None
    first = proposals[: proposals.index(children[0]) + 1]
    return (
        f"of the budget of {settings.budget.epochs} epochs {max(0, math.floor(left))} are left for the search, and the "
        f"next child and what judges it take {sum(one.epochs for one in first)}"
    )


def _left(archive: Archive, settings: RunSettings, epochs: int, coming: Sequence[Proposal] = ()) -> float:
    """Epochs of the budget that the search may still spend.

    Any child may become a finalist, so the longest training of one is what each finalist is kept in reserve for.
    """
    longest = max([epochs, *(child.epochs for child in archive.of_kind("child")), *(child.epochs for child in coming)])
    return _unspent(archive, settings) - settings.reserved_epochs(longest)


def _unspent(archive: Archive, settings: RunSettings) -> float:
    """Epochs of the budget that nothing was trained for yet."""
    return math.inf if settings.budget.epochs is None else settings.budget.epochs - archive.epochs


def _missing_noise(archive: Archive, settings: RunSettings, fidelity: Fidelity) -> int:
    """How many of the controls that measure the noise have no score yet, before the first child."""
    if archive.children or settings.budget.children == 0:
        return 0
    controls, epochs = archive.controls(archive.start.id, fidelity), fidelity.epochs
    missing = max(0, settings.noise_seeds - sum(math.isfinite(archive.score(control)) for control in controls))
    left = _left(archive, settings, epochs)
    return missing if missing * epochs <= left else max(0, int(left // epochs))


def _children(
    archive: Archive, settings: RunSettings, strategy: CheckedStrategy, *, most: int | None = None
) -> tuple[Proposal, ...]:
    """A round of children, or at most so many, each behind what judges it; as many as the budget allows."""
    proposals = _judged_children(archive, settings, strategy, most=most)
    children = [one for one in proposals if one.kind in OFFSPRING]
    return _within(proposals, _left(archive, settings, strategy.control_epochs, children))


def _judged_children(
    archive: Archive, settings: RunSettings, strategy: CheckedStrategy, *, most: int | None = None
) -> tuple[Proposal, ...]:
    """A round of children, or at most so many, behind the controls that are needed to judge them; at whatever cost."""
    rng = np.random.default_rng([settings.seed, len(archive)])
    left = None if settings.budget.children is None else settings.budget.children - archive.children
    children = strategy.propose(archive, rng)[:left][:most]
    if not children:
        return ()
    proposals = [*_owed(archive), *rung_proposals(archive, settings.rungs)]
    if archive.rule.needs_controls:
        _add_controls(archive, proposals, children)
    if archive.rule.needs_ages:
        proposals += _ages_of_rungs(archive, proposals)
        proposals += ageing_proposals(archive, children, proposals)
    return (*proposals, *children)


def _ages_of_rungs(archive: Archive, beside: Sequence[Proposal]) -> list[Proposal]:
    """Return the trainings of the start that its scores at the ages of a round's rungs still lack."""
    rungs = [one for one in beside if one.kind == "rung" and archive[one.parent or 0].subject != archive.start.id]
    return ageing_proposals(archive, rungs, beside) if archive.rule.needs_ages else []


def _within(proposals: Sequence[Proposal], epochs: float) -> tuple[Proposal, ...]:
    """Take proposals in order as long as their epochs fit; nothing where no child does."""
    taken = _affordable(proposals, epochs)
    return taken if any(proposal.kind in OFFSPRING for proposal in taken) else ()


def _affordable(proposals: Sequence[Proposal], epochs: float) -> tuple[Proposal, ...]:
    """Take proposals in order as long as their epochs fit."""
    spent = accumulate(proposal.epochs for proposal in proposals)
    return tuple(proposal for proposal, whole in zip(proposals, spent, strict=True) if whole <= epochs)


def _add_controls(archive: Archive, proposals: list[Proposal], children: Sequence[Proposal]) -> None:
    """Add the controls that the parents of a round of children still lack."""
    controlled = {(owed.parent, owed.fidelity) for owed in proposals} | _controls_under_way(archive)
    for child in children:
        parent = child.parent or 0
        if (parent, child.fidelity) not in controlled and archive.control_score(parent, child.fidelity) is None:
            proposals.append(_control(archive, parent, child.fidelity))
        controlled.add((parent, child.fidelity))


def _control(archive: Archive, parent: int, fidelity: Fidelity) -> Proposal:
    return Proposal("control", parent, identity(archive[parent].architecture), fidelity)


def _owed(archive: Archive) -> list[Proposal]:
    """Controls that have failed, while children have scores that say nothing without them."""
    ageing = owed_ageing(archive) if archive.rule.needs_ages else []
    if not archive.rule.needs_controls:
        return ageing
    groups = dict.fromkeys(
        (child.parent, child.fidelity)
        for child in (*archive.of_kind("child"), *archive.of_kind("reignition"))
        if child.parent is not None and math.isfinite(archive.score(child))
    )
    known = {(one.parent, one.fidelity) for one in ageing} | _controls_under_way(archive)
    return [
        *ageing,
        *(
            _control(archive, *group)
            for group in groups
            if group not in known and archive.control_score(*group) is None
        ),
    ]


def _controls_under_way(archive: Archive) -> set[tuple[int | None, Fidelity]]:
    """Parents and fidelities of controls without a result yet, which only an asynchronous search meets."""
    return {(one.parent, one.fidelity) for one in archive.pending() if one.kind == "control"}
