"""The start at the ages of children: at equal age and setting their scores compare directly."""

import math
from collections.abc import Sequence
from dataclasses import replace

from spnas_core.morphisms import identity
from spnas_core.tasks import Fidelity
from spnas_search.archive import OFFSPRING, Archive, Candidate, Kind, Proposal

TRAININGS: frozenset[Kind] = frozenset({"start", "control", "rung"})
"""Kinds of the start's evaluations in a search: what is trained, scored on validation images, and has weights."""

_Setting = tuple[int, tuple[int, int] | None, float]
"""Age, image size and share of the images of a score."""


def ageing_proposals(archive: Archive, children: Sequence[Proposal], beside: Sequence[Proposal] = ()) -> list[Proposal]:
    """Return the trainings of the start that its scores at the ages of a round of children still lack.

    It is trained on from where it was at the age of the weights that a child inherits, as long as the child; where it
    was never there, from the last time before, by as much as is missing. Where children inherit from the warm start,
    so does it; and where they inherit nothing, it is trained anew, for as long as a child has been in all.

    Args:
        archive: of the search.
        children: that are about to be evaluated, and rungs of earlier ones.
        beside: what is evaluated in the same round.
    """
    known = _settings_of_start(archive) | {
        _setting(archive.age_of(one), one.fidelity)
        for one in beside
        if one.kind in TRAININGS and one.parent is not None and archive[one.parent].subject == archive.start.id
    }
    wanted: list[Proposal] = []
    for child in children:
        age = archive.age_of(child)
        if (setting := _setting(age, child.fidelity)) not in known:
            wanted.append(_bring_start_to(archive, age, child.fidelity))
            known.add(setting)
    return wanted


def owed_ageing(archive: Archive) -> list[Proposal]:
    """Return the trainings of the start once more that gave no score, while children of that age have scores."""
    failed = [
        one
        for one in archive.evaluations(archive.start.id)
        if one.kind in {"control", "rung"} and one.status != "proposed" and not math.isfinite(archive.score(one))
    ]
    known = _settings_of_start(archive) if failed else set()
    wanted = {}
    for one in failed:
        if (setting := _setting(one.age, one.fidelity)) not in known:
            wanted[setting] = _bring_start_to(archive, one.age, one.fidelity)
    if not wanted:
        return []
    scored = {
        _setting(child.age, child.fidelity)
        for kind in (*OFFSPRING, "rung")
        for child in archive.of_kind(kind)
        if math.isfinite(archive.score(child)) and child.subject != archive.start.id
    }
    return [proposal for setting, proposal in wanted.items() if setting in scored]


def _bring_start_to(archive: Archive, age: int, fidelity: Fidelity) -> Proposal:
    """Train the start to an age, from where it was before as many epochs as something else of that age was trained."""
    begin = begin_of(archive, age - fidelity.epochs)
    epochs = age if archive.inherit == "none" else age - begin.age
    return Proposal("control", begin.id, identity(begin.architecture), replace(fidelity, epochs=epochs))


def begin_of(archive: Archive, age: int) -> Candidate:
    """The start as it was at an age, or the last time before; where children do not inherit from parents, the start."""
    if archive.inherit != "parent":
        return archive.start
    return max(
        (one for one in trainings_of_start(archive) if one.age <= age),
        key=lambda one: (one.age, -one.id),
        default=archive.start,
    )


def oldest_start(archive: Archive) -> Candidate:
    """The start at the greatest age to which the search has brought it."""
    return max(trainings_of_start(archive), key=lambda one: (one.age, -one.id), default=archive.start)


def trainings_of_start(archive: Archive) -> list[Candidate]:
    """The start's evaluations that have a score, and weights to go on from, oldest first."""
    return [
        one
        for one in archive.evaluations(archive.start.id)
        if one.kind in TRAININGS and math.isfinite(archive.score(one))
    ]


def _settings_of_start(archive: Archive) -> set[_Setting]:
    """Where the search has scored the start, or is about to."""
    return {
        _setting(one.age, one.fidelity)
        for one in archive.evaluations(archive.start.id)
        if one.kind in TRAININGS and (one.status == "proposed" or math.isfinite(archive.score(one)))
    }


def _setting(age: int, fidelity: Fidelity) -> _Setting:
    return age, fidelity.image_size, fidelity.share
