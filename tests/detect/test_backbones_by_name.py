"""Detectors on networks of other libraries: trained, loaded again, exported, and compared with codes."""

import json

import pytest
import timm
import torch
from commands import done, refused
from safetensors.torch import load_file

from spnas_core.backbones import read_network, unchanged
from spnas_core.backbones.composite import in_every_copy
from spnas_core.cost import backbone_cost
from spnas_core.errors import PluginError
from spnas_core.interchange.initial_weights import InitialWeights, read_initial_weights
from spnas_detect.detectors import DetectorSettings, build_detector, read_description
from spnas_detect.detectors.loading import load_detector
from spnas_detect.training import freeze_inherited

NAME, SHUFFLE = "timm:mobilenetv3_small_050", "torchvision:shufflenet_v2_x0_5"
SETTINGS = (
    *("--image-size", "64x64", "--set", "training.batch_size=4", "--epochs", "1"),
    *("--set", "data_options={image_size=64, train=8, validation=2, test=2, max_size=32, min_size=12}"),
)
SMALL = DetectorSettings(neck_channels=8, head_channels=16)


def built(name, tensors=None, *, parent_stages=None, **options):
    settings, rewrite = SMALL.model_copy(update=options), unchanged(read_network(name))
    generator = torch.Generator().manual_seed(3)
    return build_detector(rewrite, 2, settings, tensors or {}, generator=generator, parent_stages=parent_stages)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "mobile"
    done("train", NAME, *SETTINGS, "--out", folder)
    return folder


def test_a_trained_file_knows_its_backbone(trained):
    weights = trained / "weights.safetensors"
    assert read_description(weights).architecture == NAME
    detector, _ = load_detector(weights, "cpu")
    tensors = load_file(weights)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in detector.state_dict().items())
    assert done("evaluate", trained, "--device", "cpu")
    assert NAME in done("report", trained) + (trained / "report.html").read_text()


def test_a_training_goes_on_with_such_weights(trained, tmp_path):
    said = done("train", NAME, *SETTINGS, "--init", trained / "weights.safetensors", "--out", tmp_path / "on")
    assert "100.0 % inherited" in said
    other = refused("train", "timm:mobilenetv3_small_075", *SETTINGS, "--init", trained / "weights.safetensors",
                    "--out", tmp_path / "no")  # fmt: skip
    assert "of timm:mobilenetv3_small_050: timm:mobilenetv3_small_075 cannot continue it" in other
    code = refused("train", "b@8_11-21", *SETTINGS, "--init", trained / "weights.safetensors", "--out", tmp_path / "no")
    assert "of timm:mobilenetv3_small_050: b@8_11-21 cannot continue it" in code


def test_it_is_exported_whole_and_in_part(trained, tmp_path):
    assert "detector faster-rcnn on timm:" in done(
        "export", trained, "--to", "torch-export", "--part", "detector", "--out", tmp_path
    )
    alone = done("export", NAME, "--to", "torch-export", "--image", "70x50", "--out", tmp_path)
    assert "s4 (288 channels, /32)" in alone
    assert "take onnx or torch-export" in refused("export", NAME, "--to", "source", "--out", tmp_path)


def test_codes_and_names_are_compared(tmp_path):
    said = done("compare", "b@8_1-21", NAME, *SETTINGS, "--seeds", "2", "--out", tmp_path / "both")
    found = json.loads((tmp_path / "both" / "compare.json").read_text())["architectures"]
    assert [one["architecture"] for one in found] == ["b@8_1-21", NAME]
    assert found[1]["multiply_adds"] == backbone_cost(read_network(NAME), 64, 64).multiply_adds
    assert NAME in said
    done("report", tmp_path / "both")


def test_fresh_weights_are_the_librarys_and_follow_from_the_seed():
    one, plan, receipt = built(NAME)
    other = built(NAME)[0]
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert receipt.copied == 0
    depthwise = one.get_parameter("backbone.trunk.body.blocks.2.0.conv_dw.weight")
    deviation = (2 / (depthwise.shape[-1] ** 2)) ** 0.5  # timm's fan out of a depthwise convolution is one channel's
    assert depthwise.std().item() == pytest.approx(deviation, rel=0.15)
    assert {fill.init.kind for fill in plan.fills if fill.target.startswith("backbone.")} == {"own"}


