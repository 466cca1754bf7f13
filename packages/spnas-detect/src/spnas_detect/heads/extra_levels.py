"""Levels coarser than the neck's, for large objects."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from spnas_core.inheritance import XAVIER_UNIFORM, ZEROS, Init
from spnas_core.networks import FeatureInfo, StageInfo
from spnas_detect.necks.levels import LevelMap

ExtraKind = Literal["none", "pool", "conv", "stage-conv"]
COUNTS: dict[str, int] = {"none": 0, "pool": 1, "conv": 2, "stage-conv": 2}
FIRST = "p6"
"""The convolution that makes the first extra level, in torchvision's naming whatever the level's number is."""


class ExtraLevels(nn.Module):
    """One or two levels beyond the coarsest, each half as wide and high (rounded up).

    - ``pool``: every second pixel. Lin et al., "Feature Pyramid Networks for Object Detection", section 4.1.
    - ``conv``: P6 = conv3x3(P5), P7 = conv3x3(ReLU(P6)), both of stride 2: torchvision's RetinaNet.
    - ``stage-conv``: P6 = conv3x3(C5) of the backbone's features. Lin et al., "Focal Loss for Dense Object Detection",
      section 4, and the second version of torchvision's RetinaNet.

    Args:
        kind: one of these; ``none`` is for who makes no such module.
        stage_channels: of the backbone's coarsest stage that the neck reads.
        channels: of every level.
    """

    def __init__(self, kind: ExtraKind, stage_channels: int, channels: int) -> None:
        super().__init__()
        self.kind = kind
        if kind != "pool":
            inputs = channels if kind == "conv" else stage_channels
            self.p6 = nn.Conv2d(inputs, channels, 3, stride=2, padding=1)
            self.p7 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, level: Tensor, feature: Tensor) -> list[Tensor]:
        """Compute the extra levels, finer first.

        Args:
            level: Tensor[N, channels, H, W], the neck's coarsest.
            feature: Tensor[N, stage_channels, H, W], the stage that it stands for.
        """
        if self.kind == "pool":
            return [functional.max_pool2d(level, kernel_size=1, stride=2)]
        first = self.p6(level if self.kind == "conv" else feature)
        return [first, self.p7(functional.relu(first))]

    def initial(self, name: str) -> Init:
        """Caffe2's uniform Xavier for weights, zero biases, as in FPN."""
        return XAVIER_UNIFORM if name.endswith("weight") else ZEROS

    def source_names(self, name: str, levels: LevelMap) -> Sequence[str]:
        """By name: they continue the coarsest level, whichever it is."""
        return [name]

    def reads(self, name: str) -> int | None:
        """The first convolution of ``stage-conv`` reads the backbone's coarsest stage, level -1."""
        return -1 if self.kind == "stage-conv" and name == f"{FIRST}.weight" else None


def with_extra(info: FeatureInfo, kind: ExtraKind | None) -> FeatureInfo:
    """Add the extra levels to the description of the neck's; each has twice the coarsest stride before it."""
    stages = list(info.stages)
    for _ in range(0 if kind is None else COUNTS[kind]):
        last = stages[-1]
        stages.append(StageInfo(f"{last.name}/2", last.channels, 2 * last.reduction))
    return FeatureInfo(stages)
