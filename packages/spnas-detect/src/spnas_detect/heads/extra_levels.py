"""Levels coarser than the neck's, for large objects."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from spnas_core.inheritance import XAVIER_UNIFORM, ZEROS, Init
from spnas_core.networks import FeatureInfo, StageInfo
from spnas_detect.necks.levels import LevelMap

ExtraKind = Literal["none", "pool", "conv", "stage-conv", "stage-pool"]
COUNTS: dict[str, int] = {"none": 0, "pool": 1, "conv": 2, "stage-conv": 2, "stage-pool": 2}
MERGED = frozenset({"stage-pool"})
"""Kinds that are made before the neck, which merges them with the others."""
FIRST = "p6"
"""The convolution that makes the first extra level, in torchvision's naming whatever the level's number is."""


class ExtraLevels(nn.Module):
    """One or two levels beyond the coarsest, each half as wide and high (rounded up).

    - ``pool``: every second pixel. Lin et al., "Feature Pyramid Networks for Object Detection", section 4.1.
    - ``conv``: P6 = conv3x3(P5), P7 = conv3x3(ReLU(P6)), both of stride 2: torchvision's RetinaNet.
    - ``stage-conv``: P6 = conv3x3(C5) of the backbone's features. Lin et al., "Focal Loss for Dense Object Detection",
      section 4, and the second version of torchvision's RetinaNet.
    - ``stage-pool``: P6 and P7 stand for C6 and C7, which are C5 and C6 after max pooling, 3×3 by stride 2: made before
      the neck, which reads them as it reads stages. So do Ghiasi et al., "NAS-FPN", and Tan et al., "EfficientDet", who
      pool what one lateral has made of C5; here each level has a lateral of its own, as stages have.

    Args:
        kind: one of these; ``none`` is for who makes no such module.
        stage_channels: of the backbone's coarsest stage that the neck reads.
        channels: of every level.
    """

    def __init__(self, kind: ExtraKind, stage_channels: int, channels: int) -> None:
        super().__init__()
        self.kind = kind
        if kind not in {"pool", "stage-pool"}:
            inputs = channels if kind == "conv" else stage_channels
            self.p6 = nn.Conv2d(inputs, channels, 3, stride=2, padding=1)
            self.p7 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    @property
    def is_merged(self) -> bool:
        """Whether the levels are made before the neck, by ``before``, and not behind it."""
        return self.kind in MERGED

    def before(self, features: "OrderedDict[str, Tensor]") -> "OrderedDict[str, Tensor]":
        """Add the features that the neck makes the extra levels of, each Tensor[N, stage_channels, H, W].

        Args:
            features: of the backbone, finest first.
        """
        found = OrderedDict(features)
        for _ in range(COUNTS[self.kind]):
            name, last = next(reversed(found.items()))
            found[coarser_name(name)] = functional.max_pool2d(last, kernel_size=3, stride=2, padding=1)
        return found

    def forward(self, level: Tensor, feature: Tensor) -> list[Tensor]:
        """Compute the extra levels behind the neck, finer first.

        Args:
            level: Tensor[N, channels, H, W], the neck's coarsest.
            feature: Tensor[N, stage_channels, H, W], the stage that it stands for.
        """
        if self.is_merged:
            raise RuntimeError(f"levels of kind {self.kind!r} are made before the neck, by detectors.pyramid.pyramid")
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
        stages.append(StageInfo(coarser_name(last.name), last.channels, 2 * last.reduction))
    return FeatureInfo(stages)


def merged_features(info: FeatureInfo, kind: ExtraKind | None) -> FeatureInfo:
    """Describe what a neck reads: what the backbone gives, and what is made of that before the neck."""
    return with_extra(info, kind) if kind in MERGED else info


def coarser_name(name: str) -> str:
    """Name the level behind one of a name."""
    return f"{name}/2"