@pytest.mark.parametrize("detector", ["faster-rcnn", "cascade-rcnn", "retinanet"])
@pytest.mark.parametrize(("name", "neck"), [("timm:hrnet_w18_small", "fpn"), (SHUFFLE, "bifpn")])
def test_every_detector_stands_on_it_at_odd_sizes(detector, name, neck):
    module = built(name, detector=detector, neck=neck)[0].eval()
    with torch.no_grad():
        found = module.detect(torch.randn(2, 3, 100, 132, generator=torch.Generator().manual_seed(0)))
    assert found.boxes.shape[0] == 2
    assert torch.isfinite(found.boxes).all()


def test_necks_inherit_by_level_where_the_network_stays():
    before = built(NAME, neck_channels=8)[0]
    after, _, receipt = built(NAME, dict(before.state_dict()), parent_stages=(0, 1, 2, 3), levels=("s2", "s3"))
    lateral = "neck.inner_blocks.{}.0.weight"
    assert torch.equal(after.get_parameter(lateral.format(0)), before.get_parameter(lateral.format(1)))
    assert receipt.new == 0


@pytest.mark.parametrize("text", [SHUFFLE, "cb2(b@8_1-21)", "trident(b@8_1-21)"])
def test_a_neck_behind_it_goes_before_the_settings_and_leaves_the_backbone_as_it_is(text):
    plain, named = built(text, neck="bifpn")[0], built(f"{text}~pafpn", neck="bifpn")[0]
    assert type(named.neck) is type(built(text, neck="pafpn")[0].neck) is not type(plain.neck)
    assert all(
        torch.equal(one, other)
        for one, other in zip(plain.backbone.state_dict().values(), named.backbone.state_dict().values(), strict=True)
    )
    with pytest.raises(PluginError, match="nothing"):
        built(f"{text}~nothing")


def test_a_trained_composition_with_a_neck_is_loaded_and_continued(tmp_path):
    text = "cb2(b@8_1-21)~pafpn"
    done("train", text, *SETTINGS, "--out", tmp_path / "one")
    weights = tmp_path / "one" / "weights.safetensors"
    assert read_description(weights).architecture == text
    assert type(load_detector(weights, "cpu")[0].neck).__name__ == "PAFPN"
    assert read_initial_weights(str(weights), read_network("cb2(b@8_1-21)")).architecture.copies == 2
    one = InitialWeights(read_network(f"{SHUFFLE}~pafpn"), {})
    assert one.rewrite(read_network(SHUFFLE)) == unchanged(read_network(SHUFFLE))


def test_norms_with_an_activation_stay_as_they_are():
    before = dict(built(NAME)[0].state_dict())
    detector, plan, _ = built(NAME, before)
    for norm in ("frozen", "group", "sync"):
        with pytest.raises(ValueError, match=f"training.norm is '{norm}', and the backbone has a BatchNormAct2d"):
            freeze_inherited(detector, plan, norm, None)
    plain, plan, _ = built(SHUFFLE, dict(built(SHUFFLE)[0].state_dict()))
    assert freeze_inherited(plain, plan, "frozen", None).norms


REFUSED = {
    "timm has no network 'mobilenetv3_smal_050'; did you mean 'mobilenetv3_small_050'": ["timm:mobilenetv3_smal_050"],
    "timm:vit_tiny_patch16_224 has features at 16 pixels: a pyramid needs": ["timm:vit_tiny_patch16_224"],
    f"nothing says which tensors of {NAME} are of which stage": [NAME, "--set", "training.freeze_at=2"],
    f"detector.levels names 's5', and {NAME} has the stages": [NAME, "--set", 'detector.levels=["s5"]'],
    "training.norm is 'group', and the backbone has a BatchNormAct2d": [NAME, "--norm", "group"],
    "weights file nowhere.pth does not exist": [NAME, "--init", "timm:nowhere.pth"],
    "must be timm:FILE or FILE.safetensors": [NAME, "--init", "torchvision:nowhere.pth"],
}


