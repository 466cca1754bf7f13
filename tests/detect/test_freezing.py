"""What is not trained: the first stages and norms, where they were inherited."""

import json

import pytest
import torch
import torchvision
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_training import tiny_settings
from torch import nn
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from spnas_core import Architecture
from spnas_core.backbones import read_network, unchanged
from spnas_core.interchange import to_torchvision
from spnas_core.morphisms import AddRow, Expand, identity
from spnas_detect.data.targets import pad_targets
from spnas_detect.detectors import DetectorSettings, RetinaNet, build_detector
from spnas_detect.jobs import train
from spnas_detect.training import freeze_inherited
from spnas_detect.training.norms import FrozenNorm
from spnas_search.cli.main import commands

SMALL = {"neck_channels": 8, "head_channels": 16}
START = Architecture.parse("b@4_11-21-21")


def built(rewrite, parent=None, **settings):
    settings = DetectorSettings(**{**SMALL, **settings})
    return build_detector(rewrite, 2, settings, parent or {}, generator=torch.Generator().manual_seed(0))[:2]


def frozen_part(rewrite, parent, norm="batch", freeze_at=None, **settings):
    """A child, the names of its frozen norms, and those of its frozen parameters."""
    detector, plan = built(rewrite, parent, **settings)
    frozen = freeze_inherited(detector, plan, norm, freeze_at)
    assert set(frozen.norms) == {name for name, m in detector.named_modules() if isinstance(m, FrozenNorm)}
    assert set(frozen.parameters) == {name for name, p in detector.named_parameters() if not p.requires_grad}
    return detector, set(frozen.norms), set(frozen.parameters)


def norms_of(detector):
    return {name for name, layer in detector.named_modules() if isinstance(layer, nn.BatchNorm2d)}


def test_norms_are_frozen_where_their_statistics_were_inherited_and_a_fresh_neck_is_trained():
    parent = built(identity(START))[0].state_dict()
    detector, norms, parameters = frozen_part(identity(START), parent, "frozen", neck="bifpn")
    assert norms == {name for name in norms_of(detector) if name.startswith("backbone.")} != set()
    assert parameters == {f"{name}.{leaf}" for name in norms for leaf in ("weight", "bias")}
    trained = [detector.get_submodule(name) for name in norms_of(detector) - norms]
    before = [norm.running_mean.clone() for norm in trained]
    detector.train()
    detector.neck(detector.backbone(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))))
    assert all(not torch.equal(norm.running_mean, mean) for norm, mean in zip(trained, before, strict=True))


@pytest.mark.parametrize(("norm", "freeze_at"), [("frozen", None), ("batch", 2), ("frozen", 3)])
def test_fresh_weights_are_trained_whatever_is_to_be_frozen(norm, freeze_at):
    detector, norms, parameters = frozen_part(identity(START), {}, norm, freeze_at)
    assert not norms
    assert not parameters
    assert all(parameter.requires_grad for parameter in detector.parameters())


def test_weights_without_statistics_freeze_no_norm():
    parent = built(identity(START))[0].state_dict()
    parent = {name: tensor for name, tensor in parent.items() if "running" not in name}
    _, norms, parameters = frozen_part(identity(START), parent, "frozen")
    assert not norms
    assert not parameters


@pytest.mark.parametrize("layers", [5, 4, 3, 2, 1, 0])
def test_the_first_stages_are_frozen_as_torchvision_freezes_them(layers):
    architecture = Architecture.parse("b_11-21-21-21")
    theirs = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=layers
    )
    expected = {name for name, parameter in theirs.body.named_parameters() if not parameter.requires_grad}
    parent = built(identity(architecture))[0].state_dict()
    detector, norms, parameters = frozen_part(identity(architecture), parent, freeze_at=5 - layers)
    backbone = {name.removeprefix("backbone."): torch.zeros(()) for name in parameters}
    assert set(to_torchvision(architecture, backbone)) == expected
    assert {name for name in norms_of(detector) if f"{name}.weight" in parameters} == norms


def test_a_new_block_in_a_frozen_stage_is_trained():
    rewrite = next(o for o in Expand().options(START) if str(o.child) == "b@4_111-21-21")
    new = rewrite.block_map.index(None)
    parent = built(identity(START))[0].state_dict()
    for norm, freeze_at in (("frozen", None), ("batch", 2), ("sync", 2)):
        detector, norms, parameters = frozen_part(rewrite, parent, norm, freeze_at)
        assert not any(name.startswith(f"backbone.blocks.{new}.") for name in norms | parameters)
        assert "backbone.blocks.0.bn1" in norms
        assert detector.backbone.blocks[new].bn2.weight.requires_grad


