"""Feature pyramid network.

Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017.
"""

from collections.abc import Sequence

from torchvision.ops import FeaturePyramidNetwork

from spnas_core.inheritance import Init
from spnas_core.networks import FeatureInfo
from spnas_detect.necks._base import PUBLISHED_CHANNELS, refuse_repeats
from spnas_detect.necks.levels import LevelMap, level_read

LATERAL = "inner_blocks"


class FPN(FeaturePyramidNetwork):  # type: ignore[misc]
    """torchvision's FPN on any number of stages.

    Args:
        features: what the backbone gives.
        out_channels: channels of every level.
        repeats: None or 1: the pyramid is not stacked.

    Raises:
        ConfigError: more than one repeat.
    """

    def __init__(self, features: FeatureInfo, out_channels: int, repeats: int | None = None) -> None:
        refuse_repeats("fpn", repeats)
        super().__init__(features.channels(), out_channels)
        self.out_channels = out_channels

    def initial(self, name: str) -> Init:
        """Caffe2's uniform Xavier for weights, zero biases; of fewer channels than published, centred isometries.

        A narrow pyramid of random weights loses much of the few features that it reads, and what is common to all of
        them, which are positive, covers the rest. How well trainings went was decided by these weights more than by
        all that was drawn later (docs/benchmarks.md, "First values, and the luck of a training").
        """
        is_narrow = self.out_channels < PUBLISHED_CHANNELS
        if name.endswith("weight"):
            return Init("delta-orthogonal" if is_narrow else "xavier-uniform")
        return Init("centred" if is_narrow else "zeros")

    def source_names(self, name: str, levels: LevelMap) -> Sequence[str]:
        """Follow a lateral to the parent stage whose features it reads, an output convolution to its level."""
        kind, level, rest = name.split(".", 2)
        sources = levels.laterals(int(level)) if kind == LATERAL else [levels.nearest(int(level))]
        return [f"{kind}.{source}.{rest}" for source in sources]

    def reads(self, name: str) -> int | None:
        """The laterals read the backbone."""
        return level_read(name, LATERAL)
