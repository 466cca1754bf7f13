"""Networks of timm and torchvision by name: their libraries' own outputs, at odd sizes, and published counts."""

import copy
import math
import re

import pytest
import timm
import torch
import torchvision
from torch.nn.functional import pad

from spnas_core.backbones import blank_network, fresh_network, read_network
from spnas_core.cost import backbone_cost
from spnas_core.errors import CodeError, WeightsError
from spnas_core.interchange.initial_weights import read_initial_weights
from spnas_core.testing import BackboneContract

COUNTS = {
    "timm:hrnet_w18_small": (1_477_920, 603_968_512, (16, 32, 64, 128)),
    "timm:hrnet_w18_small_v2": (3_860_720, 1_594_158_944, (18, 36, 72, 144)),
    "timm:hrnet_w18": (9_562_260, 3_281_983_152, (18, 36, 72, 144)),
    "timm:hrnet_w32": (29_305_536, 7_891_480_576, (32, 64, 128, 256)),
    "timm:hrnet_w48": (65_325_120, 16_216_230_912, (48, 96, 192, 384)),
    "timm:resnet50": (23_508_032, 4_087_136_256, (256, 512, 1024, 2048)),
    "timm:efficientnet_b0": (3_595_388, 364_464_352, (24, 40, 112, 320)),
    "timm:mnasnet_100": (2_690_152, 293_065_472, (24, 40, 96, 320)),
    "timm:semnasnet_100": (2_193_878, 290_228_672, (24, 40, 112, 320)),
    "timm:mnasnet_small": (562_384, 58_027_504, (16, 16, 32, 144)),
    "timm:spnasnet_100": (2_728_456, 312_116_672, (24, 40, 96, 320)),
    "timm:vgg16_bn": (14_723_136, 15_346_630_656, (256, 512, 512, 512)),
    "timm:vgg11_bn": (9_225_984, None, (256, 512, 512, 512)),
    "timm:regnetx_002": (2_315_792, None, (24, 56, 152, 368)),
    "timm:regnetx_032": (14_287_552, 3_175_613_952, (96, 192, 432, 1008)),
    "timm:regnety_032": (17_923_338, 3_174_970_752, (72, 216, 576, 1512)),
    "timm:resnext50_32x4d": (22_979_904, 4_228_431_872, (256, 512, 1024, 2048)),
    "timm:densenet121": (6_953_856, 2_833_137_664, (256, 512, 1024, 1024)),
    "timm:mobilenetv3_large_100": (2_971_952, 214_080_960, (24, 40, 112, 960)),
    "timm:convnext_tiny": (27_818_592, 4_454_763_264, (96, 192, 384, 768)),
    "timm:nasnetalarge": (84_720_150, 10_279_764_000, (168, 1008, 2016, 4032)),
    "timm:pnasnet5large": (81_736_668, 10_813_665_120, (270, 1080, 2160, 4320)),
    "timm:fbnetc_100": (2_884_864, 348_756_128, (24, 32, 112, 352)),
    "timm:mobilenetv2_100": (1_811_712, 279_423_872, (24, 32, 96, 320)),
    "torchvision:resnet50": (23_508_032, 4_087_136_256, (256, 512, 1024, 2048)),
    "torchvision:resnext50_32x4d": (22_979_904, 4_228_431_872, (256, 512, 1024, 2048)),
    "torchvision:mnasnet1_0": (2_690_152, 293_065_472, (24, 40, 96, 320)),
    "torchvision:efficientnet_b0": (3_595_388, 364_464_352, (24, 40, 112, 320)),
    "torchvision:vgg16_bn": (14_723_136, 15_346_630_656, (256, 512, 512, 512)),
    "torchvision:regnet_x_3_2gf": (14_287_552, 3_175_613_952, (96, 192, 432, 1008)),
    "torchvision:regnet_y_3_2gf": (17_923_338, 3_174_970_752, (72, 216, 576, 1512)),
    "torchvision:densenet121": (6_953_856, 2_833_137_664, (256, 512, 1024, 1024)),
    "torchvision:mobilenet_v2": (1_811_712, 279_423_872, (24, 32, 96, 320)),
    "torchvision:mobilenet_v3_large": (2_971_952, 214_080_960, (24, 40, 112, 960)),
    "torchvision:convnext_tiny": (27_818_592, 4_454_763_264, (96, 192, 384, 768)),
}
"""Parameters and multiply-adds without classifier at 224×224, and channels at 4, 8, 16 and 32 pixels, as counted by
torch's ``FlopCounterMode`` over timm 1.0.31 (None where only the parameters are known); torchvision's networks are the
same ones."""

WHOLE = {
    "torchvision:resnet18": 11_689_512 - 513_000,
    "torchvision:shufflenet_v2_x1_0": 2_278_604 - 1_025_000 - 464 * 1024 - 2 * 1024,
}
"""The number of parameters that torchvision's metadata have, less those of the classifier and of what widens for it."""

