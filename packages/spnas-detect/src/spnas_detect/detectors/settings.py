"""Settings of detectors."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from spnas_core.configuration import Count, Extent, Few, Table
from spnas_detect.heads.box_losses import BoxLoss

Positive = Annotated[Count, Field(ge=1)]
Width = Annotated[Extent, Field(ge=1)]
Small = Annotated[Few, Field(ge=1)]
Size = Annotated[float, Field(gt=0, le=2**16)]


def _ascending_stages(names: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse names that are no stages from the finest to the coarsest, ``+`` behind the last one only."""
    numbers = []
    for place, name in enumerate(names, 1):
        digits = name.removesuffix("+") if place == len(names) else name
        if not (digits.startswith("s") and digits[1:].isdecimal() and digits[1] != "0"):
            raise ValueError(f"must be stages as s1, s2, …, a + behind the last one at most, and {name!r} is none")
        numbers.append(int(digits[1:]))
    if any(coarser <= finer for finer, coarser in pairwise(numbers)):
        raise ValueError("must go from the finest stage to the coarsest, each once")
    return names


def _equally_many(levels: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
    if len({len(sizes) for sizes in levels}) > 1:
        raise ValueError("must have as many sizes for each level, since all levels share the heads")
    return levels


def _ascending_ends(ranges: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
    for ends in ranges:
        if len(ends) == 2 and ends[0] >= ends[1]:
            raise ValueError(f"must have the least size in front of the greatest, and one range is {list(ends)}")
    return ranges


Levels = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_ascending_stages)]
AnchorSizes = Annotated[
    tuple[Annotated[tuple[Size, ...], Field(min_length=1)], ...], Field(min_length=1), AfterValidator(_equally_many)
]

Ranges = Annotated[
    tuple[Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1, max_length=2)], ...],
    Field(min_length=1),
    AfterValidator(_ascending_ends),
]


class DetectorSettings(Table):
    """Sizes of neck and heads. The defaults suit small backbones and small images.

    Attributes:
        detector: name of a registered detector.
        neck: name of a registered neck.
        levels: stages of the backbone that the neck reads, such as ``("s2", "s3", "s4")``; ``s4+`` is s4 and all
            coarser ones that an architecture has. None for all. A stage behind the last one is not computed.
        extra_levels: coarser levels beyond the stages', for large objects: ``pool`` adds one, every second pixel of the
            coarsest level (Lin et al., "FPN", for proposals alone); ``conv`` adds two by strided convolutions of that
            level, as torchvision's RetinaNet; ``stage-conv`` reads the backbone's coarsest stage in its place, as the
            paper's RetinaNet; ``stage-pool`` pools that stage twice before the neck, which merges all, as EfficientDet
            and NAS-FPN. None and ``none`` add none.
        neck_channels: channels of every level.
        neck_repeats: stacked cells of a neck that stacks (``bifpn``, ``nas-fpn``); None for what its paper pairs with
            ``neck_channels``.
        head_channels: width of the fully connected layers of the box head.
        tower_depth: convolutions of each tower of a dense head (RetinaNet) before the last.
        anchor_scales: anchor size per level in multiples of the level's stride; of levels of one stride each has twice
            the sizes of the one before.
        anchor_sizes: anchor sizes of each level in pixels, finest level first, in place of ``anchor_scales``; as many
            for each level. A level beyond the last entry has that entry's sizes, times the ratio of the strides.
        anchor_strides: how far apart anchors stand: their level's stride (None and ``level``), or ``canvas``: the
            canvas divided by the level's size, rounded down, as torchvision has it, which is less where the stride
            does not divide the canvas (61 and not 64 on level 6 of 800 pixels).
        aspect_ratios: height / width of the anchors.
        rpn_proposals: proposals per image that reach the box head (after NMS).
        rpn_candidates: anchors per level that enter NMS; by default all levels together have five times as many as
            proposals remain.
        rpn_samples: anchors per image in the proposal loss.
        box_samples: proposals per image in the box loss.
        pooled_size: width and height of a pooled proposal, in cells.
        finest_size: side, in pixels, up to twice which proposals are pooled from the finest level, twice as large ones
            from the next, …; by default the size of the smallest anchor. FPN has 56 on a finest stride of 4.
        sampling_ratio: bilinear samples per cell along each side.
        box_loss: what refined boxes are trained for: ``smooth-l1`` (None, too; Girshick, "Fast R-CNN") or ``l1`` (None
            in RetinaNet) of the deltas, or overlap with the object: ``giou`` (Rezatofighi et al.), ``diou`` or ``ciou``
            (Zheng et al.).
        box_loss_weight: that it is multiplied by; None for 1. Losses of overlap are small for good boxes: in two-stage
            detectors they are usually given 5 to 10.
        rpn_box_loss: as ``box_loss``, of the anchors that are refined to proposals.
        rpn_box_loss_weight: that it is multiplied by; None for 1.
        focal_alpha: weight of the positives in the focal loss (RetinaNet).
        focal_gamma: how fast that loss lets go of what is classified well.
        dense_candidates: pairs of anchor and class per level that enter NMS (RetinaNet).
        branch_ranges: of a backbone ``trident(…)``, the sizes √(width · height) of the objects that each branch learns,
            in pixels of the canvas: least and greatest, or the least alone; None for the published 0–90, 30–160 and
            from 90. Other objects are regions in which the branch learns nothing.
        branch_detection: how such a backbone detects: ``fast`` (None, too) by its middle branch, ``exact`` by all, each
            what is of its sizes.
        score_threshold: detections at or below it are left out.
        nms_threshold: IoU above which the lower-scored detection of a class goes.
        max_detections: per image.
    """

    detector: str = "faster-rcnn"
    neck: str = "fpn"
    levels: Levels | None = None
    extra_levels: Literal["none", "pool", "conv", "stage-conv", "stage-pool"] | None = None
    neck_channels: Width = 32
    neck_repeats: Small | None = None
    head_channels: Width = 128
    tower_depth: Few = Field(4, ge=0)
    anchor_scales: tuple[Size, ...] = Field((2.8, 4.0), min_length=1)
    anchor_sizes: AnchorSizes | None = None
    anchor_strides: Literal["level", "canvas"] | None = None
    aspect_ratios: tuple[Size, ...] = Field((1.0,), min_length=1)
    rpn_proposals: Positive = 100
    rpn_candidates: Positive | None = None
    rpn_samples: Positive = 64
    box_samples: Positive = 48
    pooled_size: Small = 5
    sampling_ratio: Small = 1
    finest_size: Size | None = None
    box_loss: BoxLoss | None = None
    box_loss_weight: float | None = Field(None, gt=0)
    rpn_box_loss: BoxLoss | None = None
    rpn_box_loss_weight: float | None = Field(None, gt=0)
    focal_alpha: float = Field(0.25, ge=0, le=1)
    focal_gamma: float = Field(2.0, ge=0)
    dense_candidates: Positive = 1000
    branch_ranges: Ranges | None = None
    branch_detection: Literal["fast", "exact"] | None = None
    score_threshold: float = Field(0.02, ge=0, lt=1)
    nms_threshold: float = Field(0.5, gt=0, le=1)
    max_detections: Positive = 50
