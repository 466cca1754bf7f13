"""What the fit of the model of descent says of candidates, of those that do not exist yet, and of the model itself."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest

import numpy as np

from spnas_search.ranking._base import Floats, Integers, Merits
from spnas_search.ranking.steps import add_unseen, count_steps
from spnas_search.ranking.tree import Tree

BLOCK = 2**17
"""Multiplications per block of a matrix product: few enough to stay in cache, and in one thread."""


@dataclass(frozen=True, eq=False)
class Regression:
    """Curves and effects of morphisms, for each ratio ρ that has weight.

    Attributes:
        scale: of the scores; everything here is in units of it, so that no square overflows.
        weights: [g] posterior weights, of sum 1.
        ratios: [g] values of ρ.
        noise: [g] estimates of the noise variance, RSS / df: the restricted likelihood's, unbiased, and the squared
            scale of the Student distribution of the leads. That distribution's variance, RSS / (df - 2), would not
            exist for the first two degrees of freedom.
        coefficients: [g, p] of the curves' columns, then of the k kinds of morphisms.
        roots: [g, p, p] lower triangular; root' root is the coefficients' covariance over the noise variance.
    """

    scale: float
    weights: Floats
    ratios: Floats
    noise: Floats
    coefficients: Floats
    roots: Floats

    def spread(self, directions: Floats) -> Floats:
        """Return [n, g] variances, over the noise variance, of sums of coefficients.

        Args:
            directions: [n, g, p] the coefficients' weights in each sum.
        """
        size = max(1, BLOCK // max(1, self.roots.shape[2] ** 2))
        spread = np.empty(directions.shape[:2])
        for low in range(0, len(directions), size):
            block = directions[low : low + size].transpose(1, 0, 2) @ self.roots.transpose(0, 2, 1)  # [g, block, p]
            spread[low : low + size] = np.einsum("gnp,gnp->ng", block, block)
        return spread

    def mix(self, means: Floats, variances: Floats) -> tuple[Floats, Floats]:
        """Return [n] means and [n] standard errors over the ratios, in units of the score.

        Args:
            means: [n, g] given each ratio.
            variances: [n, g] over the noise variance.
        """
        mean = means @ self.weights
        spread = variances * self.noise + (means - mean[:, None]) ** 2
        return mean * self.scale, np.sqrt(spread @ self.weights) * self.scale


@dataclass(frozen=True, eq=False)
class DescentFit:
    """Posterior of the leads, a mixture over the ratios ρ.

    Attributes:
        tree: of the n nodes. All arrays below are by place in it.
        kinds: k names of morphisms, sorted.
        traits: [n, r] that describe each architecture.
        regression: curves, effects of traits, effects of kinds.
        means: [n, g] leads given ρ, in units of the regression's scale.
        shares: [n, g] of a node's deviation that its parent explains, given scores and regression.
        deviations: [n, g] variances of the deviations given the regression, over the noise variance.
        directions: [n, g, p] weights of the regression's coefficients in each lead.
    """

    tree: Tree
    kinds: tuple[str, ...]
    traits: Floats
    regression: Regression
    means: Floats
    shares: Floats
    deviations: Floats
    directions: Floats

    @classmethod
    def ignorant(cls, tree: Tree, kinds: tuple[str, ...], traits: Floats) -> "DescentFit":
        """Return what is known without scores: leads of 0, errors of NaN."""
        size, width, unknown = len(tree), traits.shape[1] + len(kinds), np.full(1, np.nan)
        regression = Regression(1.0, np.ones(1), unknown, unknown, np.zeros((1, width)), np.zeros((1, width, width)))
        nothing = np.zeros((size, 1))
        return cls(tree, kinds, traits, regression, nothing, nothing, nothing, np.zeros((size, 1, width)))

    @cached_property
    def merits(self) -> Merits:
        """Leads and errors by node."""
        leads, errors = self.regression.mix(self.means, self.deviations + self.regression.spread(self.directions))
        errors[0] = 0
        return Merits(
            leads[self.tree.places], errors[self.tree.places], self._difference_error, self._difference_errors
        )

    @property
    def ratio(self) -> float:
        """Geometric posterior mean of ρ, a step's standard deviation over the noise's; NaN if unknown."""
        return math.exp(float(np.log(self.regression.ratios) @ self.regression.weights))

    @property
    def noise(self) -> float:
        """Standard deviation σ of a score over seeds, in units of the score; NaN if unknown."""
        return math.sqrt(float(self.regression.noise @ self.regression.weights)) * self.regression.scale

    @cached_property
    def effects(self) -> dict[str, tuple[float, float]]:
        """Mean effect of each kind of morphism on the lead, and its standard error."""
        count, regression = len(self.kinds), self.regression
        means = regression.coefficients[:, regression.coefficients.shape[1] - count :].T
        covariances = np.einsum("gpk,gpk->kg", *[regression.roots[:, :, regression.roots.shape[2] - count :]] * 2)
        pairs = zip(*(column.tolist() for column in regression.mix(means, covariances)), strict=True)
        return dict(zip(self.kinds, pairs, strict=True))

    def predict_children(
        self, parents: Integers, steps: Sequence[Sequence[str]], traits: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Predict the leads of children that do not exist yet.

        A child's lead is its parent's and its steps' effects; what a step does beyond its kind's effect has mean 0 and
        variance ρ² σ². Kinds that the search has not tried share the common mean of those that it has.

        Args:
            parents: [q] node numbers.
            steps: names of the morphisms of each of the q children.
            traits: [q, r] that describe them; None where the scores had none.

        Returns:
            [q] expected leads and [q] standard errors.

        Raises:
            ValueError: a parent that is no node, numbers of parents and children that differ, or other traits than
                those of the scores.
        """
        nodes = np.asarray(parents, np.int64).reshape(-1)
        if len(nodes) != len(steps):
            raise ValueError(f"{len(nodes)} parents for {len(steps)} children: there must be one for each")
        if len(nodes) and not 0 <= nodes.min() <= nodes.max() < len(self.tree):
            raise ValueError(f"parents {nodes.min()}…{nodes.max()}: nodes are numbered 0…{len(self.tree) - 1}")
        described = np.zeros((len(nodes), 0)) if traits is None else np.asarray(traits, float)
        if described.shape != (len(nodes), self.traits.shape[1]):
            raise ValueError(f"traits have shape {described.shape}: {(len(nodes), self.traits.shape[1])} is needed")
        regression = self.regression
        _, counts, lengths = count_steps(steps, self.kinds)
        counts, unseen = add_unseen(steps, self.kinds, counts)
        at = self.tree.places[nodes]
        changes = np.column_stack((described - self.traits[at], counts))
        directions = self.directions[at]
        first = directions.shape[2] - changes.shape[1]
        directions[:, :, first:] += changes[:, None]
        means = self.means[at] + changes @ regression.coefficients[:, first:].T
        own = (lengths + unseen)[:, None] * regression.ratios**2
        return regression.mix(means, self.deviations[at] + regression.spread(directions) + own)

    def _difference_errors(self, node: int) -> Floats:
        """Return [n] standard errors of the differences between one node's lead and each, by node.

        The covariance of two deviations is known along the way from the node up to the start; elsewhere a deviation
        shares with the node only what its parent shares.
        """
        at = int(self.tree.places[node])
        shared = np.zeros_like(self.deviations)
        way, passed = [], np.ones(self.deviations.shape[1])
        here = at
        while here >= 0:
            way.append(here)
            shared[here] = passed * self.deviations[here]
            passed = passed * self.shares[here]
            here = int(self.tree.parents[here])
        known = dict(zip(way, shared[way], strict=True))
        # The start is known, so its children share nothing with each other; of each depth below, one is on the way.
        for level, place in zip_longest(self.tree.levels[1:], way[-3::-1]):
            shared[level.nodes] = self.shares[level.nodes] * shared[level.parents]
            if place is not None:
                shared[place] = known[place]
        deviations = np.maximum(self.deviations + self.deviations[at] - 2 * shared, 0)
        spread = self.regression.spread(self.directions[at] - self.directions)
        _, errors = self.regression.mix(self.means[at] - self.means, deviations + spread)
        return errors[self.tree.places]

    def _difference_error(self, i: int, j: int) -> float:
        one, other = int(self.tree.places[i]), int(self.tree.places[j])
        left, right, top = self.tree.paths_to_common_ancestor(one, other)
        shared = self.shares[left].prod(axis=0) * self.shares[right].prod(axis=0) * self.deviations[top]
        deviations = np.maximum(self.deviations[one] + self.deviations[other] - 2 * shared, 0)
        directions = self.directions[one] - self.directions[other]
        means = self.means[one] - self.means[other]
        _, error = self.regression.mix(means[None], deviations[None] + self.regression.spread(directions[None]))
        return float(error[0])
