"""What heads start with: the published values at the published widths, and outputs as large at any other."""

import pytest
import torch
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FeaturePyramidNetwork

from spnas_core import Architecture
from spnas_core.morphisms import identity
from spnas_detect.detectors import DetectorSettings, build_detector

CLASSES = 20
PUBLISHED = {"neck_channels": 256, "head_channels": 1024}
BOX_HEAD = {"cls_score": 0.01, "bbox_pred": 0.001}


def normal_weights(name, part, neck_channels, head_channels):
    """Weights with first values of a given spread, by name: of layers whose names begin with `part`."""
    chosen = DetectorSettings(
        detector=name, pooled_size=2, tower_depth=2, neck_channels=neck_channels, head_channels=head_channels
    )
    rewrite, generator = identity(Architecture.parse("b@4_1-2-2")), torch.Generator().manual_seed(0)
    state = build_detector(rewrite, CLASSES, chosen, {}, generator=generator)[0].state_dict()
    return {key: value for key, value in state.items() if key.startswith(part) and value.dim() > 1 and ".fc" not in key}


@pytest.mark.parametrize(
    ("name", "part", "theirs"),
    [
        ("faster-rcnn", "rpn.head.", lambda: RPNHead(256, 3)),
        ("retinanet", "head.", lambda: RetinaNetHead(256, 9, CLASSES)),
    ],
)
def test_at_the_published_width_dense_heads_start_as_torchvisions(name, part, theirs):
    torch.manual_seed(0)
    published = {parameter.std().item() for parameter in theirs().parameters() if parameter.dim() > 1}
    for key, weight in normal_weights(name, part, **PUBLISHED).items():
        assert weight.std().item() == pytest.approx(min(published), rel=0.1), key
        assert weight.std().item() == pytest.approx(max(published), rel=0.1), key


@pytest.mark.parametrize("name", ["faster-rcnn", "cascade-rcnn"])
def test_at_the_published_width_box_heads_start_as_detectrons(name):
    found = normal_weights(name, "roi_heads.", **PUBLISHED)
    assert found
    for key, weight in found.items():
        (std,) = (std for part, std in BOX_HEAD.items() if part in key)
        assert weight.std().item() == pytest.approx(std, rel=0.05), key


@pytest.mark.parametrize("widths", [(16, 64), (64, 256), (512, 2048)])
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("faster-rcnn", ("rpn.head.", "roi_heads.")),
        ("cascade-rcnn", ("rpn.head.", "roi_heads.")),
        ("retinanet", ("head.",)),
    ],
)
def test_outputs_vary_as_much_at_any_width_as_at_the_published_one(name, parts, widths):
    for prefix in parts:
        here, there = normal_weights(name, prefix, *widths), normal_weights(name, prefix, **PUBLISHED)
        assert here.keys() == there.keys()
        for key, weight in here.items():
            outputs, expected = (
                weights[key].square().flatten(1).sum(1).mean().sqrt().item() for weights in (here, there)
            )
            drawn = min(weight.numel(), there[key].numel())
            assert outputs == pytest.approx(expected, rel=4 / (2 * drawn) ** 0.5), key  # four standard errors


@pytest.mark.parametrize("neck", ["fpn", "pafpn", "dpc"])
def test_a_pyramid_of_published_width_starts_as_published_and_a_narrower_one_loses_nothing(neck):
    """Of the features' space, or of the levels' where these have fewer channels."""
    rewrite = identity(Architecture.parse("b@4_1-2-2"))
    for channels in (256, 128, 16, 6):
        settings = DetectorSettings(neck=neck, neck_channels=channels, head_channels=32, pooled_size=1)
        generator = torch.Generator().manual_seed(0)
        state = build_detector(rewrite, CLASSES, settings, {}, generator=generator)[0].neck.state_dict()
        found = {key: value for key, value in state.items() if "_blocks." in key and value.dim() > 1}
        assert len(found) == 6  # laterals and what smooths, of three levels
        for key, weight in found.items():
            if channels == 256:  # torchvision's FPN: uniform, variance 1 / fan in
                bound = (3 / weight[0].numel()) ** 0.5
                assert 0.95 * bound < weight.abs().max().item() <= bound, key
            else:
                centre = weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2]
                assert weight.square().sum().item() == pytest.approx(centre.square().sum().item()), key
                values = torch.linalg.svdvals(centre)
                torch.testing.assert_close(values, values[:1].expand_as(values), rtol=1e-4, atol=0)


def test_torchvisions_pyramid_starts_as_ours_of_published_width():
    torch.manual_seed(0)
    theirs = FeaturePyramidNetwork([64, 128], 256)
    for key, weight in theirs.state_dict().items():
        if weight.dim() > 1:
            bound = (3 / weight[0].numel()) ** 0.5
            assert 0.95 * bound < weight.abs().max().item() <= bound, key
