"""Faster R-CNN with a neck on any backbone.

Ren et al., "Faster R-CNN"; heads as in Lin et al., "Feature Pyramid Networks for Object Detection".
"""

import torch
from torch import Tensor, nn

from spnas_core.backbones import AnyBackbone
from spnas_core.inheritance import Init
from spnas_detect.data.targets import Targets
from spnas_detect.detectors.assembly import (
    box_objective,
    canvas_shape,
    canvas_sizes,
    make_extra,
    proposal_network,
    pyramid_pooler,
    two_stage_class_rows,
    two_stage_initial,
)
from spnas_detect.detectors.branches import branch_targets, branches_of
from spnas_detect.detectors.classes import ClassRows
from spnas_detect.detectors.pyramid import pyramid
from spnas_detect.detectors.settings import DetectorSettings
from spnas_detect.heads import Detections, RegionHead, Rule, detect_regions, sample_regions
from spnas_detect.heads.normalisation import global_draw

RULE = Rule(foreground=0.5, background=0.5)


class FasterRCNN(nn.Module):
    """Two stages: proposals from anchors on every level, then classification and refinement of the pooled proposals.

    Args:
        backbone: gives the feature levels.
        neck: brings them to equal channels.
        classes: number of classes, background not counted.
        settings: sizes and thresholds.
    """

    reads_levels_alone = True

    def __init__(self, backbone: AnyBackbone, neck: nn.Module, classes: int, settings: DetectorSettings) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.settings = settings
        self.branches = branches_of(backbone, settings)
        self.extra = make_extra(backbone.feature_info, settings)
        self.rpn = proposal_network(backbone.feature_info, settings)
        self.roi_heads = RegionHead(
            pyramid_pooler(backbone.feature_info, settings),
            settings.neck_channels,
            settings.head_channels,
            classes,
            box_objective=box_objective(settings.box_loss, settings.box_loss_weight),
        )

    def losses(
        self, images: Tensor, targets: Targets, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Compute proposal and box losses of a batch."""
        learnt = branch_targets(self.branches, targets)
        targets = learnt.targets
        features = pyramid(self.backbone, self.neck, images, self.extra, every_branch=self.branches is not None)
        anchors = self.rpn.scan(features, canvas_shape(images))
        proposals = self.rpn.select(anchors, targets.sizes, learnt.ranges)
        branches = 1 if self.branches is None else len(self.branches.ranges)
        count, offered = len(targets.boxes), proposals.boxes.shape[1] + targets.boxes.shape[1]
        noise = global_draw((count, anchors.objectness.shape[1]), generator, images.device, branches)
        region_noise = global_draw((count, offered), generator, images.device, branches)
        is_learnt = learnt.learns_proposals(proposals.boxes)
        regions = sample_regions(proposals, targets, RULE, self.settings.box_samples, region_noise, is_learnt)
        return {
            **self.rpn.losses(features, anchors, targets, noise, learnt.learns_anchors(anchors.anchors)),
            **self.roi_heads.losses(self.roi_heads(features, regions.boxes), regions),
        }

    def detect(self, images: Tensor, sizes: Tensor | None = None) -> Detections:
        """Detect objects; boxes in pixels of the batch's canvas."""
        sizes = canvas_sizes(images) if sizes is None else sizes
        exact = self.branches if self.branches is not None and self.branches.is_exact else None
        sizes = sizes if exact is None else sizes.repeat(len(exact.ranges), 1)
        features = pyramid(self.backbone, self.neck, images, self.extra, every_branch=exact is not None)
        proposals = self.rpn.select(self.rpn(features, canvas_shape(images)), sizes).trimmed()
        predictions = self.roi_heads(features, proposals.boxes)
        return detect_regions(
            predictions.logits.softmax(-1),
            self.roi_heads.refine(predictions, proposals.boxes, sizes),
            proposals.is_valid,
            score_threshold=self.settings.score_threshold,
            iou_threshold=self.settings.nms_threshold,
            most=self.settings.max_detections,
            merge=None if exact is None else exact.merged,
        )

    def initial(self, name: str, shape: torch.Size) -> Init:
        """Detectron's first values: narrow normal for what predicts, Xavier for the hidden layers, zero biases."""
        return two_stage_initial(name, shape)

    def class_rows(self, name: str) -> ClassRows | None:
        """Scores and refinements have rows for each class, the background first."""
        return two_stage_class_rows(name)