def test_rows_of_a_frozen_stage_are_frozen_with_it_and_new_fusions_are_not():
    start = Architecture.parse("b@4_11-21_1-1")
    parent = built(identity(start))[0].state_dict()
    _, _, parameters = frozen_part(identity(start), parent, freeze_at=2)
    assert "backbone.rows.1.1.0.conv1.weight" in parameters
    assert "backbone.fusions.1.1.conv.weight" in parameters
    assert not any(name.startswith(("backbone.rows.2.", "backbone.fusions.2.", "neck.")) for name in parameters)
    added = next(o for o in AddRow().options(start) if str(o.child) == "b@4_11-21_2-1")
    _, _, parameters = frozen_part(added, parent, freeze_at=2)
    assert "backbone.fusions.1.1.conv.weight" in parameters
    assert not any(name.startswith("backbone.fusions.1.2.") for name in parameters)


def test_stages_that_nobody_reads_are_not_trained():
    detector, norms, parameters = frozen_part(identity(START), {}, levels=("s1", "s2"))
    assert parameters == {name for name, _ in detector.named_parameters() if name.startswith("backbone.blocks.4.")} | {
        name for name, _ in detector.named_parameters() if name.startswith("backbone.blocks.5.")
    }
    assert not norms


BACKBONES = [
    "b@4_11-21-21",
    "b@4_11-21-1_1-1-1",
    "b@4_11-21-1_1-1-1s",
    "trident(b@4_11-21-21)",
    "cb2(b@4_11-21-21)",
    "cb3(b@4_11-21-1_0-1-1)",
    "torchvision:mobilenet_v3_small",
    "torchvision:shufflenet_v2_x0_5",
    "timm:mobilenetv3_small_050",
    "timm:hrnet_w18_small",
]


@pytest.mark.parametrize("levels", [None, ("s1", "s2"), ("s2",), ("s1", "s3")])
@pytest.mark.parametrize("name", BACKBONES)
def test_what_is_trained_of_any_backbone_has_a_gradient_and_nothing_else_has(name, levels):
    """Several processes would wait for the missing ones."""
    detector, norms, parameters = frozen_part(
        unchanged(read_network(name)), {}, detector="retinanet", tower_depth=1, levels=levels
    )
    assert not norms
    assert all(parameter.startswith("backbone.") for parameter in parameters)
    losses(detector).backward()
    without = {name for name, parameter in detector.named_parameters() if parameter.grad is None}
    assert without == parameters
    for name in parameters:  # that it has none is why it is not trained
        detector.get_parameter(name).requires_grad_()
    losses(detector).backward()
    assert without == {name for name, parameter in detector.named_parameters() if parameter.grad is None}


IDLE_NECKS = {
    "merge:m@0=in0+in1;o0@0=in0+in1;o1@1=in1+o0;o2@2=in2+o1": ("neck.",),
    "merge:m@0=in0+in1;n@1=m+in1;o0@0=in0+in1;o1@1=in1+o0;o2@2=in2+o1": ("neck.",),
    "merge:o0@0=in0+in1;o1@1=in1+o0;o2@2=o1+o0": ("backbone.blocks.4.", "backbone.blocks.5.", "neck."),
}
"""Cells with a merge that nothing reads, two that nothing else does, and one without the coarsest features."""


@pytest.mark.parametrize("extra", ["pool", "conv", "stage-conv"])
@pytest.mark.parametrize("detector", ["retinanet", "faster-rcnn", "cascade-rcnn"])
@pytest.mark.parametrize("neck", list(IDLE_NECKS))
def test_what_is_trained_of_any_neck_has_a_gradient_and_nothing_else_has(neck, detector, extra):
    settings = {"detector": detector, "extra_levels": extra, "neck": neck, "tower_depth": 1}
    made, norms, parameters = frozen_part(identity(START), {}, **settings)
    assert not norms
    reads_last = extra == "stage-conv"  # the extra level does, where the cell does not
    expected = [prefix for prefix in IDLE_NECKS[neck] if not (reads_last and prefix.startswith("backbone."))]
    assert {prefix for prefix in IDLE_NECKS[neck] if any(name.startswith(prefix) for name in parameters)} == {*expected}
    losses(made).backward()
    assert {name for name, parameter in made.named_parameters() if parameter.grad is None} == parameters


class ReadsFeatures(RetinaNet):
    """A detector of a plugin that reads what the neck does not, and does not say what it reads."""

    reads_levels_alone = False

    def losses(self, images, targets, *, generator=None):
        found = super().losses(images, targets, generator=generator)
        return {**found, "loss_last": next(reversed(self.backbone(images).values())).square().mean()}


def test_heads_that_may_read_the_features_themselves_have_all_of_these_trained():
    neck = "merge:m@0=in0+in1;o0@0=in0+in1;o1@1=in1+o0;o2@2=o1+o0"
    detector, plan = built(identity(START), detector="retinanet", neck=neck)
    detector.__class__ = ReadsFeatures
    parameters = set(freeze_inherited(detector, plan, "batch", None).parameters)
    assert parameters
    assert all(name.startswith("neck.") for name in parameters)
    losses(detector).backward()
    assert {name for name, parameter in detector.named_parameters() if parameter.grad is None} == parameters


