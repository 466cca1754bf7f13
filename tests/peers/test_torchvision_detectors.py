"""The batched detectors against torchvision's, with the same weights."""

import pytest
import torch
from same_detections import assert_same_detections
from same_proposals import are_same_boxes, recorded_proposals
from torch import nn
from torchvision.models.detection import FasterRCNN as TorchvisionFasterRCNN
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

from spnas_core import Architecture
from spnas_core.morphisms import identity
from spnas_detect.data import Targets, pad_targets
from spnas_detect.detectors import DetectorSettings, build_detector

CLASSES = 4
CODE = "b@8_1-2-2-2"
COMMON = {
    "neck_channels": 16,
    "head_channels": 32,
    "anchor_scales": (2.0, 4.0),
    "aspect_ratios": (0.5, 1.0, 2.0),
    "pooled_size": 7,
    "sampling_ratio": 2,
    "finest_size": 56,
    "score_threshold": 0.05,
    "max_detections": 100,
}


class Pyramid(nn.Module):
    """Our backbone and neck as torchvision's detectors want them."""

    def __init__(self, detector):
        super().__init__()
        self.backbone, self.neck = detector.backbone, detector.neck
        self.out_channels = self.neck.out_channels

    def forward(self, images):
        return self.neck(self.backbone(images))


SPREADS = {"cls_logits": 0.7, "cls_score": 1.5, "bbox_pred": 0.3, "bbox_reg": 0.3}
"""Standard deviation that each kind of prediction is given: far enough apart that rounding reorders no scores."""


@torch.no_grad()
def built(name, **settings):
    generator = torch.Generator().manual_seed(0)
    chosen = DetectorSettings(detector=name, **{**COMMON, **settings})
    detector = build_detector(identity(Architecture.parse(CODE)), CLASSES, chosen, {}, generator=generator)[0]
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # statistics of what follows; untrained ones would let activations grow
    images = torch.randn(2, 3, 128, 128, generator=generator)
    detector.train().backbone(images)
    detector.eval()
    for path, layer in detector.named_modules():
        spread = SPREADS.get(path.rpartition(".")[2])
        if spread is not None:
            seen = []
            handle = layer.register_forward_hook(lambda _, __, output, seen=seen: seen.append(output.flatten()))
            detector.detect(images)
            handle.remove()
            layer.weight.mul_(spread / torch.cat(seen).std())
            if name == "retinanet":
                layer.bias.fill_(-3 if "cls" in path else 0)
    return detector


def anchors(detector):
    return AnchorGenerator(
        sizes=tuple(tuple(sizes) for sizes in detector_anchors(detector).sizes()),
        aspect_ratios=(COMMON["aspect_ratios"],) * len(detector.backbone.feature_info.stages),
    )


def detector_anchors(detector):
    return detector.rpn.anchors if hasattr(detector, "rpn") else detector.head.anchors


def as_is(module):
    """Leave sizes and colours alone, pad to what all strides divide."""
    transform = module.transform
    transform.size_divisible = 64
    transform.resize = lambda image, target: (image, target)
    transform.normalize = lambda image: image
    return module


def torchvision_faster_rcnn(detector, **keywords):
    theirs = TorchvisionFasterRCNN(
        Pyramid(detector),
        rpn_anchor_generator=anchors(detector),
        box_roi_pool=MultiScaleRoIAlign(detector.backbone.feature_info.names(), 7, 2),
        box_head=detector.roi_heads.box_head,
        box_predictor=detector.roi_heads.box_predictor,
        box_score_thresh=COMMON["score_threshold"],
        **keywords,
    )
    theirs.rpn.head = detector.rpn.head
    return as_is(theirs)


def torchvision_retinanet(detector):
    theirs = TorchvisionRetinaNet(
        Pyramid(detector),
        CLASSES,
        anchor_generator=anchors(detector),
        score_thresh=COMMON["score_threshold"],
        detections_per_img=COMMON["max_detections"],
    )
    theirs.load_state_dict(
        {f"head.{name}": tensor for name, tensor in detector.head.state_dict().items()}, strict=False
    )
    return as_is(theirs)


def images_of(seed, count):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(64, 200, (count, 2), generator=generator).tolist()
    return [torch.randn(3, height, width, generator=generator) for height, width in sizes]


