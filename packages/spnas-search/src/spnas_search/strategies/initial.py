"""How an evolution begins: children from the whole space, until the population is full."""

import math

from spnas_search.archive import Archive, Candidate

TRIES = 2
"""Initial children that are drawn for each one that is wanted, at most: where most fail, their number still ends."""


def initial_left(wanted: int, children: int, failed: int) -> int:
    """Return how many more children are drawn before tournaments begin: as many as still have, or may get, no score.

    Example: of 5 wanted 4 were drawn, and 1 of them has failed: 2 are left. Of 10 drawn all have failed: 0 are left.

    Args:
        wanted: initial children with a score.
        children: drawn so far, those under way included.
        failed: of these, that have ended without a score.
    """
    return max(0, min(wanted - (children - failed), TRIES * wanted - children))


def has_failed(archive: Archive, child: Candidate) -> bool:
    """Whether a child has ended without a finite score."""
    return child.status != "proposed" and not math.isfinite(archive.score(child))
