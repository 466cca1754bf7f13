"""Which children are trained on: those that may still turn out best, as the ranking model has it."""

import math

from scipy import special

from spnas_core.morphisms import identity
from spnas_core.tasks import Fidelity
from spnas_search.archive import OFFSPRING, Archive, Candidate, Proposal
from spnas_search.settings import RungSettings


def rung_proposals(archive: Archive, settings: RungSettings) -> list[Proposal]:
    """Return the next rungs of all children that deserve them, and of the start, which they are compared with.

    Args:
        archive: of the search; everything in it has ended.
        settings: of the rungs.
    """
    if not settings.epochs:
        return []
    proposals: list[Proposal] = []
    for child in archive.best(len(archive)):
        rung = archive.trained(child).fidelity.rung
        if child.kind not in OFFSPRING or rung >= len(settings.epochs):
            continue
        if _tried(archive, child, rung + 1) or chance(archive, child) < settings.chance:
            continue
        proposals.append(_next(archive, archive.trained(child), settings))
    return [*_of_start(archive, proposals, settings), *proposals]


def chance(archive: Archive, child: Candidate) -> float:
    """Return the probability that a child is as good as the best one, as the ranking rule has it; 1 for the best.

    Where nothing tells the error of the difference yet, nothing is ruled out: 1.
    """
    behind = archive.behind(child)
    if behind is None:
        return 0.0
    gap, error = behind
    if math.isnan(error) or gap <= 0:
        return 1.0
    return float(special.ndtr(-gap / error)) if error else 0.0


def _tried(archive: Archive, subject: Candidate, rung: int) -> bool:
    return any(one.kind == "rung" and one.fidelity.rung == rung for one in archive.evaluations(subject.id))


def _next(archive: Archive, trained: Candidate, settings: RungSettings) -> Proposal:
    """Train on what was trained longest so far."""
    before = trained.fidelity
    fidelity = Fidelity(settings.epochs[before.rung], before.image_size, before.share, before.rung + 1)
    return Proposal("rung", trained.id, identity(archive[trained.id].architecture), fidelity)


def _of_start(archive: Archive, proposals: list[Proposal], settings: RungSettings) -> list[Proposal]:
    """The start's own rungs, at the fidelities at which children are about to be scored, up from its first one."""
    wanted: list[Proposal] = []
    for fidelity in dict.fromkeys(one.fidelity for one in proposals):
        here = [
            one
            for one in archive.evaluations(archive.start.id)
            if one.status == "done"
            and (one.fidelity.image_size, one.fidelity.share) == (fidelity.image_size, fidelity.share)
            and one.fidelity.rung == fidelity.rung - 1
            and (one.kind == "rung" or one.source in {None, archive.start.id})
            and (one.kind != "start" or archive.inherit == "none")
        ]
        if here and not _tried(archive, archive.start, fidelity.rung):
            wanted.append(_next(archive, here[0], settings))
    return wanted
