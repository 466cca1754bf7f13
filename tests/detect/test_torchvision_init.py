"""A training or a search that starts from a detector of torchvision: classes by name, near architectures, refusals."""

import json

import pytest
import torch
from click.testing import CliRunner
from full_size import COCO
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models import resnet18
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from spnas_core import Architecture, build_backbone
from spnas_core.errors import EvaluationError, WeightsError
from spnas_core.interchange.initial_weights import read_initial_weights
from spnas_core.morphisms import identity
from spnas_core.tasks import EvaluationRequest, Fidelity
from spnas_detect.detectors import DetectorSettings, build_detector
from spnas_detect.detectors.classes import ClassMap, ClassRows, match_classes
from spnas_detect.detectors.origin import implied_settings, origin_of
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask
from spnas_search.cli.main import commands
from spnas_search.run.initial_weights import import_weights, initial_rewrite

CODE = "b_11-21-21-21"
RESNET18 = Architecture.parse(CODE)
SIZES = {"neck_channels": 16, "head_channels": 32, "pooled_size": 3, "aspect_ratios": (0.5, 1.0), "rpn_proposals": 20}
FRESH = 0.01 * (1024 / SIZES["head_channels"]) ** 0.5
"""Standard deviation of first values of class scores; those of a torchvision file have another."""
LEVELS = {"levels": ("s2", "s3", "s4"), "extra_levels": "conv"}
SETS = [f"detector.{key}={value}" for key, value in (("neck_channels", 16), ("head_channels", 32), ("pooled_size", 3))]
DATA = {"image_size": 64, "train": 8, "validation": 4, "test": 4, "max_size": 32, "min_size": 12}


def body(layers, extra=None):
    """A small pyramid on ResNet-18."""
    channels = {1: 64, 2: 128, 3: 256, 4: 512}
    torch.manual_seed(0)
    backbone = resnet18()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    names = {f"layer{layer}": str(i) for i, layer in enumerate(layers)}
    return BackboneWithFPN(backbone, names, [channels[layer] for layer in layers], 16, extra)


def faster_rcnn(classes=91):
    model = FasterRCNN(
        body((1, 2, 3, 4)),
        rpn_anchor_generator=AnchorGenerator(((8, 16),) * 5, ((0.5, 1.0),) * 5),
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], 3, 1),
        box_head=TwoMLPHead(16 * 9, 32),
        box_predictor=FastRCNNPredictor(32, classes),
    )
    for parameter in model.roi_heads.box_predictor.parameters():
        nn.init.normal_(parameter)
    return model


def retinanet(classes=91):
    model = RetinaNet(
        body((2, 3, 4), LastLevelP6P7(16, 16)),
        classes,
        anchor_generator=AnchorGenerator(((8, 16),) * 5, ((0.5, 1.0),) * 5),
    )
    nn.init.normal_(model.head.classification_head.cls_logits.bias)
    return model


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torchvision")
    models = {"faster-rcnn": faster_rcnn(), "retinanet": retinanet(), "five": faster_rcnn(5)}
    for name, model in models.items():
        torch.save(model.state_dict(), folder / f"{name}.pth")
    return {name: folder / f"{name}.pth" for name in models}


def built(path, classes, code=CODE, **settings):
    architecture = Architecture.parse(code)
    found = read_initial_weights(f"torchvision:{path}", architecture)
    origin = origin_of(found.said, found.architecture)
    chosen = DetectorSettings(**{**SIZES, **settings})
    origin.check(found.tensors, chosen)
    return build_detector(
        found.rewrite(architecture),
        len(classes),
        chosen,
        found.tensors,
        generator=torch.Generator().manual_seed(0),
        parent_stages=origin.stages,
        class_map=origin.class_map(classes),
    )


CLASSES = ("Dog", "tvmonitor", "dinosaur", "traffic-light")
NUMBERS = [COCO.index(name) for name in ("dog", "tv", "traffic light")]


