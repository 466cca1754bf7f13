"""What a child's detector takes over from its parent's."""

import pytest
import torch
from same_detections import assert_same_detections

from spnas_core import Architecture
from spnas_core.morphisms import AddStage, Expand, Rewrite, Swap, identity
from spnas_detect.data import pad_targets
from spnas_detect.detectors import DetectorSettings, build_detector
from spnas_detect.necks.levels import source_stages

SETTINGS = DetectorSettings(neck_channels=8, head_channels=16, rpn_proposals=20, box_samples=8)
START = Architecture.parse("b@4_11-21-21")


def build(rewrite: Rewrite, parent=None, seed: int = 0, classes: int = 3):
    return build_detector(rewrite, classes, SETTINGS, parent or {}, generator=torch.Generator().manual_seed(seed))


def option(morphism, architecture: Architecture, detail: str) -> Rewrite:
    return next(o for o in morphism.options(architecture) if detail in str(o.steps[0]))


@pytest.mark.parametrize(
    ("rewrite", "expected"),
    [
        (identity(START), (0, 1, 2)),
        (option(Swap(), START, "border 1|2 moved right by 1"), (1, 1, 2)),
        (option(Swap(), START, "border 1|2 moved left by 1"), (0, 1, 2)),
        (option(Swap(), START, "border 2|3 moved right by 1"), (0, 2, 2)),
        (AddStage().options(START)[0], (0, 1, 2, 2)),
        (Expand().options(START)[1], (0, 1, 2)),
    ],
)
def test_laterals_follow_the_channels_that_they_were_trained_on(rewrite, expected):
    assert source_stages(rewrite) == expected


def test_a_lateral_without_a_parent_of_the_same_channels_has_no_source():
    parent = Architecture.parse("b@4_12-1")
    child = Architecture.parse("b@4_1-21")
    assert source_stages(Rewrite(parent, child, (0, 1, 2))) == (None, 1)


def test_an_identity_child_is_its_parent_bit_for_bit():
    parent, _, _ = build(identity(START))
    child, plan, receipt = build(identity(START), parent.state_dict(), seed=1)
    assert all(
        torch.equal(a, b) for a, b in zip(parent.state_dict().values(), child.state_dict().values(), strict=True)
    )
    assert receipt.new == receipt.expanded == 0
    assert receipt.inherited_percent == 100
    assert not plan.dropped


@pytest.mark.parametrize("morphism", [Swap(), Expand(), AddStage()])
def test_every_head_tensor_is_inherited_whatever_the_backbone_does(morphism):
    parent, _, _ = build(identity(START))
    state = parent.state_dict()
    for rewrite in morphism.options(START):
        child, _, receipt = build(rewrite, state, seed=1)
        for name, tensor in child.state_dict().items():
            if name.startswith(("rpn.", "roi_heads.")):
                assert torch.equal(tensor, state[name]), name
        assert all(parameter.requires_grad for parameter in child.parameters())
        assert receipt.copied + receipt.expanded + receipt.new == sum(p.numel() for p in child.parameters())


def test_expand_keeps_detections():
    parent, _, _ = build(identity(START))
    child, _, _ = build(option(Expand(), START, "block 2 of stage 1"), parent.state_dict(), seed=1)
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        before, after = parent.eval().detect(images).images(), child.eval().detect(images).images()
    assert assert_same_detections(after, before, SETTINGS, rtol_scores=1e-5).shared > 50


def test_other_classes_take_over_the_overlapping_part():
    parent, _, _ = build(identity(START), classes=3)
    child, _, receipt = build(identity(START), parent.state_dict(), seed=1, classes=5)
    name = "roi_heads.box_predictor.cls_score.weight"
    assert torch.equal(child.state_dict()[name][:4], parent.state_dict()[name])
    assert receipt.expanded > 0
    assert receipt.copied > receipt.expanded


def test_first_values_follow_the_seed():
    one, other, third = (build(identity(START), seed=seed)[0].state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(not torch.equal(one[name], third[name]) for name in one)


def test_anchors_and_levels_follow_the_number_of_stages():
    for code in ("b@4_1-1", "b@4_11-21-21", "b@4_1-1-1-1-1"):
        detector, _, _ = build(identity(Architecture.parse(code)))
        sizes = detector.rpn.anchors.sizes()
        assert len(sizes) == len(Architecture.parse(code).stages)
        assert [level[0] for level in sizes] == [SETTINGS.anchor_scales[0] * 4 * 2**i for i in range(len(sizes))]
        losses = detector.train().losses(
            torch.randn(2, 3, 64, 64),
            pad_targets(
                [
                    {"boxes": torch.tensor([[4.0, 4.0, 40.0, 30.0]]), "labels": torch.tensor([1])},
                    {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
                ],
                [(64, 64)] * 2,
            ),
        )
        assert set(losses) == {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}
        assert all(torch.isfinite(loss) for loss in losses.values())
