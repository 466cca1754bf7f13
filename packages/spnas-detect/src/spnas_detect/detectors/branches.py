"""Branches of a backbone that learn objects of different sizes: scale-aware training, and what it detects.

Li et al., "Scale-Aware Trident Networks for Object Detection", ICCV 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spnas_core.backbones import AnyBackbone, TridentBackbone
from spnas_core.errors import ConfigError
from spnas_detect.data.targets import IGNORED, PADDING, Targets
from spnas_detect.detectors.settings import DetectorSettings

PUBLISHED_RANGES: tuple[tuple[float, ...], ...] = ((0.0, 90.0), (30.0, 160.0), (90.0,))
"""Sizes that the three published branches learn, in pixels; the last has no end."""


@dataclass(frozen=True)
class Branches:
    """Which objects each branch is for.

    The features of B branches of N images stand one after the other: B · N images, the first branch's in front.

    Attributes:
        ranges: per branch, least and greatest size √(width · height) in canvas pixels.
        is_exact: whether all branches detect, each objects of its own sizes; else the middle one detects all.
    """

    ranges: tuple[tuple[float, float], ...]
    is_exact: bool

    def spread(self, targets: Targets) -> Targets:
        """Repeat targets for each branch; objects of other sizes become regions in which that branch learns nothing."""
        parts = []
        for low, high in self.ranges:
            strange = (targets.labels > PADDING) & ~_within(targets.boxes, low, high)
            parts.append(targets.labels.masked_fill(strange, IGNORED))
        count = len(self.ranges)
        return Targets(targets.boxes.repeat(count, 1, 1), torch.cat(parts), targets.sizes.repeat(count, 1))

    def merged(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Put the candidates of all branches together that are of the branch's own sizes.

        Args:
            boxes: float32[B · N, K, 4].
            scores: float32[B · N, K]; those of other sizes become 0.
            labels: int64[B · N, K].

        Returns:
            The same of N images, B · K candidates each.
        """
        kept = [
            torch.where(_within(part, low, high), own, 0.0)
            for (low, high), part, own in zip(
                self.ranges, boxes.chunk(len(self.ranges)), scores.chunk(len(self.ranges)), strict=True
            )
        ]
        count = len(self.ranges)
        parted = (torch.cat(part.chunk(count), dim=1) for part in (boxes, labels))
        merged_boxes, merged_labels = parted
        return merged_boxes, torch.cat(kept, dim=1), merged_labels


def _within(boxes: Tensor, low: float, high: float) -> Tensor:
    """bool[…] of boxes […, 4]: √(width · height) lies in a range, ends included."""
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    return (area >= low**2) & (area <= high**2)


def branches_of(backbone: AnyBackbone, settings: DetectorSettings) -> Branches | None:
    """Return what the branches of a backbone are for; None where it has none.

    Raises:
        ConfigError: the settings have ranges for another number of branches, or for a backbone without any.
    """
    ranges = settings.branch_ranges
    if not isinstance(backbone, TridentBackbone):
        if ranges is not None or settings.branch_detection is not None:
            raise ConfigError(
                f"{'branch_ranges' if ranges is not None else 'branch_detection'} is of backbones with branches, and "
                f"{backbone.architecture} has none: leave it out, or take trident({backbone.architecture})"
            )
        return None
    chosen = PUBLISHED_RANGES if ranges is None else ranges
    if len(chosen) != backbone.branches:
        raise ConfigError(
            f"branch_ranges has {len(chosen)} ranges, and {backbone.architecture} {backbone.branches} branches: give "
            "each branch one"
        )
    return Branches(tuple(map(_ends, chosen)), settings.branch_detection == "exact")


def _ends(sizes: Sequence[float]) -> tuple[float, float]:
    """Return least and greatest size; a range of one number has no end."""
    return sizes[0], sizes[1] if len(sizes) > 1 else float("inf")
