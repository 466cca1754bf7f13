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
    proposals = [
        _next(archive, archive.trained(child), settings)
        for child in archive.best(len(archive))
        if _deserves(archive, child, settings)
    ]
    return [*_of_start(archive, proposals, settings), *proposals]


def rung_sources(archive: Archive, settings: RungSettings) -> set[int]:
    """Candidates whose weights rungs go on from: the next ones of children, and the start's, which may always come.

    Args:
        archive: of the search.
        settings: of the rungs.
    """
    if not settings.epochs:
        return set()
    children = (archive.trained(child) for child in archive.best(len(archive)) if _deserves(archive, child, settings))
    own = [one for one in _trainings_of_start(archive) if one.fidelity.rung < len(settings.epochs)]
    return {*(trained.id for trained in children), *(one.id for one in own)}


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


def _deserves(archive: Archive, child: Candidate, settings: RungSettings) -> bool:
    """Whether a next rung of a child is there, is not tried yet, and may still matter."""
    rung = archive.trained(child).fidelity.rung
    if child.kind not in OFFSPRING or rung >= len(settings.epochs) or _tried(archive, child, rung + 1):
        return False
    return chance(archive, child) >= settings.chance


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
            for one in _trainings_of_start(archive)
            if (one.fidelity.image_size, one.fidelity.share) == (fidelity.image_size, fidelity.share)
            and one.fidelity.rung == fidelity.rung - 1
        ]
        if here and not _tried(archive, archive.start, fidelity.rung):
            wanted.append(_next(archive, here[0], settings))
    return wanted


def _trainings_of_start(archive: Archive) -> list[Candidate]:
    """What the start's rungs may go on from, the first one of each fidelity: trained as its children are, and rungs."""
    first: dict[Fidelity, Candidate] = {}
    for one in archive.evaluations(archive.start.id):
        is_own = one.kind == "rung" or one.source in {None, archive.start.id}
        if one.status == "done" and is_own and (one.kind != "start" or archive.inherit == "none"):
            first.setdefault(one.fidelity, one)
    return list(first.values())