@pytest.mark.parametrize(("message", "arguments"), REFUSED.items())
def test_what_cannot_be_is_refused_in_one_line(message, arguments, tmp_path):
    assert message in refused("train", *arguments, *SETTINGS, "--out", tmp_path / "out")


def test_weights_of_timm_are_read_from_its_file(tmp_path):
    torch.manual_seed(0)
    whole = timm.create_model("mobilenetv3_small_050")
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    said = done("train", NAME, *SETTINGS, "--init", f"timm:{tmp_path / 'whole.pth'}", "--out", tmp_path / "out")
    assert f"weights of timm:{tmp_path / 'whole.pth'}" in said


def test_backbones_are_listed_and_counted():
    sources = done("backbones")
    assert "timm" in sources
    assert "torchvision" in sources
    rows = [json.loads(line) for line in done("backbones", "torchvision:shufflenet*", "--json").splitlines()]
    assert [row["backbone"] for row in rows] == [
        f"torchvision:shufflenet_v2_x{size}" for size in ("0_5", "1_0", "1_5", "2_0")
    ]
    assert rows[0]["parameters"] == 143_136
    assert rows[0]["levels"]["s4"] == {"channels": 192, "reduction": 32}
    assert "channels at /4" in done("backbones", "mobilenet_v2")
    assert "a pyramid needs them at 4" in done("backbones", "timm:vit_tiny_patch16_224", "--json")
    assert len(done("backbones", "timm:*").splitlines()) > 1000
    assert "no backbone has a name like 'nothing*'" in refused("backbones", "nothing*")


def test_show_counts_a_name_and_draws_none(tmp_path):
    assert "24 40 112 960" in done("show", "torchvision:mobilenet_v3_large")
    assert json.loads(done("show", "torchvision:resnet50", "--json"))["multiply_adds"] == 4_087_136_256
    assert "only these are drawn: leave out --svg" in refused("show", NAME, "--svg", tmp_path / "figure.svg")


def test_no_search_begins_with_a_name(tmp_path):
    for start in (NAME, "cb2(b_1-2)", "fishnet:99~hrfpn"):
        said = refused("run", "serial", "--start", start, "--out", tmp_path / "run")
        assert "can be trained and compared (spnas train, spnas compare), and a search rewrites codes alone" in said
        assert len(said.splitlines()) == 1


def test_copies_of_a_trained_backbone_begin_as_what_it_was(tmp_path):
    done("train", "b@8_1-21", *SETTINGS, "--out", tmp_path / "one")
    weights = tmp_path / "one" / "weights.safetensors"
    said = done("train", "cb2(b@8_1-21)", *SETTINGS, "--init", weights, "--out", tmp_path / "two")
    assert "weights of " in said
    assert read_description(tmp_path / "two" / "weights.safetensors").architecture == "cb2(b@8_1-21)"
    on = ("--init", tmp_path / "two" / "weights.safetensors", "--out")
    assert "100.0 % inherited" in done("train", "cb2(b@8_1-21)", *SETTINGS, *on, tmp_path / "on")
    other = refused("train", "cb3(b@8_1-21)", *SETTINGS, *on, tmp_path / "no")
    assert "is of cb2(b@8_1-21): cb3(b@8_1-21) continues b@8_1-21, or itself" in other
    assert "is of b@8_1-21: cb2(b@8_11-21) continues" in refused(
        "train", "cb2(b@8_11-21)", *SETTINGS, "--init", weights, "--out", tmp_path / "no"
    )


def test_a_composition_preserves_a_detectors_function():
    plain = built("b@8_1-21")[0]
    with torch.no_grad():
        for name, tensor in plain.state_dict().items():
            if name.endswith(("bn1.bias", "running_mean")):
                tensor.add_(0.1)
    network = read_network("cb2(b@8_1-21)")
    tensors = in_every_copy(network, dict(plain.state_dict()), "backbone.")
    composed, _, receipt = built(str(network), tensors)
    images = torch.randn(2, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = plain.eval().detect(images), composed.eval().detect(images)
    assert torch.equal(before.boxes, after.boxes)
    assert torch.equal(before.scores, after.scores)
    assert receipt.new == 8 * 8 + 2 * 8 + 16 * 8 + 2 * 8
