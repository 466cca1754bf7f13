"""When a search is stuck: a decision with a stated error rate."""

import math
from collections.abc import Sequence
from itertools import islice

from spnas_search.archive import Archive, Candidate
from spnas_search.statistics import progress_threshold


def why_stuck(archive: Archive, children: int, alpha: float, *, pool: int | None = None) -> str | None:
    """Say that none of the last children was progress; None where one was, or where there are not so many yet.

    A child is progress where its gain exceeds ``z`` standard errors; z is such that among ``children`` children without
    any effect one passes with a probability of at most ``alpha``, where the noise is known. Rules with controls know
    it from few replicates at first: with four, one of 30 passes in three of ten cases. Student's t would keep to
    ``alpha`` there, and take nothing that there is to be found for progress.

    Args:
        archive: of the search. Only the present strategy's children since the last reignition count, and of these
            the ones that have ended.
        children: in a row.
        alpha: error rate.
        pool: a child must have been one of the best so many when it came to be progress, by today's leads; None for
            no such condition. Where a parent is not among the best, being better than it is no progress.
    """
    last = [child for child in archive.recent_children if child.status != "proposed"][-children:]
    chosen = last if pool is None else _entering(archive, last, pool)
    if len(last) < children or any(is_progress(archive, child, children, alpha) for child in chosen):
        return None
    better = "better" if pool is None else f"among the best {pool} and better"
    return (
        f"none of the last {children} children was {better} than its parent by more than chance explains (alpha = "
        f"{alpha:g})"
    )


def _entering(archive: Archive, children: Sequence[Candidate], pool: int) -> list[Candidate]:
    """Return the children that are better than all but ``pool`` - 1 of what was there before them."""
    ranked = [candidate.id for candidate in archive.best(len(archive))]
    places = {number: place for place, number in enumerate(ranked)}

    def enters(child: Candidate) -> bool:
        before = (other for other in ranked[: places[child.id]] if other < child.id)
        return sum(1 for _ in islice(before, pool)) < pool

    return [child for child in children if child.id in places and enters(child)]


def is_progress(archive: Archive, child: Candidate, children: int, alpha: float) -> bool:
    """Whether a child is better than its parent by more than chance explains.

    Under a rule with controls the gain counts, with the standard error ``noise · √(1 + 1/k)`` over k controls; under a
    rule without, the difference of the leads of child and parent. Where the parent is a start that may not win, a child
    is compared with the best of those before it that may, and the first one is progress.
    """
    parent = archive[child.parent or 0]
    is_out = parent is archive.start and not archive.start_may_win
    if is_out:
        if archive.lead(child) is None:
            return False
        before = next((one for one in archive.best(len(archive)) if one.id < child.id), None)
        if before is None:
            return True
        parent = before
    if archive.rule.needs_controls and not is_out:
        gain, error = archive.gain(child), archive.gain_error(child)
        return gain is not None and error is not None and gain > progress_threshold(alpha, children) * error
    lead, base = archive.lead(child), archive.lead(parent)
    if lead is None or base is None:
        return False
    error = archive.difference_error(child, parent)
    return not math.isnan(error) and lead - base > progress_threshold(alpha, children) * error
