"""RoI pooling over a feature pyramid."""

from collections.abc import Sequence

import torch
from torch import Tensor

from spnas_core.networks import FeatureInfo
from spnas_detect.heads.operators import operators


class PyramidPooler:
    """Pools every proposal from the level that fits its size, all levels and images in one call.

    Args:
        info: the levels that are pooled from, finest first; features behind them are left alone.
        output_size: height and width of what is pooled.
        sampling_ratio: samples per bin and axis.
        finest_size: side, in pixels, up to twice which proposals are pooled from the finest level; each further level
            takes those up to twice as large.
    """

    def __init__(self, info: FeatureInfo, output_size: int, sampling_ratio: int, finest_size: float) -> None:
        self.scales = [1 / reduction for reduction in info.reduction()]
        self.output_size = output_size
        self.sampling_ratio = sampling_ratio
        self.finest_size = finest_size

    def __call__(self, features: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """Pool float32[N, S, 4]: Tensor[N·S, C, output_size, output_size] in the features' dtype."""
        images, count = boxes.shape[:2]
        owners = torch.arange(images, device=boxes.device, dtype=boxes.dtype)[:, None, None].expand(-1, count, 1)
        return operators().pool(
            features[: len(self.scales)],
            torch.cat([owners, boxes], dim=-1).reshape(-1, 5),
            self.output_size,
            self.scales,
            sampling_ratio=self.sampling_ratio,
            canonical_size=self.finest_size,
            canonical_level=0,
            first_level=0,
        )
