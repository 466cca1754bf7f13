"""The module of a fixed network: levels by name, of the sizes that detectors expect."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torch.nn.functional import pad

from spnas_core.backbones._base import LevelInfo
from spnas_core.backbones.network import FixedNetwork
from spnas_core.backbones.probing import FINEST, build_trunk, canvas_unit
from spnas_core.errors import CodeError
from spnas_core.networks.features import FeatureInfo, StageInfo


class FixedBackbone(nn.Module):
    """A network by name, as a backbone.

    Many networks round sizes their own way where an image is no multiple of their coarsest reduction; some cannot take
    it at all. So images are padded by zeros, right and below, to such a multiple (for some with attention in windows to
    one of as many pixels as the coarsest windows have), and every level is cut to ceil(H / r) × ceil(W / r), as those
    of a code are.

    Args:
        network: which one.
        out_stages: names of the stages to return; all by default.

    Attributes:
        architecture: the network.
        feature_info: channels and reduction of the returned stages.
        trunk: the provider's module.

    Raises:
        CodeError: it has no such stage, its levels make no pyramid or are not as it says, it takes images of one size
            alone, or its library cannot build it.
    """

    def __init__(self, network: FixedNetwork, out_stages: Sequence[str] | None = None) -> None:
        super().__init__()
        self.architecture = network
        self.trunk = build_trunk(network)
        info = cast("LevelInfo", self.trunk.feature_info)
        self._places = _places(network, info.reduction())
        self._unit = canvas_unit(network)
        stages = [
            StageInfo(f"s{number}", info.channels()[place], info.reduction()[place])
            for number, place in enumerate(self._places, 1)
        ]
        self.feature_info = FeatureInfo(stages).chosen(out_stages, network)

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Map Tensor[N, 3, H, W] to ``{"s1": Tensor[N, C1, ceil(H/4), ceil(W/4)], …}``, finest first."""
        height, width = images.shape[-2:]
        padded = pad(images, (0, -width % self._unit, 0, -height % self._unit))
        levels = self.trunk(padded)
        features: OrderedDict[str, Tensor] = OrderedDict()
        for stage in self.feature_info.stages:
            level = levels[self._places[int(stage.name.removeprefix("s")) - 1]]
            features[stage.name] = level[
                ..., : math.ceil(height / stage.reduction), : math.ceil(width / stage.reduction)
            ]
        return features


def _places(network: FixedNetwork, reductions: Sequence[int]) -> tuple[int, ...]:
    """Return the places of the levels at 4, 8, 16, …; of several at one reduction the last, or all where they count."""
    last = {reduction: place for place, reduction in enumerate(reductions) if reduction >= FINEST}
    wanted = [FINEST << number for number in range(len(last))]
    if not last or sorted(last) != wanted:
        have = ", ".join(map(str, sorted(set(reductions))))
        raise CodeError(
            f"{network} has features at {have} pixels: a pyramid needs them at 4, 8, … without a gap; choose a network "
            "that has these"
        )
    if network.source.has_equal_levels:
        return tuple(place for place, reduction in enumerate(reductions) if reduction >= FINEST)
    return tuple(last[reduction] for reduction in wanted)
