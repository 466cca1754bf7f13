"""RetinaNet with a neck on any backbone. Lin et al., "Focal Loss for Dense Object Detection"."""

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
    narrow_normal,
    pyramid_anchors,
)
from spnas_detect.detectors.branches import branch_targets, branches_of
from spnas_detect.detectors.classes import ClassRows
from spnas_detect.detectors.pyramid import pyramid
from spnas_detect.detectors.settings import DetectorSettings
from spnas_detect.heads import DenseHead, Detections
from spnas_detect.heads.dense import PRIOR_BIAS, DensePredictions
from spnas_detect.necks import PUBLISHED_CHANNELS


class RetinaNet(nn.Module):
    """One stage: every anchor on every level is classified and refined.

    Args:
        backbone: gives the feature levels.
        neck: brings them to equal channels.
        classes: number of classes.
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
        self.head = DenseHead(
            settings.neck_channels,
            settings.tower_depth,
            classes,
            pyramid_anchors(backbone.feature_info, settings),
            alpha=settings.focal_alpha,
            gamma=settings.focal_gamma,
            box_objective=box_objective(settings.box_loss, settings.box_loss_weight, "l1"),
        )

    def losses(
        self, images: Tensor, targets: Targets, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Compute the focal loss and the box loss of a batch; nothing is drawn."""
        learnt = branch_targets(self.branches, targets)
        predictions = self._predict(images, every_branch=self.branches is not None)
        return self.head.losses(predictions, learnt.targets, learnt.learns_anchors(predictions.anchors))

    def detect(self, images: Tensor, sizes: Tensor | None = None) -> Detections:
        """Detect objects; boxes in pixels of the batch's canvas."""
        sizes = canvas_sizes(images) if sizes is None else sizes
        exact = self.branches if self.branches is not None and self.branches.is_exact else None
        return self.head.select(
            self._predict(images, every_branch=exact is not None),
            sizes if exact is None else sizes.repeat(len(exact.ranges), 1),
            candidates=self.settings.dense_candidates,
            score_threshold=self.settings.score_threshold,
            iou_threshold=self.settings.nms_threshold,
            most=self.settings.max_detections,
            merge=None if exact is None else exact.merged,
        )

    def initial(self, name: str, shape: torch.Size) -> Init:
        """The paper's first values: narrow normal weights, zero biases, and a prior of one per cent for every class."""
        if len(shape) > 1:
            return narrow_normal(0.01, shape, PUBLISHED_CHANNELS)
        return Init("constant", value=PRIOR_BIAS) if "cls_logits" in name else Init("zeros")

    def class_rows(self, name: str) -> ClassRows | None:
        """Each anchor of a position has a score for every class."""
        return ClassRows(self.head.anchors.per_position, leading=0, width=1) if "cls_logits" in name else None

    def _predict(self, images: Tensor, *, every_branch: bool) -> DensePredictions:
        levels = pyramid(self.backbone, self.neck, images, self.extra, every_branch=every_branch)
        predictions: DensePredictions = self.head(levels, canvas_shape(images))
        return predictions
