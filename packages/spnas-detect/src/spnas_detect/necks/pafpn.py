"""PANet's neck: a feature pyramid with a second, bottom-up path.

Liu et al., "Path Aggregation Network for Instance Segmentation", CVPR 2018, section 3.1.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from spnas_core.inheritance import XAVIER_UNIFORM, ZEROS, Init
from spnas_core.networks import FeatureInfo
from spnas_detect.necks._base import refuse_repeats
from spnas_detect.necks.fpn import FPN
from spnas_detect.necks.layers import fitted
from spnas_detect.necks.levels import LevelMap

PYRAMID = "pyramid."


class PAFPN(nn.Module):
    """FPN levels P_l, and upon them N_1 = P_1, N_l = ReLU(conv3×3(ReLU(conv3×3, strided(N_(l-1))) + P_l)).

    The stride is the ratio of the two levels' reductions: 2, or more where stages in between are left out. As in the
    paper there is no norm, and the ReLUs stand behind the convolutions of the bottom-up path only.

    Args:
        features: what the backbone gives.
        out_channels: channels of every level.
        repeats: None or 1: the two paths are not stacked.

    Raises:
        ConfigError: more than one repeat.
    """

    def __init__(self, features: FeatureInfo, out_channels: int, repeats: int | None = None) -> None:
        super().__init__()
        refuse_repeats("pafpn", repeats)
        self.out_channels = out_channels
        self.pyramid = FPN(features, out_channels)
        self.reducing, self.fusing = nn.ModuleDict(), nn.ModuleDict()
        for level, (finer, coarser) in enumerate(pairwise(features.reduction()), 1):
            self.reducing[str(level)] = nn.Conv2d(out_channels, out_channels, 3, coarser // finer, padding=1)
            self.fusing[str(level)] = nn.Conv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, features: "OrderedDict[str, Tensor]") -> "OrderedDict[str, Tensor]":
        """Compute one Tensor[N, out_channels, H_l, W_l] per level, finest first, under the features' names."""
        levels: OrderedDict[str, Tensor] = self.pyramid(features)
        names = list(levels)
        for (finer, name), reduce, fuse in zip(
            pairwise(names), self.reducing.values(), self.fusing.values(), strict=True
        ):
            reduced = fitted(functional.relu(reduce(levels[finer])), levels[name].shape[-2:])
            levels[name] = functional.relu(fuse(reduced + levels[name]))
        return levels

    def initial(self, name: str) -> Init:
        """The pyramid as in FPN; behind it Caffe2's uniform Xavier for weights, zero biases."""
        if name.startswith(PYRAMID):
            return self.pyramid.initial(name)
        return XAVIER_UNIFORM if name.endswith("weight") else ZEROS

    def source_names(self, name: str, levels: LevelMap) -> Sequence[str]:
        """The pyramid follows its features as FPN does; the bottom-up path is inherited by level."""
        if name.startswith(PYRAMID):
            return [PYRAMID + source for source in self.pyramid.source_names(name.removeprefix(PYRAMID), levels)]
        path, level, rest = name.split(".", 2)
        return [f"{path}.{levels.nearest(int(level))}.{rest}"]

    def reads(self, name: str) -> int | None:
        """The pyramid's laterals read the backbone."""
        return self.pyramid.reads(name.removeprefix(PYRAMID)) if name.startswith(PYRAMID) else None
