"""Architectures that take nothing from one another: the model of ``descent`` without descent.

A code is then worth what its traits say and something of its own, whoever proposed it::

    quality(c) = traits(c)·m + d_c,    d_c ~ N(0, ρ² σ²),    lead(c) = quality(c) - quality(start)

The start has a d of its own as well, so that all leads have -d_start in common. One more trait stands for it, which all
have but the start.
"""

import math
from dataclasses import replace

import numpy as np

from spnas_search.ranking._base import Floats, Scores
from spnas_search.ranking.steps import EFFECT_SPREAD

LACKS_START = 1 / math.sqrt(EFFECT_SPREAD)
"""The trait's value, by which its effect adds the variance ρ² σ² of every node's own part."""


def without_descent(scores: Scores) -> Scores:
    """Return the same scores of nodes that are the start's children, by no steps."""
    parents = np.zeros(len(scores), np.int64)
    parents[0] = -1
    traits = None
    if scores.traits is not None:
        traits = lacking_start(scores.traits)
        traits[0, -1] = 0
    return replace(scores, parents=parents, steps=((),) * len(scores), traits=traits)


def lacking_start(traits: Floats) -> Floats:
    """Return [n, r + 1] traits of architectures none of which is the start, of [n, r] that describe them."""
    return np.column_stack((traits, np.full(len(traits), LACKS_START)))


def like_start(traits: Floats) -> Floats:
    """Return the same as if all had what is the start's own: such leads say how sure codes are beside one another."""
    return np.column_stack((traits, np.zeros(len(traits))))
