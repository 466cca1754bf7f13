"""How large neck and heads are for a backbone, and how many boxes they look at in images so full."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

PUBLISHED_NECK = 256
"""Channels of the neck on ResNet-50 (Lin et al., "Feature Pyramid Networks for Object Detection"); all other numbers of
that detector are taken in the ratio of ours to these."""

PUBLISHED = {"rpn_proposals": 1000, "rpn_samples": 256, "box_samples": 512}
SMALLEST_NECK, SMALLEST_HEAD, LARGEST_HEAD = 32, 128, 1024
SCORE_THRESHOLD = 0.01
"""Average precision counts detections of low scores too; what lies below adds nothing that can be seen."""

LEAST_DETECTIONS = 100
"""COCO's number of detections per image."""


def head_sizes(channels: int) -> dict[str, Any]:
    """Choose the widths of neck and box head for a backbone.

    Args:
        channels: of its widest stage.

    Returns:
        Settings of a detector. The neck has a quarter of the channels, 32 to 256 in multiples of 16; the box head is
        four times as wide, 128 to 1024. Proposals are pooled to 7×7 with two samples per cell for a neck of 128
        channels or more, as published, and to 5×5 with one below.

    Example: ResNet-50's 2048 channels give 256 and 1024 as published, 64 channels give 32 and 128.
    """
    neck = min(max(16 * math.ceil(channels / 64), SMALLEST_NECK), PUBLISHED_NECK)
    is_large = neck >= PUBLISHED_NECK // 2
    return {
        "neck_channels": neck,
        "head_channels": min(max(4 * neck, SMALLEST_HEAD), LARGEST_HEAD),
        "pooled_size": 7 if is_large else 5,
        "sampling_ratio": 2 if is_large else 1,
    }


def sample_numbers(neck_channels: int, objects: Sequence[int]) -> dict[str, Any]:
    """Choose how many boxes per image are proposed, learnt from and kept.

    Args:
        neck_channels: of the detector.
        objects: number of objects of each image.

    Returns:
        Settings of a detector: the published numbers in the ratio of the neck to the published one, but ten proposals
        and four samples for each object of nine images in ten, and room for a fifth more detections than the fullest
        image has objects, 100 at least. All in steps of 16 and never above the published ones, detections in steps of
        50.
    """
    most = float(np.quantile(objects, 0.9))
    by_neck = {name: count * neck_channels / PUBLISHED_NECK for name, count in PUBLISHED.items()}
    by_objects = {"rpn_proposals": 10 * most, "rpn_samples": 4 * most, "box_samples": 4 * most}
    chosen = {
        name: min(16 * math.ceil(max(by_neck[name], by_objects[name]) / 16), count) for name, count in PUBLISHED.items()
    }
    return {**chosen, "score_threshold": SCORE_THRESHOLD, "max_detections": enough_detections(objects)}


def enough_detections(objects: Sequence[int]) -> int:
    """Return how many boxes of each image are kept: a fifth more than the fullest has objects, 100 at least, by 50s.

    Args:
        objects: number of objects of each training image.
    """
    return max(LEAST_DETECTIONS, 50 * math.ceil(1.2 * max(objects, default=0) / 50))
