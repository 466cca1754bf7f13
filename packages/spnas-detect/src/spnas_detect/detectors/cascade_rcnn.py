"""Cascade R-CNN with a neck on any backbone.

Cai and Vasconcelos, "Cascade R-CNN: Delving into High Quality Object Detection".
"""

from typing import cast

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
from spnas_detect.detectors.branches import BranchTargets, branch_targets, branches_of
from spnas_detect.detectors.classes import ClassRows
from spnas_detect.detectors.pyramid import pyramid
from spnas_detect.detectors.settings import DetectorSettings
from spnas_detect.heads import (
    Detections,
    RegionHead,
    Regions,
    Rule,
    assign_regions,
    detect_regions,
    sample_regions,
)
from spnas_detect.heads.boxes import Weights, is_at_least
from spnas_detect.heads.normalisation import global_draw
from spnas_detect.heads.regions import SMALLEST

RULES = tuple(Rule(foreground=iou, background=iou) for iou in (0.5, 0.6, 0.7))
WEIGHTS: tuple[Weights, ...] = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))
LOSS_WEIGHTS = (1.0, 0.5, 0.25)


class CascadeRCNN(nn.Module):
    """Proposals, then three heads, each trained at a higher IoU on the boxes that the one before has refined.

    All classes share a refinement. A detection's score is the mean over the three heads, its box the last one's.

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
        self.roi_heads = nn.ModuleList(
            RegionHead(
                pyramid_pooler(backbone.feature_info, settings),
                settings.neck_channels,
                settings.head_channels,
                classes,
                weights=weights,
                is_class_agnostic=True,
                box_objective=box_objective(settings.box_loss, settings.box_loss_weight),
            )
            for weights in WEIGHTS
        )

    def losses(
        self, images: Tensor, targets: Targets, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Compute the proposal losses, and each head's as ``loss_classifier_1``, ``loss_box_reg_1``, …, weighted."""
        learnt = branch_targets(self.branches, targets)
        targets = learnt.targets
        features = pyramid(self.backbone, self.neck, images, self.extra, every_branch=self.branches is not None)
        anchors = self.rpn.scan(features, canvas_shape(images))
        proposals = self.rpn.select(anchors, targets.sizes, learnt.ranges)
        branches = 1 if self.branches is None else len(self.branches.ranges)
        count, offered = len(targets.boxes), proposals.boxes.shape[1] + targets.boxes.shape[1]
        noise = global_draw((count, anchors.objectness.shape[1]), generator, images.device, branches)
        region_noise = global_draw((count, offered), generator, images.device, branches)
        losses = self.rpn.losses(features, anchors, targets, noise, learnt.learns_anchors(anchors.anchors))
        is_learnt = learnt.learns_proposals(proposals.boxes)
        regions = sample_regions(proposals, targets, RULES[0], self.settings.box_samples, region_noise, is_learnt)
        for stage, head in enumerate(self._heads):
            predictions = head(features, regions.boxes)
            for name, loss in head.losses(predictions, regions).items():
                losses[f"{name}_{stage + 1}"] = LOSS_WEIGHTS[stage] * loss
            if stage + 1 < len(RULES):
                refined = head.refine(predictions, regions.boxes, targets.sizes)[:, :, 0].detach()
                regions = _next_regions(refined, regions, learnt, RULES[stage + 1])
        return losses

    def detect(self, images: Tensor, sizes: Tensor | None = None) -> Detections:
        """Detect objects; boxes in pixels of the batch's canvas."""
        sizes = canvas_sizes(images) if sizes is None else sizes
        exact = self.branches if self.branches is not None and self.branches.is_exact else None
        sizes = sizes if exact is None else sizes.repeat(len(exact.ranges), 1)
        features = pyramid(self.backbone, self.neck, images, self.extra, every_branch=exact is not None)
        proposals = self.rpn.select(self.rpn(features, canvas_shape(images)), sizes).trimmed()
        boxes, scores = proposals.boxes, torch.zeros(())
        for head in self._heads:
            predictions = head(features, boxes)
            # A diverged head gives NaN, which no kernel wants to pool; its scores are NaN too and are left out.
            boxes = head.refine(predictions, boxes, sizes)[:, :, 0].nan_to_num(0.0)
            scores = predictions.logits.softmax(-1) + scores.to(images.device)
        return detect_regions(
            scores / len(RULES),
            boxes[:, :, None],
            proposals.is_valid,
            score_threshold=self.settings.score_threshold,
            iou_threshold=self.settings.nms_threshold,
            most=self.settings.max_detections,
            merge=None if exact is None else exact.merged,
        )

    def initial(self, name: str, shape: torch.Size) -> Init:
        """As Faster R-CNN's."""
        return two_stage_initial(name, shape)

    def class_rows(self, name: str) -> ClassRows | None:
        """Scores have a row for each class, the background first; refinements are shared."""
        return two_stage_class_rows(name) if ".cls_score." in name else None

    @property
    def _heads(self) -> list[RegionHead]:
        return [cast("RegionHead", head) for head in self.roi_heads]


def _next_regions(refined: Tensor, regions: Regions, learnt: BranchTargets, rule: Rule) -> Regions:
    """Say what refined boxes stand for; those that collapsed stay out, and so do those that are not learnt."""
    # A diverged head gives NaN, which no kernel wants to pool; its losses tell.
    is_sound = refined.isfinite().all(-1) & is_at_least(refined, SMALLEST)
    boxes = torch.where(is_sound[..., None], refined, 0.0)
    is_valid, is_learnt = regions.is_valid & is_sound, learnt.learns_proposals(boxes)
    return assign_regions(boxes, is_valid if is_learnt is None else is_valid & is_learnt, learnt.targets, rule)
