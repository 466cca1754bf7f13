"""Faster R-CNN with a neck on any backbone, from torchvision's heads.

Ren et al., "Faster R-CNN"; heads as in Lin et al., "Feature Pyramid Networks for Object Detection".
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign

from spnas_core.inheritance import Init
from spnas_core.networks import SerialBackbone
from spnas_detect.detectors._base import Detections, Target
from spnas_detect.detectors.settings import DetectorSettings

RPN_CANDIDATES_PER_PROPOSAL = 5


class FasterRCNN(nn.Module):
    """Two stages: proposals from anchors on every level, then classification and refinement of the pooled proposals.

    Args:
        backbone: gives the feature levels.
        neck: brings them to equal channels.
        classes: number of classes, background not counted.
        settings: sizes and thresholds.
    """

    def __init__(self, backbone: SerialBackbone, neck: nn.Module, classes: int, settings: DetectorSettings) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        channels = settings.neck_channels
        info = backbone.feature_info
        # Anchors are plain tensors, not buffers: they must not land on the meta device with the parameters.
        with torch.device("cpu"):
            anchors = AnchorGenerator(
                sizes=tuple(tuple(scale * stride for scale in settings.anchor_scales) for stride in info.reduction()),
                aspect_ratios=(settings.aspect_ratios,) * len(info.stages),
            )
        self.rpn = RegionProposalNetwork(
            anchors,
            RPNHead(channels, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=settings.rpn_samples,
            positive_fraction=0.5,
            pre_nms_top_n=dict.fromkeys(
                ("training", "testing"), RPN_CANDIDATES_PER_PROPOSAL * settings.rpn_proposals // len(info.stages)
            ),
            post_nms_top_n=dict.fromkeys(("training", "testing"), settings.rpn_proposals),
            nms_thresh=0.7,
        )
        self.roi_heads = RoIHeads(
            MultiScaleRoIAlign(
                info.names(),
                settings.pooled_size,
                settings.sampling_ratio,
                # The finest level takes what is up to twice its anchor size, each further level twice as much.
                canonical_scale=max(1, round(settings.anchor_scales[0] * info.reduction()[0])),
                canonical_level=2,
            ),
            TwoMLPHead(channels * settings.pooled_size**2, settings.head_channels),
            FastRCNNPredictor(settings.head_channels, classes + 1),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=settings.box_samples,
            positive_fraction=0.25,
            bbox_reg_weights=None,
            score_thresh=settings.score_threshold,
            nms_thresh=settings.nms_threshold,
            detections_per_img=settings.max_detections,
        )

    def losses(self, images: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Compute proposal and box losses of a batch."""
        return self._run(images, list(targets))[1]

    def detect(self, images: Tensor) -> list[Detections]:
        """Detect objects; boxes in pixels of the batch's canvas."""
        return self._run(images, None)[0]

    def initial(self, name: str, shape: torch.Size) -> Init:
        """Detectron's first values: narrow normal for what predicts, Xavier for the hidden layers, zero biases."""
        if len(shape) == 1:
            return Init("zeros")
        if "rpn.head" in name or "cls_score" in name:
            return Init("normal", 0.01)
        if "bbox_pred" in name:
            return Init("normal", 0.001)
        return Init("xavier-uniform")

    def _run(self, images: Tensor, targets: list[Target] | None) -> tuple[list[Detections], dict[str, Tensor]]:
        # The heads' box arithmetic wants float32, whatever the features' precision is.
        features = {name: level.float() for name, level in self.neck(self.backbone(images)).items()}
        height, width = images.shape[-2:]
        sizes = [(height, width)] * len(images)
        with torch.autocast(images.device.type, enabled=False):
            proposals, proposal_losses = self.rpn(ImageList(images, sizes), features, targets)
            detections, box_losses = self.roi_heads(features, proposals, sizes, targets)
        return detections, {**proposal_losses, **box_losses}