def padded(theirs, images, targets=None):
    """What torchvision makes of the images: a canvas, and how much of it each one covers."""
    batch, _ = theirs.transform(images, targets)
    return batch.tensors, torch.tensor(batch.image_sizes, dtype=torch.float32)


def detections_of_fifty_images(detector, theirs, label_shift=0):
    """Ours and theirs, image by image."""
    found, expected = [], []
    for batch in range(10):
        images = images_of(batch, 5)
        found += detector.detect(*padded(theirs, images)).images()
        expected += [{**one, "labels": one["labels"] + label_shift} for one in theirs(images)]
    return found, expected


@torch.no_grad()
def test_faster_rcnn_detects_what_torchvision_detects_on_fifty_images():
    detector = built("faster-rcnn", rpn_candidates=1000, rpn_proposals=1000, nms_threshold=0.5)
    theirs = torchvision_faster_rcnn(detector).eval()
    proposals = recorded_proposals(detector, theirs)
    found, expected = detections_of_fifty_images(detector, theirs)
    # A near-tie among proposals decides about detections that show no sign of it.
    alike = [image for image, pair in enumerate(zip(*proposals, strict=True)) if are_same_boxes(*pair)]
    assert len(alike) >= 48
    found, expected = ([images[image] for image in alike] for images in (found, expected))
    assert assert_same_detections(found, expected, detector.settings, most_undecided=5).shared > 4500


@torch.no_grad()
def test_retinanet_detects_what_torchvision_detects_on_fifty_images():
    detector = built("retinanet", nms_threshold=0.5)
    found, expected = detections_of_fifty_images(detector, torchvision_retinanet(detector).eval(), label_shift=1)
    assert assert_same_detections(found, expected, detector.settings, most_undecided=5).shared > 4500


def targets_of(images, seed, lowest_label=1):
    generator = torch.Generator().manual_seed(seed)
    targets = []
    for i, image in enumerate(images):
        height, width = image.shape[-2:]
        count = int(torch.randint(0, 6, (), generator=generator)) if i else 0
        corners = torch.rand(count, 2, 2, generator=generator) * torch.tensor([width, height])
        boxes = torch.cat([corners.amin(1), corners.amax(1) + 1], dim=1)
        labels = torch.randint(lowest_label, lowest_label + CLASSES, (count,), generator=generator)
        targets.append({"boxes": boxes, "labels": labels})
    return targets


@pytest.mark.parametrize("seed", range(10))
def test_faster_rcnn_has_torchvisions_losses_where_sampling_keeps_everything(seed):
    everything = 10**6
    detector = built(
        "faster-rcnn", rpn_candidates=300, rpn_proposals=200, rpn_samples=everything, box_samples=everything
    )
    keywords = {
        "rpn_pre_nms_top_n_train": 300,
        "rpn_post_nms_top_n_train": 200,
        "rpn_batch_size_per_image": everything,
        "box_batch_size_per_image": everything,
    }
    theirs = torchvision_faster_rcnn(detector, **keywords).train()
    images = images_of(seed, 3)
    targets = targets_of(images, seed)
    canvas, sizes = padded(theirs, images, targets)
    ours = detector.train().losses(canvas, Targets(*pad_targets(targets, [(0, 0)] * 3)[:2], sizes))
    wanted = theirs(images, [dict(target) for target in targets])
    assert ours.keys() == wanted.keys()
    for name, loss in wanted.items():
        torch.testing.assert_close(ours[name], loss, atol=0, rtol=1e-5)


@pytest.mark.parametrize(
    ("seed", "loss"), [*((seed, "l1") for seed in range(10)), (0, "giou"), (1, "diou"), (2, "ciou")]
)
def test_retinanet_has_torchvisions_losses(seed, loss):
    detector = built("retinanet", box_loss=loss)
    theirs = torchvision_retinanet(detector).train()
    theirs.head.regression_head._loss_type = loss
    images = images_of(seed, 3)
    targets = targets_of(images, seed)
    canvas, sizes = padded(theirs, images, targets)
    ours = detector.train().losses(canvas, Targets(*pad_targets(targets, [(0, 0)] * 3)[:2], sizes))
    wanted = theirs(images, [{**target, "labels": target["labels"] - 1} for target in targets])
    assert ours.keys() == wanted.keys()
    for name, loss in wanted.items():
        torch.testing.assert_close(ours[name], loss, atol=0, rtol=1e-5)
