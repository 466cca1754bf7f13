"""Lead at equal age: every score against the start's at the same age."""

import math
from dataclasses import dataclass

import numpy as np

from spnas_search.ranking._base import Floats, Integers, Merits, Scores, replicate_variance

PENALTY = 0.5
"""Standard errors that are taken off a lead, so that what was scored once does not win by luck."""


class EqualAgeLead:
    """A candidate's lead is the mean, over all its scores, of the score minus the start's mean at the same age.

    Between ages at which the start was scored its mean is interpolated, outside them it is that of the nearest; only
    scores of the same group are compared. Half a standard error is taken off. ``errors`` are whole standard errors of
    the mean itself, so nothing is to be taken off a lead again: the mean is ``leads + 0.5 · errors``. Where no
    replicates tell the noise, errors are NaN and nothing is taken off.

    With σ² the pooled variance of replicates, the variance of a lead from k scores is σ² (1/k + Σ_a α_a² / r_a), where
    α_a is the weight of the start's mean at age a in the lead, and r_a how many scores that mean is made of.

    Example: the start has 0.50 and 0.52 at age 8 and 0.60 at age 12; a child has 0.56 at age 8, and its control 0.63
    at age 12. Its mean is that of 0.05 and 0.03, σ² = 0.0002, its error √(0.0002 · (1/2 + 1/4 · 1/2 + 1/4)) = 0.0132,
    so its lead is 0.04 - 0.0066 = 0.0334.
    """

    name = "lead"
    summary = "mean lead over the start at equal age, less half a standard error"
    needs_controls = True
    needs_ages = True

    def rank(self, scores: Scores) -> Merits:
        """Return leads and their errors; NaN for nodes without a score in a group in which the start has one."""
        compared = _compare(scores)
        counts = np.bincount(compared.nodes, minlength=len(scores))
        known = counts > 0
        leads = np.full(len(scores), np.nan)
        leads[known] = np.bincount(compared.nodes, compared.differences, len(scores))[known] / counts[known]
        parts = _Parts.of(compared, counts)
        sigma = math.sqrt(replicate_variance(scores))
        errors = np.where(known, sigma * np.sqrt(parts.variances()), np.nan)
        leads -= PENALTY * np.nan_to_num(errors)
        leads[0] = errors[0] = 0
        return Merits(leads, errors, lambda i, j: sigma * math.sqrt(parts.difference_variance(i, j)))


@dataclass(frozen=True, eq=False)
class _Compared:
    """Scores of candidates beside the start's.

    Attributes:
        nodes: [c] whose score it is.
        differences: [c] the score minus the start's interpolated mean.
        anchors: [c, 2] numbers of the two means that are interpolated.
        weights: [c, 2] of these.
        replicates: [a] how many of the start's scores each mean is made of.
    """

    nodes: Integers
    differences: Floats
    anchors: Integers
    weights: Floats
    replicates: Floats


def _compare(scores: Scores) -> _Compared:
    order = scores.order
    nodes, ages, groups, values = scores.nodes[order], scores.ages[order], scores.groups[order], scores.values[order]
    expected, comparable = np.zeros(len(nodes)), np.zeros(len(nodes), np.bool_)
    anchors, weights = np.zeros((len(nodes), 2), np.int64), np.zeros((len(nodes), 2))
    replicates: list[int] = []
    for group in np.unique(groups[nodes == 0]):
        of_start = (nodes == 0) & (groups == group)
        knots, which, counts = np.unique(ages[of_start], return_inverse=True, return_counts=True)
        means = np.bincount(which, values[of_start]) / counts
        rows = np.flatnonzero((nodes != 0) & (groups == group))
        low = np.maximum(np.searchsorted(knots, ages[rows], "right") - 1, 0)
        high = np.minimum(low + 1, len(knots) - 1)
        width = np.where(high > low, knots[high] - knots[low], np.inf)
        rise = np.maximum(ages[rows] - knots[low], 0) / width
        comparable[rows] = True
        expected[rows] = (1 - rise) * means[low] + rise * means[high]
        anchors[rows] = np.column_stack((low, high)) + len(replicates)
        weights[rows] = np.column_stack((1 - rise, rise))
        replicates += counts.tolist()
    differences = values[comparable] - expected[comparable]
    return _Compared(
        nodes[comparable], differences, anchors[comparable], weights[comparable], np.array(replicates, np.float64)
    )


@dataclass(frozen=True, eq=False)
class _Parts:
    """What leads are made of.

    Attributes:
        counts: [n] own scores in each lead.
        nodes: [w] whose lead it is, ascending.
        means: [w] number of a mean of the start in it.
        weights: [w] that mean's weight α.
        replicates: [a] scores that each mean is made of.
    """

    counts: Integers
    nodes: Integers
    means: Integers
    weights: Floats
    replicates: Floats

    @classmethod
    def of(cls, compared: _Compared, counts: Integers) -> "_Parts":
        """Add up the weights of scores of the same node."""
        means = max(1, len(compared.replicates))
        pairs, which = np.unique(compared.nodes[:, None] * means + compared.anchors, return_inverse=True)
        shares = compared.weights / counts[compared.nodes, None]
        weights = np.zeros(len(pairs))
        np.add.at(weights, which.ravel(), shares.ravel())
        return cls(counts, pairs // means, pairs % means, weights, compared.replicates)

    def variances(self) -> Floats:
        """Return [n] variances of leads over the noise variance; of no meaning for nodes without scores."""
        variances = 1 / np.maximum(self.counts, 1)
        np.add.at(variances, self.nodes, self.weights**2 / self.replicates[self.means])
        return variances

    def difference_variance(self, i: int, j: int) -> float:
        """Return the variance of the difference of two leads over the noise variance: the start's means cancel."""
        weights = np.zeros(len(self.replicates))
        own = 0.0
        for node, sign in ((i, 1), (j, -1)):
            low, high = np.searchsorted(self.nodes, (node, node + 1))
            weights[self.means[low:high]] += sign * self.weights[low:high]
            own += 1 / float(self.counts[node]) if node else 0.0
        return own + float(np.sum(weights**2 / self.replicates))
