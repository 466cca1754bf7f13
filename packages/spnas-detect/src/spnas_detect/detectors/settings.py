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
        head_channels: width of the fully connected layers of the box head.
        anchor_scales: anchor size per level in multiples of the level's stride.
        aspect_ratios: height / width of the anchors.
        rpn_proposals: proposals per image that reach the box head (after NMS); five times as many enter NMS.
        rpn_samples: anchors per image in the proposal loss.
        box_samples: proposals per image in the box loss.
        pooled_size: width and height of a pooled proposal, in cells.
        sampling_ratio: bilinear samples per cell along each side.
        score_threshold: detections below it are left out.
        nms_threshold: IoU above which the lower-scored detection of a class goes.
        max_detections: per image.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    detector: str = "faster-rcnn"
    neck: str = "fpn"
    neck_channels: Positive = 32
    head_channels: Positive = 128
    anchor_scales: tuple[Annotated[float, Field(gt=0)], ...] = Field((2.8, 4.0), min_length=1)
    aspect_ratios: tuple[Annotated[float, Field(gt=0)], ...] = Field((1.0,), min_length=1)
    rpn_proposals: Positive = 100
    rpn_samples: Positive = 64
    box_samples: Positive = 48
    pooled_size: Positive = 5
    sampling_ratio: Positive = 1
    score_threshold: float = Field(0.02, ge=0, lt=1)
    nms_threshold: float = Field(0.5, gt=0, le=1)
    max_detections: Positive = 50
