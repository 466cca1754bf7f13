"""The evaluations that end a search: its finalists once more, then all milestones alike from fresh warm starts."""

import math
from collections.abc import Sequence
from itertools import islice

import numpy as np

from spnas_core.morphisms import Rewrite, identity
from spnas_core.tasks import Fidelity, Pretraining
from spnas_search.archive import HEIRLESS, NO_WEIGHTS, Archive, Candidate, Proposal
from spnas_search.driver.ageing import oldest_start
from spnas_search.settings import RunSettings


def finalist_proposals(archive: Archive, settings: RunSettings) -> tuple[Proposal, ...]:
    """Return the trainings of the finalists that are still missing.

    The finalists are the best children when the search ended; where none is better than the start, nobody is one.
    """
    wanted = settings.final.rescores
    if not wanted or not settings.final.finalists:
        return ()
    known = archive.finalists
    if not known:
        ranked = (one for one in archive.best(len(archive)) if one.kind != "reignition")
        is_over = (best := next(ranked, None)) is None or best.kind == "start"
        known = () if is_over else _best_children(archive, settings.final.finalists)
    return tuple(
        Proposal(
            "replicate",
            finalist.parent,
            finalist.rewrite,
            finalist.fidelity,
            subject=finalist.id,
            pretraining=finalist.pretraining,
        )
        for finalist in known
        for _ in range(wanted - _ended(archive.rescores(finalist)))
    )


def _best_children(archive: Archive, count: int) -> tuple[Candidate, ...]:
    ranked = archive.best(len(archive))
    return tuple(islice((one for one in ranked if one.kind == "child"), count))


def verdict_proposals(archive: Archive, settings: RunSettings) -> tuple[Proposal, ...]:
    """Return the evaluations of the verdict that are still missing, those first from which others begin.

    The winner's kept weights are scored as they are, beside the start's at the greatest age that it was brought to.
    Then, for each seed: a fresh warm start, and all ``milestones`` trained on from it; all from fresh weights, where
    that is asked for, and where children inherit nothing. Where weights are shared nothing has a warm start, or weights
    of its own, and some children are trained from fresh weights, too.
    """
    winner, final = archive.winner, settings.final
    if winner is None or not final.seeds:
        return ()
    if winner.kind == "start":
        return _alone(archive, settings, winner)
    if trains_alone(archive):
        left = _as_they_are(archive, winner) if _leaves_weights(archive, winner) else ()
        return (*left, *_from_scratch(archive, settings, winner), *_alone(archive, settings, winner))
    fresh = [one for one in archive.of_kind("warm") if one.status == "done"]
    if len(fresh) >= final.seeds:
        others = _from_scratch(archive, settings, winner) if final.from_scratch else ()
        branched = _branched(archive, settings, winner, fresh[: final.seeds])
        return (*_as_they_are(archive, winner), *branched, *others)
    start = archive.start
    warm = Proposal("warm", None, identity(start.architecture), Fidelity(settings.warm_start_epochs), subject=start.id)
    return (warm,) * (final.seeds - len(fresh)) + _as_they_are(archive, winner)


def _leaves_weights(archive: Archive, winner: Candidate) -> bool:
    """Whether start and winner have weights of their own; parts have none, nor has what a task has merely looked up."""
    trained = (oldest_start(archive), archive.trained(winner))
    return archive.inherit != "supernet" and not {one.checksum for one in trained} & {None, NO_WEIGHTS}


def trains_alone(archive: Archive) -> bool:
    """Whether the verdict trains everything from fresh weights: weights that parts share say little of one alone."""
    return archive.inherit in HEIRLESS


def sampled(archive: Archive, count: int) -> tuple[Candidate, ...]:
    """Children that are trained alone so that one can see how well shared weights rank: evenly over all their scores.

    Args:
        archive: of a search with shared weights; children without a score are left out.
        count: of the children; all where there are fewer.
    """
    scored = [one for one in archive.of_kind("child") if math.isfinite(archive.score(one))]
    ranked = sorted(scored, key=lambda one: (-archive.score(one), one.id))
    places = np.unique(np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int))
    return tuple(ranked[place] for place in places.tolist())


def milestones(archive: Archive, winner: Candidate) -> tuple[Candidate, ...]:
    """What the verdict compares: start and winner, and between them what else the search has found on its way.

    That is the best child of each other strategy that had its turn, and the last reignition. In a search with one
    strategy and no reignition there is nothing between.
    """
    ranked = [one for one in archive.best(len(archive)) if one.kind == "child" and one.strategy != winner.strategy]
    between: dict[int, Candidate] = {}
    for one in ranked:
        between.setdefault(one.strategy, one)
    reignited = [one for one in archive.of_kind("reignition") if one.status == "done"][-1:]
    others = [one for one in (*between.values(), *reignited) if one.id != winner.id]
    return (archive.start, *sorted(others, key=lambda one: (one.strategy, one.kind)), winner)


