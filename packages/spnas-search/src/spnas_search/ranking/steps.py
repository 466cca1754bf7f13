"""What is known beforehand of morphisms' effects, and how many of each kind lie on an edge."""

import itertools
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from spnas_search.ranking._base import Floats

EFFECT_SPREAD, EFFECT_MEAN = 0.25, 4.0
"""Prior variances, in units of ρ² σ², of an effect about the effects' common mean, and of that mean."""


def count_steps(
    steps: Sequence[Sequence[str]], kinds: Sequence[str] | None = None
) -> tuple[tuple[str, ...], Floats, Floats]:
    """Count steps by kind.

    Args:
        steps: names of the morphisms on each of n edges.
        kinds: to count; None for those that occur, sorted by name.

    Returns:
        The k kinds; [n, k] steps of each kind per edge; [n] length of each edge, its number of steps, at least 1.
    """
    numbers = defaultdict[tuple[str, ...], int](itertools.count().__next__)  # of edges that differ
    edges = np.fromiter(map(numbers.__getitem__, map(tuple, steps)), np.int64, len(steps))
    known = tuple(sorted({name for edge in numbers for name in edge}) if kinds is None else kinds)
    counts = np.array([[edge.count(kind) for kind in known] for edge in numbers], float)
    lengths = np.array([max(1, len(edge)) for edge in numbers], float)
    return known, counts.reshape(len(numbers), len(known))[edges], lengths[edges]


def effect_precision(kinds: int, traits: int = 0) -> Floats:
    """Return the [r + k, r + k] prior precision of effects, in units of 1 / (ρ² σ²).

    Those of r traits are independent, of variance 1/4; those of k kinds have the covariance I/4 + 4 J.
    """
    precision: Floats = np.eye(traits + kinds) / EFFECT_SPREAD
    precision[traits:, traits:] -= EFFECT_MEAN / (EFFECT_SPREAD + kinds * EFFECT_MEAN) / EFFECT_SPREAD
    return precision


def add_unseen(steps: Sequence[Sequence[str]], kinds: Sequence[str], counts: Floats) -> tuple[Floats, Floats]:
    """Let kinds that no edge of the search had follow from those that it had, by their common mean.

    Given the effects m of k kinds, those of others are N(κ Σ m, (I/4 + J / (1/4 + 4 k)) ρ² σ²), κ = 4 / (1/4 + 4 k).

    Args:
        steps: names of the morphisms on each of n edges.
        kinds: the k kinds that are known.
        counts: [n, k] steps of each of them.

    Returns:
        [n, k] weights of the known effects in the mean; [n] variances of what is added, in units of ρ² σ².
    """
    others = sorted({name for edge in steps for name in edge} - set(kinds))
    if not others:
        return counts, np.zeros(len(counts))
    _, unseen, _ = count_steps(steps, others)
    total = unseen.sum(axis=1)
    vague = EFFECT_SPREAD + len(kinds) * EFFECT_MEAN
    variances = EFFECT_SPREAD * (unseen**2).sum(axis=1) + EFFECT_SPREAD * EFFECT_MEAN / vague * total**2
    return counts + (EFFECT_MEAN / vague * total)[:, None], variances
