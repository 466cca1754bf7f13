"""torchvision's heads on our backbones and necks, as detectors of ours: what the batched heads are compared with.

Parameters have the same names as in ``spnas_detect``, so weights go from one to the other. Run by their parts and not
as torchvision's whole model, they are spared its resizing, normalising and batching of images.
"""

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet, RetinaNetHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign

from spnas_core.hookspecs import Register, hookimpl
from spnas_core.inheritance import Init
from spnas_core.networks import Backbone, FeatureInfo
from spnas_detect.data import Targets
from spnas_detect.detectors import Detections, DetectorSettings
from spnas_detect.detectors.assembly import two_stage_initial
from spnas_detect.detectors.retinanet import RetinaNet as OurRetinaNet

CANDIDATES_PER_PROPOSAL = 5


def anchors_of(info: FeatureInfo, settings: DetectorSettings) -> AnchorGenerator:
    with torch.device("cpu"):  # plain tensors: not on the meta device with the parameters
        return AnchorGenerator(
            sizes=tuple(tuple(scale * stride for scale in settings.anchor_scales) for stride in info.reduction()),
            aspect_ratios=(settings.aspect_ratios,) * len(info.stages),
        )


def lists(images: Tensor, targets: Targets) -> list[dict[str, Tensor]]:
    return [targets.image(i) for i in range(len(images))]


def padded(found: list[dict[str, Tensor]], rows: int) -> Detections:
    """Put torchvision's detections of each image into tensors of one shape."""
    counts = torch.tensor([len(one["scores"]) for one in found])
    boxes, scores = torch.zeros(len(found), rows, 4), torch.zeros(len(found), rows)
    labels = torch.zeros(len(found), rows, dtype=torch.int64)
    for i, one in enumerate(found):
        boxes[i, : counts[i]], scores[i, : counts[i]], labels[i, : counts[i]] = (
            one[name].cpu() for name in ("boxes", "scores", "labels")
        )
    return Detections(boxes, scores, labels, counts)


def image_list(images: Tensor, sizes: Tensor | None) -> ImageList:
    canvas = (images.shape[-2], images.shape[-1])
    whole = [canvas] * len(images)
    return ImageList(images, whole if sizes is None else [(int(h), int(w)) for h, w in sizes.tolist()])


class TorchvisionFasterRCNN(nn.Module):
    """torchvision's proposal network and box heads."""

    def __init__(self, backbone: Backbone, neck: nn.Module, classes: int, settings: DetectorSettings) -> None:
        super().__init__()
        self.backbone, self.neck, self.settings = backbone, neck, settings
        info, channels = backbone.feature_info, settings.neck_channels
        anchors = anchors_of(info, settings)
        candidates = settings.rpn_candidates or CANDIDATES_PER_PROPOSAL * settings.rpn_proposals // len(info.stages)
        finest = settings.finest_size or max(1, round(settings.anchor_scales[0] * info.reduction()[0]))
        self.rpn = RegionProposalNetwork(
            anchors,
            RPNHead(channels, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=settings.rpn_samples,
            positive_fraction=0.5,
            pre_nms_top_n=dict.fromkeys(("training", "testing"), candidates),
            post_nms_top_n=dict.fromkeys(("training", "testing"), settings.rpn_proposals),
            nms_thresh=0.7,
        )
        self.roi_heads = RoIHeads(
            MultiScaleRoIAlign(
                info.names(),
                settings.pooled_size,
                settings.sampling_ratio,
                canonical_scale=int(finest),
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

    def losses(
        self, images: Tensor, targets: Targets, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """torchvision draws from the global generator."""
        return self._run(image_list(images, None), lists(images, targets))[1]

    def detect(self, images: Tensor, sizes: Tensor | None = None) -> Detections:
        return padded(self._run(image_list(images, sizes), None)[0], self.settings.max_detections)

    def initial(self, name: str, shape: torch.Size) -> Init:
        return two_stage_initial(name, shape)

    def _run(
        self, images: ImageList, targets: list[dict[str, Tensor]] | None
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        features = self.neck(self.backbone(images.tensors))
        proposals, proposal_losses = self.rpn(images, features, targets)
        detections, box_losses = self.roi_heads(features, proposals, images.image_sizes, targets)
        return detections, {**proposal_losses, **box_losses}


class TorchvisionRetinaNet(nn.Module):
    """torchvision's RetinaNet head, losses and selection."""

    def __init__(self, backbone: Backbone, neck: nn.Module, classes: int, settings: DetectorSettings) -> None:
        super().__init__()
        self.backbone, self.neck, self.settings = backbone, neck, settings
        anchors = anchors_of(backbone.feature_info, settings)
        per_position = anchors.num_anchors_per_location()[0]
        self.head = RetinaNetHead(settings.neck_channels, per_position, classes)
        # The model's own code for matching and selection, on the head above; not registered as a child.
        parts = nn.Module()
        parts.out_channels = settings.neck_channels
        model = RetinaNet(
            parts,
            classes,
            anchor_generator=anchors,
            head=self.head,
            score_thresh=settings.score_threshold,
            nms_thresh=settings.nms_threshold,
            detections_per_img=settings.max_detections,
            topk_candidates=settings.dense_candidates,
        )
        object.__setattr__(self, "_model", model)

    def losses(
        self, images: Tensor, targets: Targets, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """torchvision counts RetinaNet's classes from 0."""
        outputs, anchors, _ = self._run(image_list(images, None))
        found = [{**target, "labels": target["labels"] - 1} for target in lists(images, targets)]
        return self._model.compute_loss(found, outputs, anchors)

    def detect(self, images: Tensor, sizes: Tensor | None = None) -> Detections:
        batch = image_list(images, sizes)
        outputs, anchors, features = self._run(batch)
        positions = [level.shape[2] * level.shape[3] for level in features]
        per_position = outputs["cls_logits"].shape[1] // sum(positions)
        counts = [count * per_position for count in positions]
        split = {name: list(values.split(counts, dim=1)) for name, values in outputs.items()}
        split_anchors = [list(one.split(counts)) for one in anchors]
        found = self._model.postprocess_detections(split, split_anchors, batch.image_sizes)
        return padded([{**one, "labels": one["labels"] + 1} for one in found], self.settings.max_detections)

    def initial(self, name: str, shape: torch.Size) -> Init:
        return OurRetinaNet.initial(self, name, shape)

    def _run(self, images: ImageList) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
        features = list(self.neck(self.backbone(images.tensors)).values())
        return self.head(features), self._model.anchor_generator(images, features), features


PEERS = {"faster-rcnn": "torchvision-faster-rcnn", "retinanet": "torchvision-retinanet"}


@hookimpl
def spnas_register_detectors(register: Register) -> None:
    register(PEERS["faster-rcnn"], TorchvisionFasterRCNN)
    register(PEERS["retinanet"], TorchvisionRetinaNet)
