"""Sum of gains: every child against its parent, trained on by the same epochs."""

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from spnas_search.ranking._base import Merits, Scores, replicate_variance

_Setting = tuple[int, float, int, int]
"""(node, age, group, epochs) of controls."""


class SumOfGains:
    """A child's lead is its parent's plus its gain: its own score minus the mean of its controls.

    Controls of a child are scores of its parent other than the parent's own, with the age, group and epochs of the
    child's own score. While one is missing in the lineage, the lead is unknown. Where the child was scored again, with
    the age, group and epochs of its own score, as a finalist is, the mean of all counts in place of its own; unless
    these scores are what its children are compared with, as where nothing is inherited.

    With σ² the pooled variance of replicates, the variance of a gain of n scores over k controls is σ² (1/n + 1/k). It
    adds up along the lineage: the error grows with depth, and the luck of a chosen parent is inherited by all its
    descendants.

    Example: the start's controls have 0.50 and 0.52, its child 0.55, that child's control 0.58, a grandchild 0.57.
    Gains are 0.55 - 0.51 = 0.04 and 0.57 - 0.58 = -0.01, the grandchild's lead is 0.03. From the pair of controls
    σ² = 0.0002, so its error is √(0.0002 · (1 + 1/2 + 1 + 1)) = 0.026.
    """

    name = "gains"
    summary = "sum of the gains over controls along the lineage"
    needs_controls = True
    needs_ages = False

    def rank(self, scores: Scores) -> Merits:
        """Return leads and their errors; errors are NaN where there are no replicates."""
        parents = scores.parents.tolist()
        gains = _gains(scores)
        leads, shares = [0.0], [0.0]
        for child in range(1, len(parents)):
            gain, parent = gains.get(child), parents[child]
            leads.append(leads[parent] + gain.value if gain else math.nan)
            shares.append(shares[parent] + gain.share if gain else math.nan)
        variance = replicate_variance(scores)
        errors = np.sqrt(variance * np.array(shares))
        errors[0] = 0
        return Merits(np.array(leads), errors, _Differences(parents, gains, variance).error)


class _Gain(NamedTuple):
    """A child's score minus its controls' mean.

    Attributes:
        value: in units of the score.
        number: of controls.
        controls: which ones.
        times: that the child was scored.
    """

    value: float
    number: int
    controls: _Setting
    times: int = 1

    @property
    def share(self) -> float:
        """Its variance, in units of a score's."""
        return 1 / self.times + 1 / self.number


def _gains(scores: Scores) -> dict[int, _Gain]:
    """Return the gains of children that have a score and a control."""
    own: dict[int, tuple[float, _Setting]] = {}
    controls: dict[_Setting, list[float]] = defaultdict(list)
    columns = (scores.nodes, scores.ages, scores.groups, scores.epochs, scores.values, scores.own)
    for node, age, group, epochs, value, is_own in zip(*(column.tolist() for column in columns), strict=True):
        if not is_own:
            controls[node, age, group, epochs].append(value)
        elif node:
            own[node] = value, (int(scores.parents[node]), age, group, epochs)
    compared = {setting for _, setting in own.values()}
    gains = {}
    for node, (value, setting) in own.items():
        if found := controls.get(setting):
            # fsum rounds once, so the mean does not depend on the order of the scores.
            again = (node, *setting[1:])
            scored = [value] if again in compared else [value, *controls.get(again, ())]
            mean = math.fsum(scored) / len(scored)
            gains[node] = _Gain(mean - math.fsum(found) / len(found), len(found), setting, len(scored))
    return gains


@dataclass(frozen=True)
class _Differences:
    """Errors of differences: parts that two lineages share cancel, and so do controls of two siblings."""

    parents: list[int]
    gains: dict[int, _Gain]
    variance: float

    def error(self, i: int, j: int) -> float:
        """Return the standard error of the difference of two nodes' leads, both of which are known."""
        one, other, left, right = i, j, [], []
        while one != other:
            if one > other:
                left.append(self.gains[one])
                one = self.parents[one]
            else:
                right.append(self.gains[other])
                other = self.parents[other]
        total = sum(gain.share for gain in left + right)
        if left and right and left[-1].controls == right[-1].controls:
            total -= 2 / left[-1].number
        return math.sqrt(self.variance * total)