def test_the_rows_of_a_class_are_those_of_its_name(files):
    detector, _, receipt = built(files["faster-rcnn"], CLASSES)
    predictor = detector.roi_heads.box_predictor
    theirs = torch.load(files["faster-rcnn"])
    scores, boxes = (theirs[f"roi_heads.box_predictor.{name}.weight"] for name in ("cls_score", "bbox_pred"))
    for row, number in zip((0, 1, 2, 4), (0, *NUMBERS), strict=True):
        assert torch.equal(predictor.cls_score.weight[row], scores[number])
        assert torch.equal(predictor.bbox_pred.weight[4 * row : 4 * row + 4], boxes[4 * number : 4 * number + 4])
        bias = theirs["roi_heads.box_predictor.cls_score.bias"]
        assert torch.equal(predictor.cls_score.bias[row], bias[number])
    assert predictor.cls_score.bias[3] == 0
    assert predictor.cls_score.weight[3].std().item() == pytest.approx(FRESH, rel=0.5)
    assert receipt.new == 0
    assert receipt.expanded == sum(parameter.numel() for parameter in predictor.parameters())


def test_every_anchor_of_a_retinanet_has_the_rows_of_its_classes(files):
    detector, _, _ = built(files["retinanet"], CLASSES, detector="retinanet", **LEVELS)
    theirs = torch.load(files["retinanet"])
    bias = theirs["head.classification_head.cls_logits.bias"].reshape(4, 91)
    mine = detector.head.classification_head.cls_logits.bias.detach().reshape(4, 4)
    assert torch.equal(mine[:, [0, 1, 3]], bias[:, NUMBERS])
    assert torch.allclose(mine[:, 2], torch.tensor(-4.5951))  # the prior of a class that is not known yet
    assert torch.equal(detector.extra.p7.weight, theirs["backbone.fpn.extra_blocks.p7.weight"])


def test_a_file_without_class_names_gives_as_many_classes_in_order_and_no_others(files):
    theirs = torch.load(files["five"])["roi_heads.box_predictor.cls_score.weight"]
    same = built(files["five"], ("a", "b", "c", "d"))[0].roi_heads.box_predictor.cls_score.weight
    assert torch.equal(same, theirs)
    fewer = built(files["five"], ("a", "b", "c"))[0].roi_heads.box_predictor.cls_score.weight
    assert torch.equal(fewer[0], theirs[0])
    assert fewer[1:].std().item() == pytest.approx(FRESH, rel=0.3)


@pytest.mark.parametrize(
    ("parent", "child", "sources"),
    [
        (("cat", "dog"), ("cat", "dog"), None),
        (("cat", "dog"), ("dog", "cat"), (1, 0)),
        (("cat", "dog"), ("cat",), (0,)),
        (("traffic light", "", "airplane"), ("Traffic_Light", "aeroplane", ""), (0, 2, None)),
        (("猫", "狗"), ("狗",), (1,)),
        (("", ""), ("a", "b"), None),
        (("", ""), ("a", "b", "c"), (None, None, None)),
    ],
)
def test_classes_match_by_name(parent, child, sources):
    found = match_classes(parent, child)
    assert (None if found is None else found.sources) == sources


def test_row_pairs_follow_the_layout():
    classes = ClassMap(3, (2, None))
    assert classes.row_pairs(ClassRows(1, 1, 2), 8) == ((0, 0), (1, 1), (2, 6), (3, 7))
    assert classes.row_pairs(ClassRows(2, 0, 1), 6) == ((0, 2), (2, 5))
    assert classes.row_pairs(ClassRows(2, 0, 1), 8) is None


def test_other_anchors_start_their_class_rows_anew(files):
    settings = {"detector": "retinanet", "aspect_ratios": (1.0,), **LEVELS}
    detector, plan, _ = built(files["retinanet"], CLASSES, **settings)
    assert "head.classification_head.cls_logits.weight" not in {copy.target for copy in plan.copies}
    assert torch.allclose(detector.head.classification_head.cls_logits.bias, torch.tensor(-4.5951))


def test_settings_can_be_told_from_the_tensors(files):
    expected = {"neck_channels": 16, "head_channels": 32, "pooled_size": 3}
    assert implied_settings(read_initial_weights(f"torchvision:{files['faster-rcnn']}", RESNET18).tensors) == expected
    tensors = read_initial_weights(f"torchvision:{files['retinanet']}", RESNET18).tensors
    assert implied_settings(tensors) == {"neck_channels": 16, "tower_depth": 4, "extra_levels": "conv"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"neck_channels": 8},
            "with neck_channels = 16, and detector.neck_channels is 8: --set detector.neck_channels=16,",
        ),
        (
            {"head_channels": 16, "pooled_size": 5},
            "--set detector.head_channels=32 --set detector.pooled_size=3, or",
        ),
    ],
)
def test_a_detector_of_other_sizes_is_refused_with_the_settings_that_fit(files, changes, message):
    with pytest.raises(WeightsError) as caught:
        built(files["faster-rcnn"], CLASSES, **changes)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"torchvision:{files['faster-rcnn']} is of a detector with")
    assert str(caught.value).endswith(f"or take its backbone alone, as torchvision-backbone:{files['faster-rcnn']}")