def losses(detector):
    targets = pad_targets(
        [{"boxes": torch.tensor([[4.0, 4, 30, 30]]), "labels": torch.tensor([1])}] * 2, [(64, 64)] * 2
    )
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return sum(detector.train().losses(images, targets, generator=torch.Generator().manual_seed(2)).values())


@pytest.mark.parametrize("name", ["cb2(b@4_11-21-21)", "torchvision:mobilenet_v3_small"])
def test_a_look_at_what_is_read_changes_neither_weights_nor_statistics_nor_random_states(name):
    detector, plan = built(unchanged(read_network(name)), levels=("s1", "s2"))
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    modes = [module.training for module in detector.modules()]
    state = torch.get_rng_state()
    freeze_inherited(detector, plan, "batch", None)
    assert all(torch.equal(before[name], tensor) for name, tensor in detector.state_dict().items())
    assert modes == [module.training for module in detector.modules()]
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("norm", ["group", "sync"])
def test_stages_are_frozen_with_every_norm(norm):
    parent = built(identity(START))[0].state_dict()
    detector, norms, parameters = frozen_part(identity(START), parent, norm, 2)
    assert {"backbone.stem.conv1.weight", "backbone.blocks.1.bn2.bias"} <= parameters
    assert bool(norms) == (norm == "sync")
    assert not any(name.startswith(("backbone.blocks.2.", "neck.", "rpn.")) for name in parameters)
    assert norm == "group" or type(detector.backbone.blocks[2].bn1).__name__ == "SyncNorm"


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.manual_seed(0)
    model = torchvision.models.resnet18()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    torch.save(model.state_dict(), path)
    return path


def settings_of(resnet, **training):
    values = {"batch_size": 4, "norm": "frozen", "freeze_at": 2, **training}
    return tiny_settings(architecture="b_11-21-21-2", init=f"torchvision:{resnet}", training=values, epochs=2)


def interrupted(settings, out, monkeypatch, steps):
    """Train for some steps, then go on."""
    from spnas_detect.training import Trainer

    advance = Trainer._advance

    def stopping(self, *arguments):
        if self.step == steps:
            raise KeyboardInterrupt
        return advance(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_advance", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(settings, out)


def test_a_resumed_training_freezes_what_it_froze(tmp_path, resnet, monkeypatch):
    settings = settings_of(resnet)
    train(settings, tmp_path / "whole")
    interrupted(settings, tmp_path / "parts", monkeypatch, 6)
    train(settings, tmp_path / "parts", resume=True)
    whole, parts = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    state = torch.load(resnet)
    assert torch.equal(whole["backbone.stem.conv1.weight"], state["conv1.weight"])
    assert torch.equal(whole["backbone.blocks.1.conv2.weight"], state["layer1.1.conv2.weight"])
    assert not torch.equal(whole["backbone.blocks.2.conv1.weight"], state["layer2.0.conv1.weight"])
    for name in ("running_mean", "running_var", "weight", "bias"):
        assert torch.equal(whole[f"backbone.blocks.3.bn1.{name}"], state[f"layer2.1.bn1.{name}"])


def test_a_checkpoint_from_before_that_choice_goes_on_as_it_began(tmp_path, resnet, monkeypatch):
    settings = settings_of(resnet, freeze_at=None)
    interrupted(settings, tmp_path, monkeypatch, 6)
    path = tmp_path / "checkpoint" / "checkpoint.safetensors"
    with safe_open(path, "pt") as file:
        said = json.loads(file.metadata()["spnas"])
    assert said.pop("frozen_norms")
    assert said.pop("frozen_parameters")
    save_file(load_file(path), path, {"spnas": json.dumps(said)})
    train(settings, tmp_path, resume=True)
    state, weights = torch.load(resnet), load_file(tmp_path / "weights.safetensors")
    assert torch.equal(weights["backbone.blocks.3.bn1.running_var"], state["layer2.1.bn1.running_var"])


@pytest.mark.parametrize(
    ("code", "freeze_at", "init", "message"),
    [
        ("b@8_1-2", 4, True, "freeze_at is 4, and b@8_1-2 has 2 stages: at most 3 (the stem, and all stages) can be"),
        (
            "b@8_1-2",
            1,
            False,
            "freeze_at is 1, and all weights are fresh: name weights to start from with --init, or set",
        ),
        ("b@8_1-2", -1, False, "training.freeze_at"),
    ],
)
def test_an_impossible_freeze_is_refused(tmp_path, code, freeze_at, init, message):
    chosen = ["--init", "w.safetensors"] if init else []
    arguments = [code, *chosen, "--set", f"training.freeze_at={freeze_at}", "--out", str(tmp_path / "o")]
    result = CliRunner().invoke(commands, ["train", *arguments])
    errors = [line for line in result.output.splitlines() if line.lower().startswith("error: ")]
    assert (result.exit_code, len(errors)) == (2, 1), result.output
    assert message in errors[0]
