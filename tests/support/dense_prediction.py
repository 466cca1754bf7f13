"""The model of descent, once more, with whole matrices: slow, and without the recursions over a tree.

The restricted likelihood comes from the scores' covariance V = I + Z U Z' + 400 H H' (kinship of lineages, effects of
morphisms, increments of curves), by generalised least squares for the curves' levels. Leads come from Henderson's mixed
model equations over levels, increments, effects and one deviation per edge: both are equal to the same prediction, but
only the second keeps its digits where a lineage is long. All in units of the noise variance.
"""

import math
from dataclasses import dataclass

import numpy as np

GRID = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass
class Dense:
    """Posterior of all nodes' leads."""

    leads: np.ndarray
    covariance: np.ndarray
    noise: float
    ratio: float
    effects: dict[str, tuple[float, float]]

    @property
    def errors(self) -> np.ndarray:
        return np.sqrt(np.diag(self.covariance))

    def difference_error(self, i: int, j: int) -> float:
        contrast = np.zeros(len(self.leads))
        contrast[i] += 1
        contrast[j] -= 1
        return float(np.sqrt(contrast @ self.covariance @ contrast))


def lineages(parents):
    """[n, n] whether the edge above the second node lies between the first and the start."""
    between = np.zeros((len(parents), len(parents)))
    for node in range(len(parents)):
        at = node
        while at:
            between[node, at] = 1
            at = parents[at]
    return between


def curve_columns(ages, groups):
    """Indicators of the groups, and the increments' columns by interpolation of unit steps."""
    levels, rises = [], []
    for group in sorted(set(groups)):
        of_group = np.array([g == group for g in groups])
        known = sorted({a for a, g in zip(ages, groups, strict=True) if g == group})
        if len(known) > 8:
            known = [known[round(k * (len(known) - 1) / 7)] for k in range(8)]
        levels.append(of_group.astype(float))
        for knot in range(1, len(known)):
            step = [float(k >= knot) for k in range(len(known))]
            rises.append(np.where(of_group, np.interp(ages, known, step), 0.0))
    return np.column_stack(levels), np.column_stack(rises) if rises else np.zeros((len(ages), 0))


def dense_prediction(parents, steps, nodes, ages, groups, values, increment_deviation=math.inf, traits=None):
    """Predict all leads; arguments as the fields of ``Scores``."""
    kinds = sorted({name for edge in steps for name in edge})
    n, m, k = len(parents), len(nodes), len(kinds)
    z = np.zeros((m, n))
    z[np.arange(m), nodes] = 1
    x, h = curve_columns(np.asarray(ages, float), list(groups))
    if np.isinf(increment_deviation):
        x, h = np.hstack((x, h)), h[:, :0]
    y = np.asarray(values, float) - np.mean(values)  # curves have free levels: a constant changes no lead
    between = lineages(list(map(int, parents)))
    lengths = np.array([max(1.0, len(edge)) for edge in steps])
    sums = between @ np.array([[edge.count(kind) for kind in kinds] for edge in steps], float).reshape(n, k)
    t = np.zeros((n, 0)) if traits is None else np.asarray(traits, float) - np.asarray(traits, float)[0]
    r = t.shape[1]
    prior_of_effects = np.eye(r + k) / 4
    prior_of_effects[r:, r:] += 4 * np.ones((k, k))
    sums = np.hstack((t, sums))
    freedom = m - x.shape[1]
    # Of levels, increments, effects and deviations of the edges: what a score, and what a lead or effect adds up to.
    regression = np.hstack((x, h, z @ sums, (z @ between)[:, 1:]))
    wanted = np.zeros((n + k, regression.shape[1]))
    wanted[:n, x.shape[1] + h.shape[1] :] = np.hstack((sums, between[:, 1:]))
    wanted[n:, x.shape[1] + h.shape[1] :][:, r : r + k] = np.eye(k)
    found = []
    for ratio in GRID:
        leads = ratio**2 * (between * lengths @ between.T + sums @ prior_of_effects @ sums.T)
        v = np.eye(m) + z @ leads @ z.T + increment_deviation**2 * h @ h.T if h.size else np.eye(m) + z @ leads @ z.T
        inverse = np.linalg.inv(v)
        of_levels = x.T @ inverse @ x
        residual = y - x @ np.linalg.solve(of_levels, x.T @ inverse @ y)
        rss = residual @ inverse @ residual
        likelihood = -0.5 * (np.linalg.slogdet(v)[1] + np.linalg.slogdet(of_levels)[1] + freedom * np.log(rss))
        prior = -0.5 * (np.log(ratio / 0.7) / np.log(3)) ** 2

        precision = np.zeros((regression.shape[1],) * 2)
        at = x.shape[1]
        for block in (
            np.eye(h.shape[1]) / increment_deviation**2,
            np.linalg.inv(prior_of_effects) / ratio**2,
            np.diag(1 / lengths[1:]) / ratio**2,
        ):
            precision[at : at + len(block), at : at + len(block)] = block
            at += len(block)
        posterior = np.linalg.inv(regression.T @ regression + precision)
        mean = wanted @ posterior @ regression.T @ y
        found.append((likelihood + prior, mean, rss / freedom * wanted @ posterior @ wanted.T, rss / freedom, ratio))
    weights = np.exp([f[0] - max(g[0] for g in found) for f in found])
    weights /= weights.sum()
    # The ends of the grid are dropped where they hardly count.
    heavy = [g for g in range(len(GRID)) if weights[g] >= 1e-4]
    kept = range(heavy[0], heavy[-1] + 1)
    weights = {g: weights[g] / weights[list(kept)].sum() for g in kept}
    mean = sum(weights[g] * found[g][1] for g in kept)
    covariance = sum(weights[g] * (found[g][2] + np.outer(found[g][1] - mean, found[g][1] - mean)) for g in kept)
    errors = np.sqrt(np.diag(covariance))
    return Dense(
        leads=mean[:n],
        covariance=covariance[:n, :n],
        noise=float(np.sqrt(sum(weights[g] * found[g][3] for g in kept))),
        ratio=float(np.exp(sum(weights[g] * np.log(found[g][4]) for g in kept))),
        effects={kind: (float(mean[n + at]), float(errors[n + at])) for at, kind in enumerate(kinds)},
    )