def test_what_the_child_does_not_have_may_differ(files):
    """Another detector keeps backbone and neck, another neck the heads."""
    detector, plan, _ = built(files["retinanet"], CLASSES, head_channels=64)
    theirs = torch.load(files["retinanet"])["backbone.fpn.layer_blocks.1.0.weight"]
    assert torch.equal(detector.neck.layer_blocks[2][0].weight, theirs)
    assert any(name.startswith("head.") for name in plan.dropped)
    built(files["faster-rcnn"], CLASSES, neck="pafpn", neck_channels=8)


def invoke(*arguments):
    return CliRunner().invoke(commands, list(map(str, arguments)))


def train_arguments(path, out, code=CODE, *more):
    sets = [*SETS, "detector.aspect_ratios=[0.5,1.0]", f"data_options={toml(DATA)}", "training.batch_size=4", *more]
    flags = [part for assignment in sets for part in ("--set", assignment)]
    return ["train", code, "--image-size", "64x64", "--epochs", "1", "--init", path, "--out", out, *flags]


def toml(values):
    return "{" + ", ".join(f"{key} = {value}" for key, value in values.items()) + "}"


def test_a_training_on_a_near_architecture_tells_what_it_inherits(files, tmp_path):
    near = "b_111-211-21-21"
    slow = (
        "training.finetune_learning_rate=1e-9",
        "training.weight_decay=0",
        "training.norm=frozen",
        "training.freeze_at=2",
    )
    result = invoke(*train_arguments(f"torchvision:{files['faster-rcnn']}", tmp_path / "o", near, *slow))
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert "% inherited" in text
    assert f"align: 8 of 10 residual branches are those of {CODE}" in text
    assert "0 of 4 classes are inherited by their names; new: square, disc, triangle, ring" in text
    weights, theirs = load_file(tmp_path / "o" / "weights.safetensors"), torch.load(files["faster-rcnn"])
    assert torch.equal(weights["backbone.stem.conv1.weight"], theirs["backbone.body.conv1.weight"])
    assert torch.equal(weights["backbone.blocks.0.bn1.running_var"], theirs["backbone.body.layer1.0.bn1.running_var"])
    name = "rpn.head.conv.0.0.weight"
    torch.testing.assert_close(weights[name], theirs[name], atol=1e-5, rtol=1e-5)
    again = invoke(*train_arguments(tmp_path / "o" / "weights.safetensors", tmp_path / "again", near))
    assert again.exit_code == 0, again.output
    assert "100.0 % inherited" in " ".join(again.output.split())


def refused(arguments):
    result = invoke(*arguments)
    errors = [line for line in result.output.splitlines() if line.lower().startswith("error: ")]
    assert (result.exit_code, len(errors)) == (2, 1), result.output
    return errors[0]


def test_commands_refuse_a_detector_that_does_not_fit_before_any_image_is_read(files, tmp_path):
    path = f"torchvision:{files['faster-rcnn']}"
    arguments = ["train", CODE, "--init", path, "--out", tmp_path / "o"]
    assert "detector.neck_channels is 32 and detector.head_channels is 128" in refused(arguments)
    wide = ["train", "r_111-2111-211111-211", "--init", path, "--out", tmp_path / "o"]
    assert "block types 'r' and 'b' differ" in refused(wide)
    start = ["run", "serial", "--out", tmp_path / "r", "--start", CODE]
    search = [*start, "--init", path]
    assert "--set task.detector.neck_channels=16 --set task.detector.head_channels=32" in refused(search)
    levels = [*start, "--set", 'task.detector.levels=["s5"]']
    assert "detector.levels names 's5'" in refused(levels)
    freeze = [*start, "--set", "task.training.freeze_at=6"]
    assert "freeze_at is 6" in refused(freeze)
    assert not (tmp_path / "o").exists()
    assert not (tmp_path / "r").exists()


