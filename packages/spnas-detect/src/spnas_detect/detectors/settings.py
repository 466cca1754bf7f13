"""Settings of detectors."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]


class DetectorSettings(BaseModel):
    """Sizes of neck and heads. The defaults suit small backbones and small images.

    Attributes:
        detector: name of a registered detector.
        neck: name of a registered neck.
        neck_channels: channels of every level.
        neck_repeats: stacked cells of a neck that stacks (``bifpn``, ``nas-fpn``); None for what its paper pairs with
            ``neck_channels``.
        head_channels: width of the fully connected layers of the box head.
        tower_depth: convolutions of each tower of a dense head (RetinaNet) before the last.
        anchor_scales: anchor size per level in multiples of the level's stride.
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
        focal_alpha: weight of the positives in the focal loss (RetinaNet).
        focal_gamma: how fast that loss lets go of what is classified well.
        dense_candidates: pairs of anchor and class per level that enter NMS (RetinaNet).
        score_threshold: detections at or below it are left out.
        nms_threshold: IoU above which the lower-scored detection of a class goes.
        max_detections: per image.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    detector: str = "faster-rcnn"
    neck: str = "fpn"
    neck_channels: Positive = 32
    neck_repeats: Positive | None = None
    head_channels: Positive = 128
    tower_depth: int = Field(4, ge=0)
    anchor_scales: tuple[Annotated[float, Field(gt=0)], ...] = Field((2.8, 4.0), min_length=1)
    aspect_ratios: tuple[Annotated[float, Field(gt=0)], ...] = Field((1.0,), min_length=1)
    rpn_proposals: Positive = 100
    rpn_candidates: Positive | None = None
    rpn_samples: Positive = 64
    box_samples: Positive = 48
    pooled_size: Positive = 5
    sampling_ratio: Positive = 1
    finest_size: Annotated[float, Field(gt=0)] | None = None
    focal_alpha: float = Field(0.25, ge=0, le=1)
    focal_gamma: float = Field(2.0, ge=0)
    dense_candidates: Positive = 1000
    score_threshold: float = Field(0.02, ge=0, lt=1)
    nms_threshold: float = Field(0.5, gt=0, le=1)
    max_detections: Positive = 50
