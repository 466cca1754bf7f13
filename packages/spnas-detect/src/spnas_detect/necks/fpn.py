"""Feature pyramid network, and how its lateral connections follow their features through a morphism.

Lin et al., "Feature Pyramid Networks for Object Detection".
"""

from collections.abc import Sequence

from torchvision.ops import FeaturePyramidNetwork

from spnas_core.encoding import Architecture
from spnas_core.inheritance import Init
from spnas_core.morphisms import Rewrite
from spnas_core.networks import FeatureInfo

LATERAL = "inner_blocks"
OUTPUT = "layer_blocks"


class FPN(FeaturePyramidNetwork):  # type: ignore[misc]
    """torchvision's FPN on any number of stages.

    Args:
        features: what the backbone gives.
        out_channels: channels of every level.
    """

    def __init__(self, features: FeatureInfo, out_channels: int) -> None:
        super().__init__(features.channels(), out_channels)
        self.out_channels = out_channels

    def initial(self, name: str) -> Init:
        """Caffe2's uniform Xavier for weights, zero biases."""
        return Init("xavier-uniform") if name.endswith("weight") else Init("zeros")

    def source_names(self, name: str, rewrite: Rewrite) -> Sequence[str]:
        """Follow a lateral to the parent stage whose features it reads, an output convolution to its level."""
        kind, level, rest = name.split(".", 2)
        stage = int(level)
        own = f"{kind}.{min(stage, len(rewrite.parent.stages) - 1)}.{rest}"
        if kind != LATERAL:
            return [own]
        source = source_stages(rewrite)[stage]
        return [own] if source is None else [f"{kind}.{source}.{rest}", own]


def source_stages(rewrite: Rewrite) -> tuple[int | None, ...]:
    """Find, per child stage, the parent stage (both from 0) whose output lives in the same channels.

    Shortcuts carry channels unchanged through a run of ``1`` blocks, so all outputs between two doublings speak one
    language: a lateral connection trained on one of them reads the others. Of the parent stages that end in the
    same run as the child stage's last block, the one that ends nearest is taken, of equally near ones the later.

    Example: 11-21 → 112-1 moves a border right. The child's first stage ends with what was the first block of the
    parent's second stage, so both of the child's laterals come from the parent's second.
    """
    parent_runs = _runs(rewrite.parent)
    ends = _stage_ends(rewrite.parent)
    found: list[int | None] = []
    for end in _stage_ends(rewrite.child):
        # A new block starts as its shortcut: its output is that of the nearest inherited block before it.
        origin = next((rewrite.block_map[i] for i in range(end, -1, -1) if rewrite.block_map[i] is not None), None)
        if origin is None:
            found.append(None)
            continue
        same_run = [stage for stage, last in enumerate(ends) if parent_runs[last] == parent_runs[origin]]
        found.append(min(same_run, key=lambda stage: (abs(ends[stage] - origin), -stage), default=None))
    return tuple(found)


def _runs(architecture: Architecture) -> list[int]:
    """Number of doublings up to and including each block."""
    runs, doublings = [], 0
    for digit in architecture.digits:
        doublings += digit == "2"
        runs.append(doublings)
    return runs


def _stage_ends(architecture: Architecture) -> list[int]:
    return [border - 1 for border in (*architecture.borders, len(architecture.digits))]