def test_a_candidate_of_a_search_inherits_from_the_imported_file(files, tmp_path):
    settings = DetectionSettings.model_validate(
        {
            "image_size": (64, 64),
            "data_options": DATA,
            "detector": {**SIZES, "detector": "retinanet", "extra_levels": "conv"},
        }
    )
    task = DetectionTask(settings)
    task.prepare(tmp_path / "cache", lambda *_: None)
    near = Architecture.parse("b_11-211-21-21")
    source = f"torchvision:{files['retinanet']}"
    import_weights(source, near, tmp_path / "init.safetensors")
    with safe_open(tmp_path / "init.safetensors", "pt") as file:
        said = json.loads(file.metadata()["spnas"])
    assert (said["architecture"], said["stages"], said["classes"][1]) == (CODE, [1, 2, 3], "person")
    rewrite = initial_rewrite(tmp_path / "init.safetensors", near)
    assert task.check_start(near, read_initial_weights(source, near)) == ()
    request = EvaluationRequest(0, rewrite, tmp_path / "init.safetensors", tmp_path / "w", Fidelity(0), 1)
    receipt = task.evaluate(request, lambda _: None).receipt
    assert receipt["origin"] == ["0 of 4 classes are inherited by their names; new: square, disc, triangle, ring"]
    assert receipt["inherited_percent"] > 90
    weights, theirs = load_file(tmp_path / "w"), torch.load(files["retinanet"])
    for level in range(3):  # its laterals read from the second stage on, and ours from the first
        ours = weights[f"neck.inner_blocks.{level + 1}.0.weight"]
        assert torch.equal(ours, theirs[f"backbone.fpn.inner_blocks.{level}.0.weight"])
    assert torch.allclose(weights["head.classification_head.cls_logits.bias"], torch.tensor(-4.5951))  # no class of it
    child = EvaluationRequest(1, identity(near), tmp_path / "w", None, Fidelity(0), 1)
    later = task.evaluate(child, lambda _: None).receipt
    assert later["inherited_percent"] == 100
    assert "origin" not in later


def test_a_candidate_without_a_stage_that_the_settings_name_fails_alone(tmp_path):
    detector = {**SIZES, "levels": ("s1", "s3")}
    task = DetectionTask(DetectionSettings.model_validate({"data_options": DATA, "detector": detector}))
    short = Architecture.parse("b@8_1-2")
    with pytest.raises(EvaluationError, match="names 's3', and b@8_1-2 has the stages s1 to s2"):
        task.evaluate(EvaluationRequest(3, identity(short), None, None, Fidelity(0), 1), lambda _: None)


@pytest.mark.parametrize(
    ("more", "gone", "message"),
    [
        ({"layer1.0.se.fc1.weight": torch.ones(4, 64, 1, 1)}, (), r"se.fc1.weight \(not in this network\)"),
        ({"layer1.0.convs.0.weight": torch.ones(4, 4, 3, 3)}, ("layer1.0.conv2.weight",), "conv2.weight is missing"),
        ({"layer1.0.conv2.weight": torch.ones(64)}, (), r"conv2.weight has the shape \(64,\)"),
    ],
)
def test_relatives_of_a_resnet_are_refused_in_a_line(tmp_path, more, gone, message):
    """A gate that nobody has a place for would be left out in silence."""
    state = {name: tensor for name, tensor in resnet18().state_dict().items() if name not in gone} | more
    torch.save(state, tmp_path / "relative.pth")
    with pytest.raises(WeightsError, match=message):
        read_initial_weights(f"torchvision:{tmp_path / 'relative.pth'}", RESNET18)


def test_a_file_that_does_not_say_what_it_is_of_has_no_block_too_many(tmp_path):
    small, large = (build_backbone(Architecture.parse(code)).state_dict() for code in ("b@8_11-21", "b@8_11-211"))
    save_file(large, tmp_path / "large.safetensors")
    save_file(small, tmp_path / "small.safetensors")
    assert read_initial_weights(str(tmp_path / "small.safetensors"), Architecture.parse("b@8_11-21"))
    with pytest.raises(WeightsError, match="not in this network"):
        read_initial_weights(str(tmp_path / "large.safetensors"), Architecture.parse("b@8_11-21"))
