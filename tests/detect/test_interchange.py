"""Backbones inside torchvision's detectors."""

import pytest
import torch
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN, resnet_fpn_backbone
from torchvision.ops import MultiScaleRoIAlign

from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError
from spnas_core.interchange import from_torchvision
from spnas_core.networks import build_backbone
from spnas_detect.interchange import backbone_with_fpn

CODE = "b@8_1-21-1"


@torch.no_grad()
@pytest.mark.parametrize("layers", [[1, 2, 3, 4], [2, 4]])
def test_levels_equal_torchvisions(layers):
    torch.manual_seed(0)
    theirs = resnet_fpn_backbone(
        backbone_name="resnet18",
        weights=None,
        norm_layer=torch.nn.BatchNorm2d,
        returned_layers=layers,
        trainable_layers=5,
    )
    architecture = Architecture.parse("b_11-21-21-21")
    backbone = build_backbone(architecture)
    backbone.load_state_dict(from_torchvision(architecture, theirs.body.state_dict()))
    ours = backbone_with_fpn(backbone, stages=[f"s{layer}" for layer in layers])
    assert isinstance(ours, BackboneWithFPN)
    ours.fpn.load_state_dict(theirs.fpn.state_dict())
    images = torch.randn(2, 3, 96, 130)
    expected, found = theirs.eval()(images), ours.eval()(images)
    assert list(found) == [*(f"s{layer}" for layer in layers), "pool"]
    for here, there in zip(expected.values(), found.values(), strict=True):
        assert (here - there).abs().max() <= 1e-5


def test_torchvisions_detector_trains_and_detects_on_a_code():
    detector = FasterRCNN(
        backbone_with_fpn(CODE, 16),
        num_classes=3,
        rpn_anchor_generator=AnchorGenerator(((8,), (16,), (32,), (64,)), ((0.5, 1.0, 2.0),) * 4),
        box_roi_pool=MultiScaleRoIAlign(["s1", "s2", "s3"], 7, 2),
        min_size=64,
        max_size=96,
        box_detections_per_img=5,
    )
    images = [torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))]
    targets = [{"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}]
    sum(detector(images, targets).values()).backward()
    gradients = [parameter.grad for parameter in detector.backbone.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert set(detector.eval()(images)[0]) == {"boxes", "labels", "scores"}


def test_a_stage_that_is_not_there_is_refused():
    with pytest.raises(CodeError, match="b@8_1-21-1 returns no stage 's4'"):
        backbone_with_fpn(CODE, stages=["s2", "s4"])
