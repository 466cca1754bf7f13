"""Branches of a backbone that learn objects of different sizes: scale-aware training, and what it detects.

Li et al., "Scale-Aware Trident Networks for Object Detection", ICCV 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from spnas_core.backbones import AnyBackbone, TridentBackbone
from spnas_core.errors import ConfigError
from spnas_detect.data.targets import PADDING, Targets
from spnas_detect.detectors.settings import DetectorSettings
from spnas_detect.heads.boxes import is_within
from spnas_kernels import assign_targets

PUBLISHED_RANGES: tuple[tuple[float, ...], ...] = ((0.0, 90.0), (30.0, 160.0), (90.0,))
"""Sizes that the three published branches learn, in pixels; the last has no end."""

STRANGE_OVERLAP = 0.3
"""IoU with an object of other sizes from which on a branch learns nothing of a box; the authors' configuration."""


class BranchTargets(NamedTuple):
    """What is learnt of a batch: by each branch objects of its sizes; by a backbone without branches everything.

    Attributes:
        targets: of N images, all branches' together; objects of other sizes are padding.
        strange: those objects, and all else is padding; None without branches.
        ranges: float32[N, 2]: least and greatest size √(width · height); None without branches.
    """

    targets: Targets
    strange: Targets | None = None
    ranges: Tensor | None = None

    def learns_anchors(self, anchors: Tensor) -> Tensor | None:
        """Say of which anchors something is learnt: of those unlike every object of other sizes, by IoU.

        A small anchor inside a large object is unlike it, and background for a branch of small objects.

        Args:
            anchors: float32[A, 4], the same for all images, or float32[N, A, 4].

        Returns:
            bool[N, A]; None for all.
        """
        if self.strange is None:
            return None
        rows = assign_targets(anchors, self.strange.boxes, self.strange.labels, STRANGE_OVERLAP, STRANGE_OVERLAP)
        return rows < 0

    def learns_proposals(self, proposals: Tensor) -> Tensor | None:
        """Say the same of float32[N, P, 4], which are to be of the branch's sizes, too."""
        learns = self.learns_anchors(proposals)
        return None if learns is None or self.ranges is None else learns & is_within(proposals, self.ranges)


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

    def spread(self, targets: Targets) -> BranchTargets:
        """Repeat targets for each branch, and set the objects apart that are of other sizes than it learns."""
        every = Targets(*(part.repeat(len(self.ranges), *[1] * (part.dim() - 1)) for part in targets))
        ranges = self._of_images(every.boxes)
        is_strange = (every.labels > PADDING) & ~is_within(every.boxes, ranges)
        return BranchTargets(_only(~is_strange, every), _only(is_strange, every), ranges)

    def merged(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Put the candidates of all branches together that are of the branch's own sizes.

        Args:
            boxes: float32[B · N, K, 4].
            scores: float32[B · N, K]; those of other sizes become 0.
            labels: int64[B · N, K].

        Returns:
            The same of N images, B · K candidates each.
        """
        kept = torch.where(is_within(boxes, self._of_images(boxes)), scores, 0.0)
        merged_boxes, merged_scores, merged_labels = (
            torch.cat(part.chunk(len(self.ranges)), dim=1) for part in (boxes, kept, labels)
        )
        return merged_boxes, merged_scores, merged_labels

    def _of_images(self, boxes: Tensor) -> Tensor:
        """float32[B · N, 2]: the range of each image of float32[B · N, K, 4]."""
        return boxes.new_tensor(self.ranges).repeat_interleave(len(boxes) // len(self.ranges), dim=0)


def _only(is_meant: Tensor, targets: Targets) -> Targets:
    """Turn all rows but bool[N, G] into padding."""
    boxes = torch.where(is_meant[..., None], targets.boxes, 0.0)
    return Targets(boxes, torch.where(is_meant, targets.labels, PADDING), targets.sizes)


def branch_targets(branches: Branches | None, targets: Targets) -> BranchTargets:
    """Say what is learnt of a batch."""
    return BranchTargets(targets) if branches is None else branches.spread(targets)


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
