"""EfficientDet's neck: weighted top-down and bottom-up fusion in cheap, stacked cells.

Tan, Pang, Le, "EfficientDet: Scalable and Efficient Object Detection", CVPR 2020, sections 3 and 4.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from spnas_core.inheritance import Init
from spnas_core.networks import FeatureInfo
from spnas_detect.necks.layers import NormedConvolution, fitted, normed_initial
from spnas_detect.necks.levels import LevelMap, level_read

NORM_EPS, NORM_MOMENTUM = 1e-3, 0.01
FUSION_EPS = 1e-4
MAX_REPEATS = 8


class BiFPN(nn.Module):
    """A 1×1 convolution with batch norm per level, then stacked bidirectional cells.

    Args:
        features: what the backbone gives.
        out_channels: channels of every level.
        repeats: stacked cells; None for ``published_repeats``.
    """

    def __init__(self, features: FeatureInfo, out_channels: int, repeats: int | None = None) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.laterals = nn.ModuleList(
            NormedConvolution(channels, out_channels, 1, eps=NORM_EPS, momentum=NORM_MOMENTUM)
            for channels in features.channels()
        )
        self.cells = nn.ModuleList(
            Cell(features.reduction(), out_channels) for _ in range(repeats or published_repeats(out_channels))
        )

    def forward(self, features: "OrderedDict[str, Tensor]") -> "OrderedDict[str, Tensor]":
        """Compute one Tensor[N, out_channels, H_l, W_l] per level, finest first, under the features' names."""
        levels = [lateral(feature) for lateral, feature in zip(self.laterals, features.values(), strict=True)]
        for cell in self.cells:
            levels = cell(levels)
        return OrderedDict(zip(features, levels, strict=True))

    def initial(self, name: str) -> Init:
        """Fusion weights start equal, at one."""
        return Init("ones") if name.endswith("fusion") else normed_initial(name)

    def source_names(self, name: str, levels: LevelMap) -> Sequence[str]:
        """Laterals follow their features, nodes their cell, path and level."""
        if name.startswith("laterals."):
            kind, level, rest = name.split(".", 2)
            return [f"{kind}.{source}.{rest}" for source in levels.laterals(int(level))]
        cells, cell, path, level, rest = name.split(".", 4)
        source = levels.nearest(int(level))
        if path == "top_down":  # the coarsest level has no such node, unless it is the only level
            source = min(source, max(len(levels.parent) - 2, 0))
        return [f"{cells}.{cell}.{path}.{source}.{rest}"]

    def reads(self, name: str) -> int | None:
        """The laterals read the backbone."""
        return level_read(name, "laterals")


def published_repeats(channels: int) -> int:
    """EfficientDet's pairing of width and depth, 64 · 1.35^φ channels with 3 + φ cells, for any width.

    Examples: 3 cells at 64 channels, 4 at 88, 5 at 112; below the published widths 2 at 48 and 1 at 40 and less; at
    most 8, as in the largest model.
    """
    return min(max(round(3 + math.log(channels / 64, 1.35)), 1), MAX_REPEATS)


class Cell(nn.Module):
    """One top-down and one bottom-up pass over L levels (figure 2 d of the paper, in which L = 5).

    - top-down, from the second-coarsest level to the finest: T_l = node(I_l, upsampled T_(l+1)), where T_L = I_L;
    - bottom-up, from the second-finest level to the coarsest: O_l = node(I_l, pooled O_(l-1), T_l), where O_1 = T_1,
      and the coarsest level has no T_L of its own to add.

    Upsampling takes the nearest neighbour; pooling is the maximum over one cell more than the stride, centred as the
    backbone's strided convolutions are. A single level has one node that reads its input alone.

    Args:
        reductions: input pixels per feature pixel of each level, finest first.
        channels: of every level.
    """

    def __init__(self, reductions: Sequence[int], channels: int) -> None:
        super().__init__()
        coarsest = len(reductions) - 1
        self.strides = [coarser // finer for finer, coarser in pairwise(reductions)]
        self.top_down = nn.ModuleDict({str(level): Node(2, channels) for level in reversed(range(coarsest))})
        if coarsest == 0:
            self.top_down["0"] = Node(1, channels)
        self.bottom_up = nn.ModuleDict(
            {str(level): Node(2 if level == coarsest else 3, channels) for level in range(1, coarsest + 1)}
        )

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Fuse one Tensor[N, C, H_l, W_l] per level, finest first, into as many of the same sizes."""
        coarsest = len(inputs) - 1
        between = list(inputs)
        for name, node in self.top_down.items():
            level = int(name)
            sources = [inputs[level]]
            if level < coarsest:
                sources.append(fitted(between[level + 1], inputs[level].shape[-2:]))
            between[level] = node(sources)
        outputs = between[:1]
        for level, (stride, node) in enumerate(zip(self.strides, self.bottom_up.values(), strict=True), 1):
            pooled = outputs[-1]
            if stride > 1:
                pooled = functional.max_pool2d(pooled, stride + 1, stride, padding=stride // 2)
            sources = [inputs[level], fitted(pooled, inputs[level].shape[-2:])]
            if level < coarsest:
                sources.append(between[level])
            outputs.append(node(sources))
        return outputs


class Node(nn.Module):
    """Fast normalised fusion, swish, a depthwise separable 3×3 convolution, batch norm.

    The order is that of the authors' models; the paper's text names the activation last.

    Args:
        inputs: how many features are fused.
        channels: of each.
    """

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.fusion = nn.Parameter(torch.ones(inputs))
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = NormedConvolution(channels, channels, 1, eps=NORM_EPS, momentum=NORM_MOMENTUM)

    def shares(self) -> Tensor:
        """What each input contributes: ReLU(w_i) / (1e-4 + Σ_j ReLU(w_j)), a Tensor[inputs] in [0, 1] (section 3.3)."""
        weights = functional.relu(self.fusion)
        return weights / (FUSION_EPS + weights.sum())

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Fuse features of one size, Tensor[N, C, H, W] each."""
        fused, *others = [x * share for x, share in zip(inputs, self.shares().unbind(), strict=True)]
        convolved: Tensor = self.pointwise(self.depthwise(functional.silu(sum(others, start=fused))))
        return convolved
