"""Detectors of torchvision in our names, whichever version wrote the file."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import detection
from torchvision.models._meta import _COCO_CATEGORIES
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d

from spnas_core import Architecture
from spnas_core.errors import WeightsError
from spnas_core.interchange import COCO_CLASSES, from_torchvision, from_torchvision_detector, initial_weights
from spnas_core.interchange.initial_weights import DESCRIPTION, read_initial_weights

RESNET50 = Architecture.parse("r_111-2111-211111-211")


def test_the_categories_are_torchvisions():
    assert list(COCO_CLASSES) == list(_COCO_CATEGORIES)


def model(name, **keywords):
    torch.manual_seed(0)
    return getattr(detection, name)(weights=None, weights_backbone=None, **keywords)


@pytest.fixture(scope="module")
def states():
    names = ("fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "retinanet_resnet50_fpn")
    return {name: model(name).state_dict() for name in (*names, "retinanet_resnet50_fpn_v2", "maskrcnn_resnet50_fpn")}


def test_a_faster_rcnn_has_all_its_tensors_in_our_names(states):
    state = states["fasterrcnn_resnet50_fpn"]
    found = from_torchvision_detector(state)
    assert found.architecture == RESNET50
    assert found.stages == (0, 1, 2, 3)
    assert not found.left_out
    assert len(found.tensors) == len(state)
    for ours, theirs in (
        ("backbone.blocks.3.projection.conv.weight", "backbone.body.layer2.0.downsample.0.weight"),
        ("neck.inner_blocks.2.0.bias", "backbone.fpn.inner_blocks.2.0.bias"),
        ("rpn.head.conv.0.0.weight", "rpn.head.conv.0.0.weight"),
        ("roi_heads.box_predictor.bbox_pred.weight", "roi_heads.box_predictor.bbox_pred.weight"),
    ):
        assert found.tensors[ours] is state[theirs]
    assert len(found.classes) == 90
    assert (found.classes[0], found.classes[11], found.classes[89]) == ("person", "", "toothbrush")


def test_a_retinanet_reads_from_the_second_stage_and_has_extra_levels(states):
    found = from_torchvision_detector(states["retinanet_resnet50_fpn"])
    assert found.stages == (1, 2, 3)
    assert found.tensors["extra.p7.weight"] is states["retinanet_resnet50_fpn"]["backbone.fpn.extra_blocks.p7.weight"]
    assert len(found.tensors) == len(states["retinanet_resnet50_fpn"])
    assert len(found.classes) == 91
    assert found.classes[:2] == ("", "person")  # its labels count the background


def older(state):
    """The names of files from before torchvision 0.13, and frozen norms, which count no batches."""
    changes = [
        (f"fpn.{part}_blocks.{i}.0.", f"fpn.{part}_blocks.{i}.") for part in ("inner", "layer") for i in range(4)
    ]
    changes += [(f"_head.conv.{depth}.0.", f"_head.conv.{2 * depth}.") for depth in range(4)]
    changes.append(("rpn.head.conv.0.0.", "rpn.head.conv."))
    renamed = {}
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):
            change = next((change for change in changes if change[0] in name), ("", ""))
            renamed[name.replace(*change) if change[0] else name] = tensor
    return renamed


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "retinanet_resnet50_fpn"])
def test_older_names_are_read(states, name):
    state = older(states[name])
    assert not state.keys() >= states[name].keys() - {key for key in states[name] if key.endswith("tracked")}
    getattr(detection, name)(weights=None, weights_backbone=None).load_state_dict(state, strict=False)
    found, expected = from_torchvision_detector(state), from_torchvision_detector(states[name])
    assert found.tensors.keys() == {key for key in expected.tensors if not key.endswith("num_batches_tracked")}
    assert all(tensor is expected.tensors[key] for key, tensor in found.tensors.items())
    assert found.classes == expected.classes


def test_the_norms_of_a_second_versions_neck_are_folded(states):
    state = dict(states["fasterrcnn_resnet50_fpn_v2"])
    generator = torch.Generator().manual_seed(1)
    theirs = FeaturePyramidNetwork([256, 512, 1024, 2048], 256, norm_layer=nn.BatchNorm2d).eval()
    for name, tensor in theirs.state_dict().items():
        if tensor.is_floating_point():
            values = torch.randn(tensor.shape, generator=generator) * 0.05
            tensor.copy_(values.abs() + 0.5 if name.endswith(("running_var", ".1.weight")) else values)
        state[f"backbone.fpn.{name}"] = tensor
    found = from_torchvision_detector(state)
    ours = FeaturePyramidNetwork([256, 512, 1024, 2048], 256).eval()
    ours.load_state_dict(
        {name.removeprefix("neck."): t for name, t in found.tensors.items() if name.startswith("neck.")}
    )
    channels = (256, 512, 1024, 2048)
    features = {str(i): torch.randn(1, c, 16 >> i, 16 >> i, generator=generator) for i, c in enumerate(channels)}
    with torch.no_grad():
        for name, level in theirs(features).items():
            torch.testing.assert_close(ours(features)[name], level, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        (
            "fasterrcnn_resnet50_fpn_v2",
            (
                "rpn.head (a proposal head of two convolutions)",
                "roi_heads.box_head (a box head of convolutions)",
                "roi_heads.box_predictor (what reads that box head)",
            ),
        ),
        ("retinanet_resnet50_fpn_v2", ("head (towers with norms)",)),
        ("maskrcnn_resnet50_fpn", ("roi_heads.mask_head", "roi_heads.mask_predictor")),
    ],
)
def test_parts_without_a_counterpart_are_left_out_and_told(states, name, left_out):
    found = from_torchvision_detector(states[name])
    assert found.left_out == left_out
    parts = [entry.partition(" ")[0] + "." for entry in left_out]
    assert not [key for key in found.tensors if key.startswith(tuple(parts))]
    assert any(key.startswith("neck.") for key in found.tensors)
    if name == "retinanet_resnet50_fpn_v2":
        assert found.tensors["extra.p6.weight"].shape[1] == 2048  # of the stage, as in the paper
    if name == "maskrcnn_resnet50_fpn":
        assert len(found.classes) == 90


def test_other_numbers_of_classes_have_no_names():
    assert from_torchvision_detector(model("fasterrcnn_resnet50_fpn", num_classes=5).state_dict()).classes == ("",) * 4


def test_the_backbone_alone_is_that_of_the_detector(states, tmp_path):
    state = states["fasterrcnn_resnet50_fpn"]
    torch.save(state, tmp_path / "d.pth")
    found = read_initial_weights(f"torchvision-backbone:{tmp_path / 'd.pth'}", RESNET50)
    body = {name.removeprefix("backbone.body."): t for name, t in state.items() if name.startswith("backbone.body.")}
    expected = {f"backbone.{name}": tensor for name, tensor in from_torchvision(RESNET50, body).items()}
    assert found.tensors.keys() == expected.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in expected.items())
    assert not found.said


def test_norms_of_the_published_first_versions_add_nothing_to_the_variance(states, tmp_path, monkeypatch):
    """torchvision sets their eps to 0; ours adds 1e-5, which is taken off the variance."""
    path = tmp_path / "d.pth"
    torch.save(states["fasterrcnn_resnet50_fpn"], path)
    plain = read_initial_weights(f"torchvision:{path}", RESNET50).tensors
    monkeypatch.setitem(initial_weights.TRAINED_WITHOUT_EPS, initial_weights._digest(path)[:8], "this one")
    exact = read_initial_weights(f"torchvision:{path}", RESNET50).tensors
    name = "backbone.blocks.0.bn1.running_var"
    x = torch.randn(2, 64, 3, 3, generator=torch.Generator().manual_seed(0))
    theirs, ours = FrozenBatchNorm2d(64, eps=0.0), nn.BatchNorm2d(64).eval()
    theirs.running_var.copy_(plain[name])
    ours.running_var.copy_(exact[name])
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-6, rtol=1e-6)
    assert not torch.equal(plain[name], exact[name])
    assert all(torch.equal(plain[key], exact[key]) for key in plain if not key.endswith("running_var"))


def test_digests_are_those_in_the_published_names():
    weights = (
        detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1,
        detection.RetinaNet_ResNet50_FPN_Weights.COCO_V1,
        detection.MaskRCNN_ResNet50_FPN_Weights.COCO_V1,
        detection.KeypointRCNN_ResNet50_FPN_Weights.COCO_V1,
    )
    names = {digest: name for digest, name in initial_weights.TRAINED_WITHOUT_EPS.items() if name != "this one"}
    assert names == {w.url[-12:-4]: w.url.rpartition("/")[2][:-13] for w in weights}


def test_what_torchvision_has_may_be_saved_by_safetensors(states, tmp_path):
    state = states["fasterrcnn_resnet50_fpn"]
    torch.save(state, tmp_path / "d.pth")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "d.safetensors")
    for kind in ("torchvision", "torchvision-backbone"):
        one, other = (
            read_initial_weights(f"{kind}:{tmp_path / name}", RESNET50) for name in ("d.pth", "d.safetensors")
        )
        assert one.architecture == other.architecture
        assert all(torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())
    save_file({"x": torch.zeros(1)}, tmp_path / "own.safetensors", {DESCRIPTION: '{"architecture": "b@8_1-2"}'})
    with pytest.raises(WeightsError, match=r"is of spnas itself, of b@8_1-2: name the file alone, .*own.safetensors$"):
        read_initial_weights(f"torchvision:{tmp_path / 'own.safetensors'}", RESNET50)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"backbone.fpn.inner_blocks.1.0.weight": torch.zeros(256, 300, 1, 1)},
            "inner_blocks.1.0.weight is (256, 300, 1, 1)",
        ),
        (
            {"backbone.body.layer3.2.conv1.weight": torch.zeros(3, 3, 1, 1)},
            "1 tensors differ, first blocks.9.conv1.weight ((3,",
        ),
        ({"backbone.fpn.inner_blocks.2.0.weight": torch.zeros(256, 256, 1, 1)}, "reads the stages [1, 2, 1, 4]"),
    ],
)
def test_a_file_whose_parts_contradict_each_other_is_refused(states, tmp_path, change, message):
    path = tmp_path / "d.pth"
    torch.save(states["fasterrcnn_resnet50_fpn"] | change, path)
    with pytest.raises(WeightsError) as caught:
        read_initial_weights(f"torchvision:{path}", RESNET50)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_detector_without_a_resnet_is_refused(tmp_path):
    state = detection.fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None).state_dict()
    torch.save(state, tmp_path / "d.pth")
    with pytest.raises(WeightsError, match=r"d\.pth: there are no tensors of a torchvision ResNet"):
        read_initial_weights(f"torchvision:{tmp_path / 'd.pth'}", RESNET50)