def _as_they_are(archive: Archive, winner: Candidate) -> tuple[Proposal, ...]:
    """Score the weights that the search has left."""
    return tuple(
        _test(weights.id, identity(side.architecture), 0, side.id)
        for side, weights in ((archive.start, oldest_start(archive)), (winner, archive.trained(winner)))
        if not _ended(searched(archive, side))
    )


def _branched(
    archive: Archive, settings: RunSettings, winner: Candidate, fresh: Sequence[Candidate]
) -> tuple[Proposal, ...]:
    """Train all on from each fresh warm start."""
    epochs = branch_epochs(archive, settings, winner)
    sides = [(side, rewrite_from_start(archive, side)) for side in milestones(archive, winner)]
    return tuple(
        _test(warm.id, rewrite, epochs, side.id, side.pretraining)
        for warm in fresh
        for side, rewrite in sides
        if not _ended(branches(archive, warm, side))
    )


def branch_epochs(archive: Archive, settings: RunSettings, winner: Candidate) -> int:
    """Epochs that both are trained after a fresh warm start: as many as the winner was, unless the settings say."""
    if settings.final.epochs is not None:
        return settings.final.epochs
    return archive.trained(winner).age - archive.start.age


def scratch_epochs(archive: Archive, settings: RunSettings, winner: Candidate) -> int:
    """Epochs of the trainings from fresh weights."""
    return archive.trained(winner).age if settings.final.scratch_epochs is None else settings.final.scratch_epochs


def rewrite_from_start(archive: Archive, candidate: Candidate) -> Rewrite:
    """Compose the rewrites of a lineage: what leads from the start to the candidate at once."""
    composed = identity(archive.start.architecture)
    for step in archive.lineage(candidate)[1:]:
        composed = composed.then(step.rewrite)
    return composed


def searched(archive: Archive, side: Candidate) -> tuple[Candidate, ...]:
    """Test scores of a start's or child's weights as the search has left them."""
    return tuple(
        one
        for one in archive.of_kind("final")
        if one.subject == side.id and one.parent is not None and archive[one.parent].kind != "warm"
    )


def branches(archive: Archive, warm: Candidate, side: Candidate) -> tuple[Candidate, ...]:
    """Test scores of a start or child that was trained from one fresh warm start."""
    return tuple(one for one in archive.of_kind("final") if one.parent == warm.id and one.subject == side.id)


def scratches(archive: Archive, side: Candidate) -> tuple[Candidate, ...]:
    """Test scores of a start or child that was trained from fresh weights."""
    return tuple(one for one in archive.of_kind("final") if one.parent is None and one.subject == side.id)


def needed_for_end(archive: Archive, settings: RunSettings) -> frozenset[int]:
    """Candidates whose weights finalists and verdict will ask for, as things stand."""
    likely = archive.finalists or _best_children(archive, settings.final.finalists)
    needed = {one.source for one in likely if one.source is not None}
    if (winner := archive.winner) is not None:
        needed.update({winner.id, archive.trained(winner).id})
        needed.update(
            warm.id
            for warm in archive.of_kind("warm")
            if not all(_ended(branches(archive, warm, side)) for side in milestones(archive, winner))
        )
    return frozenset(needed)


def _from_scratch(archive: Archive, settings: RunSettings, winner: Candidate) -> tuple[Proposal, ...]:
    """Train all from fresh weights."""
    epochs = scratch_epochs(archive, settings, winner)
    return tuple(
        _test(None, identity(side.architecture), epochs, side.id, side.pretraining)
        for seed in range(settings.final.seeds)
        for side in milestones(archive, winner)
        if seed >= _ended(scratches(archive, side))
    )


def _alone(archive: Archive, settings: RunSettings, winner: Candidate) -> tuple[Proposal, ...]:
    """Train children of all ranks, where weights are shared."""
    if archive.inherit != "supernet":
        return ()
    epochs = scratch_epochs(archive, settings, winner)
    return tuple(
        _test(None, identity(child.architecture), epochs, child.id)
        for child in sampled(archive, settings.final.alone)
        if not _ended(scratches(archive, child)) and child.id not in {one.id for one in milestones(archive, winner)}
    )


def _test(
    parent: int | None, rewrite: Rewrite, epochs: int, subject: int, pretraining: Pretraining | None = None
) -> Proposal:
    return Proposal("final", parent, rewrite, Fidelity(epochs), "test", subject, pretraining=pretraining)


def _ended(candidates: Sequence[Candidate]) -> int:
    """How many have a result; an undefined score is one."""
    return sum(one.status == "done" for one in candidates)
