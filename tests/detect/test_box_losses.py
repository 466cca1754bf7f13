"""Losses of refined boxes, against torchvision's, values and gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection._utils import BoxCoder, _box_loss
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from spnas_core import Architecture
from spnas_core.configuration import validate
from spnas_core.errors import ConfigError
from spnas_core.morphisms import identity
from spnas_detect.data import pad_targets
from spnas_detect.detectors import DetectorSettings, build_detector
from spnas_detect.heads.box_losses import SMOOTHNESS, box_loss, overlap_loss
from spnas_detect.heads.dense import WEIGHTS

PEERS = {"giou": generalized_box_iou_loss, "diou": distance_box_iou_loss, "ciou": complete_box_iou_loss}
KINDS = ["smooth-l1", "l1", *PEERS]


def random_boxes(generator, *shape):
    corners = torch.rand(*shape, 2, 2, generator=generator, dtype=torch.float64) * 60
    return torch.cat([corners.amin(-2), corners.amax(-2) + 2], dim=-1)


@given(st.integers(0, 10_000), st.sampled_from(sorted(PEERS)))
def test_losses_of_overlap_are_torchvisions(seed, kind):
    generator = torch.Generator().manual_seed(seed)
    boxes, objects = random_boxes(generator, 3, 7).requires_grad_(), random_boxes(generator, 3, 7)
    found, wanted = overlap_loss(kind, boxes, objects), PEERS[kind](boxes, objects)
    torch.testing.assert_close(found, wanted)
    gradients = [torch.autograd.grad(losses.sum(), boxes)[0] for losses in (found, wanted)]
    torch.testing.assert_close(*gradients)


def test_the_example():
    box, thing = torch.tensor([0.0, 0, 2, 2]), torch.tensor([1.0, 0, 3, 2])
    assert overlap_loss("giou", box, thing).item() == pytest.approx(2 / 3)
    assert overlap_loss("diou", box, thing).item() == pytest.approx(2 / 3 + 1 / 13)
    assert overlap_loss("ciou", box, thing).item() == pytest.approx(2 / 3 + 1 / 13)
    for kind in PEERS:
        assert overlap_loss(kind, thing, thing).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", [WEIGHTS, (10.0, 10.0, 5.0, 5.0)])
def test_losses_of_deltas_are_torchvisions(kind, weights):
    generator = torch.Generator().manual_seed(1)
    references, objects = random_boxes(generator, 40), random_boxes(generator, 40)
    deltas = torch.randn(40, 4, generator=generator, dtype=torch.float64).requires_grad_()
    is_positive = torch.rand(40, generator=generator) < 0.4
    found = box_loss(kind, deltas, references, objects, weights, is_positive).sum()
    own = (references[is_positive], objects[is_positive], deltas[is_positive])
    wanted = _box_loss(kind.replace("-", "_"), BoxCoder(weights), *own, {"beta": SMOOTHNESS})
    torch.testing.assert_close(found, wanted)
    gradients = [torch.autograd.grad(loss, deltas)[0] for loss in (found, wanted)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_without_an_object_cost_nothing_whatever_is_said_of_them(kind):
    deltas = torch.tensor([[0.1, 0.1, 0.1, 0.1], [0.0, 0.0, -900.0, -900.0]], requires_grad=True)
    references = torch.tensor([[0.0, 0, 10, 10], [5, 5, 20, 20]])
    losses = box_loss(kind, deltas, references, references.clone(), WEIGHTS, torch.tensor([True, False]))
    assert losses[0] > 0
    assert losses[1] == 0
    losses.sum().backward()
    assert deltas.grad.isfinite().all()
    assert deltas.grad[1].tolist() == [0, 0, 0, 0]


def losses_of(name, **settings):
    values = {"detector": name, "neck_channels": 8, "head_channels": 16, "tower_depth": 1, "anchor_scales": (4.0,)}
    generator = torch.Generator().manual_seed(0)
    rewrite = identity(Architecture.parse("b@8_1-2"))
    detector = build_detector(rewrite, 3, DetectorSettings(**values, **settings), {}, generator=generator)[0].train()
    boxes = torch.tensor([[4.0, 4, 40, 44], [10, 20, 60, 60]])
    targets = pad_targets([{"boxes": boxes, "labels": torch.tensor([1, 3])}] * 2, [(64, 64)] * 2)
    images = torch.randn(2, 3, 64, 64, generator=generator)
    losses = detector.losses(images, targets, generator=generator)
    torch.stack(list(losses.values())).sum().backward()
    return {key: value.item() for key, value in losses.items()}


@pytest.mark.parametrize("name", ["faster-rcnn", "cascade-rcnn", "retinanet"])
def test_every_detector_takes_every_loss_where_its_boxes_are_refined(name):
    default = losses_of(name)
    refined = {key for key in default if "reg" in key}
    proposed = {key for key in refined if "rpn" in key}
    assert refined
    for kind in ("giou", "ciou"):
        found = losses_of(name, box_loss=kind)
        assert {key for key in found if found[key] != default[key]} == refined - proposed
        twice = losses_of(name, box_loss=kind, box_loss_weight=2.0)
        for key in refined - proposed:
            assert twice[key] == pytest.approx(2 * found[key], rel=1e-5)
    if proposed:
        found = losses_of(name, rpn_box_loss="diou", rpn_box_loss_weight=10.0)
        assert proposed <= {key for key in found if found[key] != default[key]}
    same = "l1" if name == "retinanet" else "smooth-l1"
    assert losses_of(name, box_loss=same, rpn_box_loss="smooth-l1", box_loss_weight=1.0) == default


def test_an_unknown_loss_is_refused():
    with pytest.raises(ConfigError, match="box_loss is 'iou': input should be 'smooth-l1', 'l1', 'giou', 'diou' or"):
        validate(DetectorSettings, {"box_loss": "iou"})
