"""HRNet's neck for detection: all stages together, then averaged down to a pyramid.

Sun et al., "High-Resolution Representations for Labeling Pixels and Regions", 2019, section 3 (HRNetV2p).
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from spnas_core.inheritance import XAVIER_UNIFORM, ZEROS, Init
from spnas_core.networks import FeatureInfo
from spnas_detect.necks._base import refuse_repeats
from spnas_detect.necks.layers import fitted
from spnas_detect.necks.levels import LevelMap, level_read

GATHERING, SHIFT = "gathering", "shift"


class HRFPN(nn.Module):
    """Level l = conv3×3(averages over 2^l × 2^l of conv1×1 of all stages, each brought to the finest one's size).

    The paper enlarges the stages, joins their channels and convolves them at once. A 1×1 convolution of joined channels
    is the sum of one per stage, and commutes with bilinear interpolation; so each stage is convolved where it is small,
    and each has a weight of its own that a child can inherit. There is no norm and no activation.

    Args:
        features: what the backbone gives.
        out_channels: channels of every level.
        repeats: None or 1: it is not stacked.

    Raises:
        ConfigError: more than one repeat.
    """

    def __init__(self, features: FeatureInfo, out_channels: int, repeats: int | None = None) -> None:
        super().__init__()
        refuse_repeats("hrfpn", repeats)
        self.out_channels = out_channels
        self.factors = [reduction // features.reduction()[0] for reduction in features.reduction()]
        self.gathering = nn.ModuleList(
            nn.Sequential(OrderedDict(conv=nn.Conv2d(channels, out_channels, 1, bias=False)))
            for channels in features.channels()
        )
        self.shift = nn.Parameter(torch.zeros(out_channels))
        self.smoothing = nn.ModuleList(nn.Conv2d(out_channels, out_channels, 3, padding=1) for _ in self.factors)

    def forward(self, features: "OrderedDict[str, Tensor]") -> "OrderedDict[str, Tensor]":
        """Compute one Tensor[N, out_channels, H_l, W_l] per level, finest first, under the features' names."""
        size = next(iter(features.values())).shape[-2:]
        joined = self.shift[:, None, None]
        for convolve, stage in zip(self.gathering, features.values(), strict=True):
            gathered = convolve(stage)
            if gathered.shape[-2:] != size:  # to the size, not by a factor: sizes need not be multiples
                gathered = functional.interpolate(gathered, size=size, mode="bilinear", align_corners=False)
            joined = joined + gathered
        levels: OrderedDict[str, Tensor] = OrderedDict()
        for (name, stage), factor, smooth in zip(features.items(), self.factors, self.smoothing, strict=True):
            averaged = functional.avg_pool2d(joined, factor, ceil_mode=True) if factor > 1 else joined
            levels[name] = smooth(fitted(averaged, stage.shape[-2:]))
        return levels

    def initial(self, name: str) -> Init:
        """Caffe2's uniform Xavier for weights, zero biases, as in FPN."""
        return XAVIER_UNIFORM if name.endswith("weight") else ZEROS

    def source_names(self, name: str, levels: LevelMap) -> Sequence[str]:
        """What gathers a stage follows the parent stage whose features it reads, what smooths a level its level."""
        if name == SHIFT:
            return [name]
        kind, level, rest = name.split(".", 2)
        sources = levels.laterals(int(level)) if kind == GATHERING else [levels.nearest(int(level))]
        return [f"{kind}.{source}.{rest}" for source in sources]

    def reads(self, name: str) -> int | None:
        """What gathers the stages reads the backbone."""
        return level_read(name, GATHERING)
