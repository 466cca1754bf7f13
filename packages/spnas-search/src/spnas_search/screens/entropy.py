"""A screen that looks at the code alone: the entropy of its features, before any training.

Sun et al., "MAE-DET: Revisiting Maximum Entropy Principle in Zero-Shot NAS for Efficient Object Detection", ICML 2022,
in its analytic form.
"""

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from spnas_core.blocks import PROJECTION, ConvLayer, described_layers
from spnas_core.configuration import Few, Table
from spnas_core.encoding import Architecture
from spnas_core.networks import stage_placements
from spnas_core.space import SearchSpace
from spnas_core.stems import stem_spec
from spnas_search.archive import Archive, Proposal

MIDDLE, LAST = 1.0, 6.0
"""Weights of the stages; the first has none."""


class EntropyScreenSettings(Table):
    """The ``[screen]`` table of the entropy screen.

    Attributes:
        name: the screen's name.
        draws: rounds of children that are drawn for one that is trained.
    """

    name: Literal["entropy"] = "entropy"
    draws: Few = Field(4, ge=1)


class EntropyScreen:
    """Prefers children by the entropy that their features would have with random weights.

    The score grows with depth without end: without a bound on blocks or multiply-adds (``space``) the deepest child
    always wins.

    Args:
        settings: the ``[screen]`` table.
        space: bounds of the search; not looked at.
    """

    def __init__(self, settings: EntropyScreenSettings, space: SearchSpace) -> None:
        del space
        self.settings = settings

    def preferences(self, archive: Archive, proposals: Sequence[Proposal]) -> Sequence[float]:
        """Score the codes, whatever the archive holds."""
        return [entropy_score(one.rewrite.child) for one in proposals]


def entropy_score(architecture: Architecture) -> float:
    """Return the multi-scale entropy of a code's main path: 0 · H_1 + H_2 + … + H_(S-1) + 6 · H_S.

    Of a chain of convolutions with Gaussian weights and inputs, norms and shortcuts left out, the logarithm of a
    feature's standard deviation grows by ½ · log(c_in · k²) with each layer; H_s is that sum up to the end of stage s,
    the stem included, and the logarithm of the stage's channels. Of grouped convolutions c_in is that of a group.
    Projections are shortcuts, and rows and gates are left out.
    """
    entropies = stage_entropies(architecture)
    weights = [0.0, *[MIDDLE] * (len(entropies) - 2), LAST] if len(entropies) > 1 else [LAST]
    return sum(weight * entropy for weight, entropy in zip(weights, entropies, strict=True))


def stage_entropies(architecture: Architecture) -> list[float]:
    """Return H of each stage; see ``entropy_score``."""
    deviation = sum(map(_growth, described_layers(stem_spec(architecture.stem), architecture.base)))
    found = []
    for stage in stage_placements(architecture):
        deviation += sum(
            _growth(layer)
            for block in stage.blocks
            for layer in block.layers
            if layer.name != PROJECTION and not layer.is_pooled
        )
        found.append(deviation + math.log(stage.out_channels))
    return found


def _growth(layer: ConvLayer) -> float:
    return math.log(layer.in_channels / layer.groups * layer.kernel**2) / 2
