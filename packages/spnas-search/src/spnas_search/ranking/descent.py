"""Best linear unbiased prediction of candidates that are related by descent, in time proportional to their number.

Model of the scores, all variances in units of the noise variance σ²::

    y_i  =  b(age_i, group_i) + u[node_i] + e_i,                         e_i ~ N(0, σ²)
    u[start] = 0,    u[c] = u[parent] + F_c·m + d_c,                     d_c ~ N(0, s_c ρ² σ²)

b is a learning curve per group (``curves``), F_c the number of steps of each kind of morphism on the edge, m their mean
effects, s_c = max(1, number of steps). The prior m ~ N(0, ρ² σ² (I/4 + 4 J)), J all ones, shrinks effects to a common
mean that is itself vague. Where architectures are described by traits (blocks per stage, cost, …), F_c has the
differences of the traits, too, each with an effect of its own, N(0, ρ² σ² / 4) for each unit. Henderson, "Best linear
unbiased estimation and prediction under a selection model", Biometrics 1975.

ρ takes the values of a grid, weighted by a log-normal prior and the restricted likelihood (Patterson & Thompson,
"Recovery of inter-block information when block sizes are unequal", Biometrika 1971) with σ² integrated out under the
prior 1/σ²::

    |V|^-½ · |X'V⁻¹X + P|^-½ · |P|₊^½ · RSS^(-df/2),        df = number of scores - columns of the curves

P is the prior precision of curves and effects, and |P|₊ the determinant of its proper part: it depends on ρ, so it
counts.

With G the sums of F along the lineage, v = u - G m is a tree of independent steps of precision w_c = 1 / (s_c ρ²), and
X = [B, G[node]] the columns of a regression. Eliminating v from the leaves to the start adds up the number E of scores
and the sums c of every column, as a node's subtree shows them at that node::

    E_i = count_i + Σ_children a_c E_c,    c_i = sum_i + Σ_children a_c c_c,    a_c = w_c / (E_c + w_c)

so that V, the covariance of the scores given curves and effects, need not be formed: X'V⁻¹X = X'X - Σ c_i c_i' / D_i
with D_i = E_i + w_i, and log|V| = -Σ log a_i. Substituting back gives means of v, and its variances
1/D_i + a_i² · (the parent's).
"""

import math
from dataclasses import dataclass

import numpy as np

from spnas_search.ranking._base import Floats, Scores
from spnas_search.ranking.curves import curve_design
from spnas_search.ranking.posterior import BLOCK, DescentFit, Regression
from spnas_search.ranking.steps import count_steps, effect_precision
from spnas_search.ranking.tree import Tree, sum_runs

RATIOS = np.array([1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8])
"""Values of ρ, the standard deviation of a step over that of the noise."""
RATIO_MEDIAN, RATIO_LOG_DEVIATION = 0.7, math.log(3)
"""Of the log-normal prior of ρ."""
NEGLIGIBLE = 1e-4
"""Ends of the grid of ρ whose points have less weight than this are left out."""


def fit_descent(scores: Scores) -> DescentFit:
    """Return the posterior of all leads given all scores.

    Where there are not more scores than columns of learning curves, nothing is known: leads are 0 and errors NaN.
    """
    tree = Tree(scores.parents)
    kinds, counts, lengths = count_steps(scores.steps)
    traits = np.zeros((len(tree), 0)) if scores.traits is None else scores.traits[tree.order]
    paths = np.column_stack((traits - traits[0], tree.sums_from_start(counts[tree.order])))
    design = _design(scores, tree, paths) if len(scores.nodes) else None
    if design is None or design.freedom < 1:
        return DescentFit.ignorant(tree, kinds, traits)
    weights = 1 / (lengths[tree.order, None] * RATIOS**2)  # [n, g]
    state = np.empty((len(tree), len(RATIOS), design.sums.shape[1]))  # [n, g, 2 + p]
    state[:] = design.sums[:, None]
    shares = _eliminate(tree, state, weights)
    moments = design.moments - _eliminated(state, weights)
    regression, kept = _regress(design, moments, 0.5 * np.log(shares).sum(axis=0), len(kinds), traits.shape[1])
    state, shares = state[:, kept], shares[:, kept]
    deviations = _substitute(tree, state, shares, weights[:, kept])
    # lead = v + G m, where the scores' v shrinks by what curves and effects explain of them.
    directions = state[:, :, 2:]
    curves = directions.shape[2] - paths.shape[1]
    np.negative(directions[:, :, :curves], out=directions[:, :, :curves])
    np.subtract(paths[:, None], directions[:, :, curves:], out=directions[:, :, curves:])
    means = state[:, :, 1] + np.einsum("ngp,gp->ng", directions, regression.coefficients)
    return DescentFit(tree, kinds, traits, regression, means, shares, deviations, directions)


@dataclass(frozen=True, eq=False)
class _Design:
    """The regression's columns, with scores divided so that none exceeds 1.

    Attributes:
        sums: [n, 2 + p] by place: number of scores, their sum, sums of the p columns of the regression.
        moments: [1 + p, 1 + p] sums over scores of products of score and columns.
        precisions: [b] of the priors of the curves' columns, which are the first of the p.
        freedom: number of scores less that of columns whose prior is flat.
        scale: by which scores were divided.
    """

    sums: Floats
    moments: Floats
    precisions: Floats
    freedom: int
    scale: float


