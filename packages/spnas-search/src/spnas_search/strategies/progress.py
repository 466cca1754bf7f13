"""When a search is stuck: a decision with a stated error rate."""

import math
from collections.abc import Collection

from spnas_search.archive import Archive, Candidate
from spnas_search.statistics import progress_threshold


def why_stuck(
    archive: Archive, children: int, alpha: float, *, among: Collection[Candidate] | None = None
) -> str | None:
    """Say that none of the last children was progress; None where one was, or where there are not so many yet.

    A child is progress where its gain exceeds ``z`` standard errors; z is such that among ``children`` children without
    any effect one passes with a probability of at most ``alpha``.

    Args:
        archive: of the search. Only the present strategy's children since the last reignition count, and of these
            the ones that have ended.
        children: in a row.
        alpha: error rate.
        among: only these can be progress; None for all. Where a parent is not among the best, being better than it is
            none.
    """
    last = [child for child in archive.recent_children if child.status != "proposed"][-children:]
    chosen = last if among is None else [child for child in last if child in among]
    if len(last) < children or any(is_progress(archive, child, children, alpha) for child in chosen):
        return None
    better = "better" if among is None else f"among the best {len(among)} and better"
    return (
        f"none of the last {children} children was {better} than its parent by more than chance explains (alpha = "
        f"{alpha:g})"
    )


def is_progress(archive: Archive, child: Candidate, children: int, alpha: float) -> bool:
    """Whether a child is better than its parent by more than chance explains.

    Under a rule with controls the gain counts, with the standard error ``noise · √(1 + 1/k)`` over k controls; under a
    rule without, the difference of the leads of child and parent.
    """
    if archive.rule.needs_controls:
        gain, error = archive.gain(child), archive.gain_error(child)
        return gain is not None and error is not None and gain > progress_threshold(alpha, children) * error
    parent = archive[child.parent or 0]
    lead, base = archive.lead(child), archive.lead(parent)
    if lead is None or base is None:
        return False
    error = archive.difference_error(child, parent)
    return not math.isnan(error) and lead - base > progress_threshold(alpha, children) * error
