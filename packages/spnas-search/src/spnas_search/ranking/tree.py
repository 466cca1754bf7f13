"""A tree of descent in an order in which whole generations are computed at once."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from spnas_search.ranking._base import Floats, Integers


@dataclass(frozen=True, eq=False)
class Level:
    """Nodes of equal depth, which lie next to each other, siblings beside siblings.

    Attributes:
        nodes: slice of places.
        parents: place of each node's parent.
        families: where, counted from the level's first node, each group of siblings begins.
        heads: place of each family's parent.
    """

    nodes: slice
    parents: Integers
    families: Integers
    heads: Integers


class Tree:
    """Nodes in order of depth, then parent.

    A node's *place* is its position in that order; the start's is 0, and a parent's is below its children's.

    Args:
        parents: [n] number of each node's parent, below its own; -1 for node 0.

    Attributes:
        places: [n] place of each node.
        order: [n] node at each place.
        parents: [n] place of the parent of the node at each place; -1 for the first.
        levels: nodes by depth, from 1 on.
    """

    def __init__(self, parents: Integers) -> None:
        size = len(parents)
        depths = _depths(parents)
        self.order: Integers = np.argsort(depths * size + parents, kind="stable")
        self.places: Integers = np.empty(size, np.int64)
        self.places[self.order] = np.arange(size)
        self.parents: Integers = self.places[parents[self.order]]
        self.parents[0] = -1
        self.levels: list[Level] = []
        begins = np.searchsorted(depths[self.order], np.arange(1, depths.max() + 2)).tolist()
        families = np.flatnonzero(np.diff(self.parents, prepend=-2))
        cuts = np.searchsorted(families, begins).tolist()
        for place, low, high in zip(range(len(begins) - 1), begins, begins[1:], strict=False):
            first = families[cuts[place] : cuts[place + 1]]
            above = self.parents[low:high]
            self.levels.append(Level(slice(low, high), above, first - low, self.parents[first]))

    def __len__(self) -> int:
        """How many nodes there are."""
        return len(self.order)

    def sums_from_start(self, steps: Floats) -> Floats:
        """Return the sum of the rows on the path from the start to each place.

        Args:
            steps: [n, k] by place; the start's row counts for every node.
        """
        sums = steps.copy()
        for level in self.levels:
            sums[level.nodes] += sums[level.parents]
        return sums

    def paths_to_common_ancestor(self, one: int, other: int) -> tuple[list[int], list[int], int]:
        """Return the places on the ways from two places up to where they meet, both without it, and that place."""
        left, right = [], []
        parents = self.parents
        while one != other:
            if one > other:
                left.append(one)
                one = int(parents[one])
            else:
                right.append(other)
                other = int(parents[other])
        return left, right, one


def sum_runs(rows: Floats, begins: Integers) -> Floats:
    """Return [k, ...] sums of runs of rows: where runs are short, numpy's ``reduceat`` takes thrice as long.

    Rows are added one after the other, so a sum depends on its own rows alone.

    Args:
        rows: [n, ...].
        begins: [k] first row of each run, ascending from 0.
    """
    flat = rows.reshape(len(rows), -1)
    ones = np.ones(len(rows)), np.arange(len(rows)), np.append(begins, len(rows))
    summed: Floats = csr_array(ones, shape=(len(begins), len(rows))) @ flat
    return summed.reshape(len(begins), *rows.shape[1:])


def _depths(parents: Integers) -> Integers:
    """Return the number of edges to node 0, in as many passes as the depth has binary digits."""
    above = np.maximum(parents, 0)
    depths: Integers = (parents >= 0).astype(np.int64)
    while above.any():
        depths += depths[above]
        above = above[above]
    return depths
