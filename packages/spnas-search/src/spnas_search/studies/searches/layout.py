"""Where architectures compute: how their multiply-adds are shared out among resolutions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean

from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture

SIZE = 1024
"""Side of the image in pixels at which multiply-adds are counted; every usual reduction divides it."""
STEM = 0
"""What stands for the stem where reductions are asked for."""


def shares_by_reduction(codes: Sequence[str]) -> Mapping[int, float]:
    """Return the shares of backbones' multiply-adds, means over codes, rows and fusions included.

    Args:
        codes: one or more.

    Returns:
        By reduction of a stage's output (4, 8, …), and ``STEM``; in order. They add up to 1.
    """
    found = [_shares(Architecture.parse(code)) for code in codes]
    return {key: fmean(shares.get(key, 0) for shares in found) for key in sorted(set().union(*found))}


def _shares(architecture: Architecture) -> Mapping[int, float]:
    cost = backbone_cost(architecture, SIZE, SIZE)
    spent: Counter[int] = Counter()
    for stage in cost.stages:
        spent[STEM if stage.name == "stem" else SIZE // stage.width] += stage.multiply_adds
    return {reduction: count / cost.multiply_adds for reduction, count in spent.items()}