LARGE = (
    *("timm:hrnet_w18_small_v2", "timm:hrnet_w18", "timm:hrnet_w32", "timm:hrnet_w48", "timm:pnasnet5large"),
    *("timm:regnetx_032", "timm:regnety_032", "timm:densenet121", "torchvision:regnet_x_3_2gf"),
    *("torchvision:mobilenet_v2", "torchvision:mnasnet1_0", "torchvision:efficientnet_b0"),
)
"""What takes longest to count, of families of which others are counted at once."""

SMALL = ("timm:hrnet_w18_small", "timm:mobilenetv3_small_050", "timm:regnetx_002", "timm:dla46_c")
TORCHVISION = ("resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "regnet_y_400mf", "mnasnet0_5", "densenet121")


def longer(names, long):
    return [pytest.param(name, marks=pytest.mark.slow) if name in long else name for name in names]


@pytest.mark.parametrize("name", longer(COUNTS, LARGE))
def test_counts_are_the_published_ones(name):
    network = read_network(name)
    cost = backbone_cost(network, 224, 224)
    channels = tuple(network.feature_info.channels())
    parameters, multiply_adds, expected = COUNTS[name]
    assert (cost.parameters, channels) == (parameters, expected)
    assert multiply_adds in {None, cost.multiply_adds}
    assert network.feature_info.reduction() == [4, 8, 16, 32]


def test_what_the_classifier_alone_needs_is_left_out():
    for name, parameters in WHOLE.items():
        assert backbone_cost(read_network(name), 224, 224).parameters == parameters


def test_a_code_costs_what_the_same_network_by_name_costs():
    code = backbone_cost(read_network("r_111-2111-211111-211"), 480, 416)
    for name in ("timm:resnet50", "torchvision:resnet50"):
        assert backbone_cost(read_network(name), 480, 416).as_dict() == code.as_dict()


class TestTimm(BackboneContract):
    provider = "timm"
    names = tuple(name.removeprefix("timm:") for name in SMALL)


class TestTorchvision(BackboneContract):
    provider = "torchvision"
    names = TORCHVISION


def padded(images, multiple):
    height, width = images.shape[-2:]
    return pad(images, (0, -width % multiple, 0, -height % multiple))


def uneven(module):
    """Weights and statistics as after a training."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point() and tensor.dim() == 1:
                tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator))
    return module.eval()


@pytest.mark.parametrize("name", SMALL)
def test_outputs_of_timm_with_weights_from_a_file(name, tmp_path):
    theirs = uneven(timm.create_model(name.removeprefix("timm:")))
    torch.save(theirs.state_dict(), tmp_path / "whole.pth")
    network = read_network(name)
    tensors = read_initial_weights(f"timm:{tmp_path / 'whole.pth'}", network).tensors
    backbone = fresh_network(network, seed=1).eval()
    backbone.load_state_dict({key.removeprefix("backbone."): tensor for key, tensor in tensors.items()})
    images = torch.randn(2, 3, 70, 101, generator=torch.Generator().manual_seed(0))
    found = list(backbone(images).values())
    with torch.no_grad():
        if "hrnet" in name:
            x = theirs.act2(theirs.bn2(theirs.conv2(theirs.act1(theirs.bn1(theirs.conv1(padded(images, 32)))))))
            expected = theirs.stages(x)
        else:
            expected = theirs.forward_intermediates(padded(images, 32), intermediates_only=True)[-4:]
    for level, theirs_level, reduction in zip(found, expected, (4, 8, 16, 32), strict=True):
        height, width = math.ceil(70 / reduction), math.ceil(101 / reduction)
        assert torch.allclose(level, theirs_level[..., :height, :width], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", TORCHVISION)
def test_outputs_of_torchvision_with_weights_from_a_file(name, tmp_path):
    theirs = uneven(torchvision.models.get_model(name, weights=None))
    torch.save(theirs.state_dict(), tmp_path / "whole.pth")
    network = read_network(f"torchvision:{name}")
    tensors = read_initial_weights(f"torchvision:{tmp_path / 'whole.pth'}", network).tensors
    backbone = fresh_network(network, seed=1).eval()
    backbone.load_state_dict({key.removeprefix("backbone."): tensor for key, tensor in tensors.items()})
    images = torch.randn(2, 3, 70, 101, generator=torch.Generator().manual_seed(0))
    outputs = {}
    for part_name, part in theirs.named_modules():
        part.register_forward_hook(lambda _, __, out, key=part_name: outputs.update({key: out.clone()}))
    with torch.no_grad():
        found = backbone(images)
        theirs(padded(images, 32))
    levels = {
        "resnet18": ("layer1", "layer2", "layer3", "layer4"),
        "mobilenet_v3_small": ("features.1", "features.3", "features.8", "features.12"),
        "shufflenet_v2_x0_5": ("maxpool", "stage2", "stage3", "stage4"),
        "regnet_y_400mf": tuple(f"trunk_output.block{number}" for number in (1, 2, 3, 4)),
        "mnasnet0_5": ("layers.8", "layers.9", "layers.11", "layers.13"),
        "densenet121": ("features.denseblock1", "features.denseblock2", "features.denseblock3", "features.norm5"),
    }[name]
    for stage, place in zip(network.feature_info.stages, levels, strict=True):
        height, width = math.ceil(70 / stage.reduction), math.ceil(101 / stage.reduction)
        expected = outputs[place][..., :height, :width]
        assert torch.allclose(found[stage.name], expected, atol=1e-5, rtol=1e-5), place


@pytest.mark.parametrize(
    ("kind", "name", "other"), [("timm", "resnet10t", "resnet14t"), ("torchvision", "resnet18", "resnet34")]
)
def test_weights_of_another_network_are_refused_with_the_first_that_differ(kind, name, other, tmp_path):
    make = timm.create_model if kind == "timm" else torchvision.models.get_model
    torch.save(make(other).state_dict(), tmp_path / "other.pth")
    with pytest.raises(
        WeightsError, match=rf"other.pth: the weights are not those of {kind}:{name}: \d+ ten"
    ) as caught:
        read_initial_weights(f"{kind}:{tmp_path / 'other.pth'}", read_network(f"{kind}:{name}"))
    assert str(caught.value).partition(", first ")[2].count(";") == 4


def test_a_network_starts_with_its_own_librarys_weights_alone(tmp_path):
    with pytest.raises(WeightsError, match=r"must be timm:FILE or FILE\.safetensors"):
        read_initial_weights(f"torchvision:{tmp_path / 'any.pth'}", read_network("timm:resnet10t"))


@pytest.mark.parametrize(
    "name",
    ["resnet50.a1_in1k", "swin_tiny_patch4_window7_224.ms_in1k", "timm/resnet18.a1_in1k", "hf-hub:timm/dla34.in1k"],
)
def test_names_of_weights_are_told_from_networks(name):
    base = name.rpartition("/")[2].partition(".")[0]
    with pytest.raises(CodeError, match=f"timm:{name} names weights, .*: take timm:{base}, and --init timm:FILE"):
        read_network(f"timm:{name}")
    with pytest.raises(CodeError, match=r"timm has no network 'resnet5\.a1'; did you mean"):
        read_network("timm:resnet5.a1")


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("googlenet", "GoogLeNet"),
        ("inception_v3", "Inception3"),
        ("maxvit_t", "MaxVit"),
        ("vit_b_16", "VisionTransformer"),
        ("squeezenet1_0", "SqueezeNet"),
        ("alexnet", "AlexNet"),
    ],
)
def test_families_of_torchvision_without_features_are_named(name, family):
    with pytest.raises(CodeError, match=f"torchvision:{name} is a {family}, of which no features are known"):
        read_network(f"torchvision:{name}")


def test_all_of_torchvisions_names_are_networks_or_have_a_reason():
    source = read_network("torchvision:resnet18").source
    left = set(torchvision.models.list_models(module=torchvision.models)) - set(source.names())
    assert len(left) == 11
    assert all(source.refusal(name) for name in left)
    assert source.refusal("swin_x") is None


@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "timm:levit_128"])
def test_what_has_no_pyramid_is_refused(name):
    with pytest.raises(CodeError, match=f"{name} has features at .* pixels: a pyramid needs them at 4, 8, …"):
        blank_network(read_network(name))


SMALLEST = (
    *("convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "mnasnet0_5", "mobilenet_v2"),
    *("mobilenet_v3_small", "regnet_y_400mf", "resnet18", "resnext50_32x4d", "shufflenet_v2_x0_5", "swin_t"),
    *("swin_v2_t", "vgg11", "wide_resnet50_2"),
)
"""Of each family of torchvision's."""


def names_of_torchvision():
    return read_network("torchvision:resnet18").source.names()


@pytest.mark.parametrize("name", longer(names_of_torchvision(), set(names_of_torchvision()) - set(SMALLEST)))
def test_every_name_of_torchvision_has_levels(name):
    assert read_network(f"torchvision:{name}").feature_info.reduction() == [4, 8, 16, 32]


def test_a_family_that_comes_with_a_newer_torchvision_is_tried_at_once():
    assert {family(name) for name in names_of_torchvision()} == {family(name) for name in SMALLEST}


def family(name):
    """What stands before a network's size: ``regnet`` of ``regnet_x_32gf``, ``resnet`` of ``resnet152``."""
    return re.match(r"[a-z]+(_resnet|_v\d)?", name)[0]


def test_backbones_can_be_copied():
    backbone = fresh_network(read_network("torchvision:mobilenet_v3_small"), seed=0).eval()
    images = torch.zeros(1, 3, 32, 32)
    for one, other in zip(backbone(images).values(), copy.deepcopy(backbone)(images).values(), strict=True):
        assert torch.equal(one, other)
