"""Failures that are not a candidate's: what fails alike in a row, and what is needed and fails again and again."""

import math
from collections.abc import Collection

from spnas_search.archive import Archive, Candidate, Kind
from spnas_search.archive.intake import without_numbers

TRIES = 3
"""What is needed and fails this often in a row ends the search until somebody looks after it."""

_NEEDED: tuple[Kind, ...] = ("control", "replicate", "warm", "final", "trained")


def failing_alike(archive: Archive) -> tuple[Candidate, ...]:
    """Return the last candidates, oldest first, that failed one after the other for the same reason.

    Reasons are the same where they differ in numbers only, such as a candidate's or a process's. What has no result
    yet is passed over. Follows from the archive, so that a resumed run counts on.
    """
    streak: list[Candidate] = []
    for number in range(len(archive) - 1, -1, -1):
        candidate = archive[number]
        if candidate.status == "proposed":
            continue
        if candidate.status == "done" or (
            streak and without_numbers(candidate.reason) != without_numbers(streak[0].reason)
        ):
            break
        streak.append(candidate)
    return tuple(reversed(streak))


def beyond_hope(archive: Archive, tried: Collection[int] | None = None) -> Candidate | None:
    """Return the last of ``TRIES`` evaluations, alike and needed, that gave no score in a row.

    Args:
        archive: of the search.
        tried: candidates that were evaluated since somebody has looked after it; where the last of them is none of
            these, there is hope again. None for all.
    """
    groups: dict[tuple[object, ...], list[Candidate]] = {}
    for kind in _NEEDED:
        for candidate in archive.of_kind(kind):
            key = (kind, candidate.subject, candidate.parent, candidate.fidelity)
            groups.setdefault(key, []).append(candidate)
    for group in groups.values():
        last = [candidate for candidate in group if candidate.status != "proposed"][-TRIES:]
        is_new = bool(last) and (tried is None or last[-1].id in tried)
        if is_new and len(last) == TRIES and not any(_has_score(archive, candidate) for candidate in last):
            return last[-1]
    return None


def _has_score(archive: Archive, candidate: Candidate) -> bool:
    # An undefined score on test images says something of the images; a control without one is of no use.
    if candidate.kind in {"final", "warm", "trained"}:
        return candidate.status == "done"
    return math.isfinite(archive.score(candidate))
