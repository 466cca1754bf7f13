"""What every ranking rule takes and returns."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Scores:
    """What was measured of a search's candidates.

    Candidates are the nodes of a tree of descent: numbered 0…n-1, node 0 is the start, parents come before their
    children. Lists are taken for arrays.

    Attributes:
        parents: [n] number of the parent; -1 for the start.
        steps: names of the morphisms on the edge to the parent, one tuple per node; empty for the start.
        nodes: [m] node that each score says something of.
        ages: [m] epochs in the lineage of the trained weights at that score.
        groups: [m] number of the setting (image size, share of the data) of the training; scores of different groups
            have learning curves of their own.
        values: [m] the score; higher is better.
        own: [m] whether it is the node's own first evaluation; others are controls (the node trained on) and
            replicates.
        epochs: [m] epochs of that last training alone.
        traits: [n, r] numbers that describe each node's architecture, such as blocks per stage; None has none. Rules
            may take them into account.

    Raises:
        ValueError: shapes that do not fit together, a parent that does not come before its child, a score of a node
            that does not exist, an age or score that is not finite, or two own evaluations of one node.
    """

    parents: Integers
    steps: tuple[tuple[str, ...], ...]
    nodes: Integers
    ages: Floats
    groups: Integers
    values: Floats
    own: Booleans
    epochs: Integers
    traits: Floats | None = None

    def __post_init__(self) -> None:
        for name in ("parents", "nodes", "groups", "epochs"):
            self._take(name, np.int64)
        for name in ("ages", "values"):
            self._take(name, np.float64)
        self._take("own", np.bool_)
        _check_tree(self.parents, self.steps)
        _check_scores(self)
        if self.traits is not None:
            traits = np.asarray(self.traits, np.float64)
            if traits.ndim != 2 or len(traits) != len(self) or not np.isfinite(traits).all():
                raise ValueError(f"traits have shape {traits.shape}: a row of finite numbers for each node is needed")
            object.__setattr__(self, "traits", traits)

    def _take(self, name: str, kind: type[Any]) -> None:
        values = np.asarray(getattr(self, name))
        if values.ndim != 1:
            raise ValueError(f"{name} has shape {values.shape}: scores are columns, arrays of one dimension")
        if values.size and not np.can_cast(values.dtype, kind, "same_kind"):
            raise ValueError(f"{name} is of type {values.dtype}: it must be convertible to {np.dtype(kind)}")
        object.__setattr__(self, name, values.astype(kind, copy=False))

    def __len__(self) -> int:
        """How many nodes there are."""
        return len(self.parents)

    @cached_property
    def order(self) -> Integers:
        """[m] the scores sorted by node, age, group and value.

        Rules add up in this order, so that no bit of their results depends on the order in which scores came in.
        """
        order = np.argsort(self.nodes, kind="stable")  # fast, since nodes come almost in order
        nodes = self.nodes[order]
        repeated = np.flatnonzero((np.diff(nodes, prepend=-1) == 0) | (np.diff(nodes, append=-1) == 0))
        rows = order[repeated]
        order[repeated] = rows[np.lexsort((self.values[rows], self.groups[rows], self.ages[rows], self.nodes[rows]))]
        return order


def _check_tree(parents: Integers, steps: tuple[tuple[str, ...], ...]) -> None:
    if not len(parents) or parents[0] != -1:
        raise ValueError(f"parents begin with {parents[:1].tolist()}: node 0 is the start, whose parent is -1")
    late = (parents < 0) | (parents >= np.arange(len(parents)))
    late[0] = False
    if late.any():
        child = int(np.argmax(late))
        raise ValueError(f"node {child} has parent {parents[child]}: a parent must be a node that comes before it")
    if len(steps) != len(parents):
        raise ValueError(f"steps of {len(steps)} nodes for {len(parents)} nodes: there must be one tuple for each")
    if steps[0]:
        raise ValueError(f"the start has steps {steps[0]}: it has no parent, so its steps must be empty")


def _check_scores(scores: Scores) -> None:
    columns = {name: getattr(scores, name) for name in ("nodes", "ages", "groups", "values", "own", "epochs")}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns of scores differ in length: {lengths}")
    for name in ("ages", "values"):
        finite = np.isfinite(columns[name])
        if not finite.all():
            row = int(np.argmin(finite))
            raise ValueError(f"{name}[{row}] is {columns[name][row]}: leave out scores that are undefined")
    nodes = scores.nodes
    if len(nodes) and not 0 <= nodes.min() <= nodes.max() < len(scores):
        raise ValueError(f"scores of nodes {nodes.min()}…{nodes.max()}: nodes are numbered 0…{len(scores) - 1}")
    first = np.bincount(nodes[scores.own], minlength=1)
    if first.max() > 1:
        raise ValueError(
            f"node {int(np.argmax(first))} has {first.max()} own evaluations: there is one first evaluation"
        )


@dataclass(frozen=True, eq=False)
class Merits:
    """What a rule says of a search's candidates.

    Attributes:
        leads: [n] quality above the start's, in units of the score; 0 for the start, NaN where the rule says nothing.
        errors: [n] standard errors of the leads; 0 for the start, NaN where nothing tells them.
        differences: standard error of the difference of two nodes' leads.
        rows: [n] the same of one node and each, all at once; None where the rule has nothing faster than one by one.
    """

    leads: Floats
    errors: Floats
    differences: Callable[[int, int], float] = field(repr=False)
    rows: Callable[[int], Floats] | None = field(default=None, repr=False)

    @cached_property
    def ranked(self) -> tuple[int, ...]:
        """Nodes that have a lead, best first, older first among equals."""
        order = np.argsort(-self.leads, kind="stable")  # NaN comes last
        return tuple(order[: np.count_nonzero(~np.isnan(self.leads))].tolist())

    def difference_error(self, i: int, j: int) -> float:
        """Return the standard error of ``leads[i] - leads[j]``.

        It is not what follows from the two errors alone: what two candidates share of their lineage cancels.

        Returns:
            0 for a node and itself; NaN where nothing tells it, or one of the two has no lead.
        """
        if np.isnan(self.leads[i]) or np.isnan(self.leads[j]):
            return float("nan")
        return 0.0 if i == j else self.differences(i, j)

    def difference_errors(self, i: int) -> Floats:
        """Return [n] standard errors of ``leads[i] - leads``; NaN where ``difference_error`` has it."""
        if self.rows is None or np.isnan(self.leads[i]):
            return np.array([self.difference_error(i, j) for j in range(len(self.leads))])
        errors = np.where(np.isnan(self.leads), np.nan, self.rows(i))
        errors[i] = 0.0
        return errors


class RankingRule(Protocol):
    """Says from all scores which candidate is better. A rule keeps no state.

    Attributes:
        name: by which settings choose it.
        summary: one line for lists of rules.
        needs_controls: whether a lead is unknown until the parent was trained on by as many epochs as the child.
        needs_ages: whether the start must be scored at the ages of the candidates.
    """

    name: str
    summary: str
    needs_controls: bool
    needs_ages: bool

    def rank(self, scores: Scores) -> Merits:
        """Return leads and their errors: a pure function, whatever the order of the scores."""


def replicate_variance(scores: Scores) -> float:
    """Return the pooled variance of scores of one node, age and group; NaN without replicates.

    Each group of replicates counts with its degrees of freedom, its size less one. A child's own score is left out:
    what is evaluated again was chosen for a high one, so it is further from the others than luck makes it.
    """
    order = scores.order
    order = order[~scores.own[order] | (scores.nodes[order] == 0)]
    nodes, ages, groups, values = (
        column[order] for column in (scores.nodes, scores.ages, scores.groups, scores.values)
    )
    if not len(order):
        return float("nan")
    new = (np.diff(nodes) != 0) | (np.diff(ages) != 0) | (np.diff(groups) != 0)
    starts = np.concatenate(([0], np.flatnonzero(new) + 1))
    counts = np.diff(starts, append=len(order))
    freedom = len(order) - len(starts)
    if not freedom:
        return float("nan")
    deviations = values - values[np.repeat(starts, counts)]  # from the first of each: equal scores differ by exactly 0
    means = np.add.reduceat(deviations, starts) / counts
    return float(np.sum((deviations - np.repeat(means, counts)) ** 2) / freedom)