def _design(scores: Scores, tree: Tree, paths: Floats) -> _Design:
    nodes = scores.nodes[scores.order]
    curves = curve_design(scores.ages[scores.order], scores.groups[scores.order])
    # A curve's level is free, so a constant may be taken off: scores that are all equal become zeros.
    values = scores.values[scores.order]
    values = values - values[curves.firsts]
    scale = float(np.abs(values).max()) or 1.0
    columns = np.column_stack(
        (np.ones(len(nodes)), values / scale, curves.columns, paths[tree.places[nodes]])
    )  # [m, 2 + p]
    begins = np.flatnonzero(np.diff(nodes, prepend=-1))
    sums = np.zeros((len(tree), columns.shape[1]))
    sums[tree.places[nodes[begins]]] = sum_runs(columns, begins)
    moments = _moments(columns[:, None, 1:], np.ones((len(nodes), 1)))[0]
    freedom = len(nodes) - int(np.count_nonzero(curves.precisions == 0))
    return _Design(sums, moments, curves.precisions, freedom, scale)


def _moments(columns: Floats, divisors: Floats) -> Floats:
    """Return [g, q, q] sums over rows of products of columns.

    Args:
        columns: [n, g, q].
        divisors: [n, g] of the products.
    """
    _, points, width = columns.shape
    total = np.zeros((points, width, width))
    size = max(1, BLOCK // width**2)
    for low in range(0, len(columns), size):
        block = columns[low : low + size].transpose(1, 0, 2)  # [g, block, q]
        total += block.transpose(0, 2, 1) @ (block / divisors[low : low + size].T[:, :, None])
    return total


def _eliminate(tree: Tree, state: Floats, weights: Floats) -> Floats:
    """Eliminate nodes from the leaves to the start.

    Args:
        tree: of n nodes.
        state: [n, g, q] sums by place; becomes E, in the first column, and c.
        weights: [n, g] precisions w of the steps.

    Returns:
        [n, g] shares a = w / (E + w) of a node's deviation that its parent explains.
    """
    shares = np.ones_like(weights)
    for level in reversed(tree.levels):
        here, weight = state[level.nodes], weights[level.nodes]
        share = np.divide(weight, here[:, :, 0] + weight, out=shares[level.nodes])
        if level is not tree.levels[0]:  # the start's own lead is no unknown
            state[level.heads] += sum_runs(here * share[:, :, None], level.families)
    return shares


def _eliminated(state: Floats, weights: Floats) -> Floats:
    """Return [g, 1 + p, 1 + p] sums over nodes of c c' / D: what the elimination takes from the moments."""
    return _moments(state[1:, :, 1:], state[1:, :, 0] + weights[1:])


def _regress(design: _Design, moments: Floats, log_shares: Floats, kinds: int, traits: int) -> tuple[Regression, slice]:
    """Solve the regression for every ρ, and weight what comes out.

    Args:
        design: of the scores.
        moments: [g, 1 + p, 1 + p] [y X]'V⁻¹[y X].
        log_shares: [g] -½ log|V|.
        kinds: of morphisms, whose columns come last.
        traits: of architectures, whose columns come before these.

    Returns:
        The regression for the points of the grid that have weight; which points these are.
    """
    curves = len(design.precisions)
    precision = np.zeros_like(moments[:, 1:, 1:])
    precision[:, :curves, :curves] = np.diag(design.precisions)
    precision[:, curves:, curves:] = effect_precision(kinds, traits) / RATIOS[:, None, None] ** 2
    roots = np.linalg.inv(np.linalg.cholesky(moments[:, 1:, 1:] + precision))
    projected = np.einsum("gij,gj->gi", roots, moments[:, 1:, 0])
    squares = np.maximum(moments[:, 0, 0] - np.sum(projected**2, axis=1), 0)
    # Scores without noise leave a sum of squares of 0, known to the rounding error of the moments.
    known = np.maximum(squares, np.finfo(float).eps * float(design.moments[0, 0] or 1))
    log_likelihood = log_shares - (kinds + traits) * np.log(RATIOS) - 0.5 * design.freedom * np.log(known)
    log_likelihood += np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
    log_posterior = log_likelihood - 0.5 * (np.log(RATIOS / RATIO_MEDIAN) / RATIO_LOG_DEVIATION) ** 2
    weights = np.exp(log_posterior - log_posterior.max())
    heavy = np.flatnonzero(weights >= NEGLIGIBLE * weights.sum())
    kept = slice(int(heavy[0]), int(heavy[-1]) + 1)
    regression = Regression(
        scale=design.scale,
        weights=weights[kept] / weights[kept].sum(),
        ratios=RATIOS[kept],
        noise=squares[kept] / design.freedom,
        coefficients=np.einsum("gji,gj->gi", roots, projected)[kept],
        roots=roots[kept],
    )
    return regression, kept


def _substitute(tree: Tree, state: Floats, shares: Floats, weights: Floats) -> Floats:
    """Go back from the start to the leaves.

    Args:
        tree: of n nodes.
        state: [n, g, q] as ``_eliminate`` leaves it; all columns but the first become means of v, had the column been
            the scores.
        shares: [n, g] as ``_eliminate`` returns them.
        weights: [n, g] precisions w of the steps.

    Returns:
        [n, g] variances of v given scores and regression.
    """
    variances = 1 / (state[:, :, 0] + weights)
    means = state[:, :, 1:]
    means *= variances[:, :, None]
    means[0] = variances[0] = 0
    for level in tree.levels[1:]:
        share = shares[level.nodes]
        means[level.nodes] += share[:, :, None] * means[level.parents]
        variances[level.nodes] += share**2 * variances[level.parents]
    return variances
