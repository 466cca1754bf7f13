"""Networks that no library of ours has: published counts, and outputs of those who have written them, too."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import pad
from torchvision.models import resnet, shufflenetv2

from spnas_core.backbones import fresh_network, read_network
from spnas_core.cost import backbone_cost
from spnas_core.errors import WeightsError
from spnas_core.interchange.initial_weights import read_initial_weights
from spnas_core.plugins import registry
from spnas_core.testing import BackboneContract
from spnas_detect.backbones.tables.detnas import Block

FISH = (320, 832, 1600, 2112)
COUNTS = {
    "proxylessnas:cpu": (2_410_264, 412_551_384, (32, 48, 104, 360)),
    "proxylessnas:gpu": (4_640_896, 426_953_856, (32, 56, 128, 432)),
    "proxylessnas:mobile": (2_387_352, 299_077_184, (32, 40, 96, 320)),
    "proxylessnas:mobile-1.4": (4_258_168, 539_753_424, (40, 56, 136, 448)),
    "detnas:fpn-300m": (1_849_680, 288_082_368, (64, 160, 320, 640)),
    "detnas:retinanet-300m": (2_041_888, 291_205_824, (64, 160, 320, 640)),
    "detnas:fpn-1.3g": (8_415_216, 1_269_181_536, (96, 240, 480, 960)),
    "detnas:fpn-3.8g": (26_724_428, 3_937_832_864, (172, 432, 864, 1728)),
    "detnet:59": (17_347_648, 4_999_135_232, (256, 512, 1024, 1024, 1024)),
    "fishnet:99": (13_335_296, 4_153_317_376, FISH),
    "fishnet:150": (21_665_792, 6_287_503_360, FISH),
    "fishnet:201": (41_290_944, 10_404_042_752, FISH),
}
"""Parameters and multiply-adds of the trunk at 224×224, and channels of the levels."""

WIDEST = {"cpu": (360, 1432), "gpu": (432, 1728), "mobile": (320, 1280), "mobile-1.4": (448, 1792)}
WHOLE = {
    "proxylessnas:cpu": 4_361_648,
    "proxylessnas:gpu": 7_119_848,
    "proxylessnas:mobile": 4_080_512,
    "proxylessnas:mobile-1.4": 6_857_568,
    "fishnet:99": 16_628_904,
    "fishnet:150": 24_959_400,
}
"""Parameters with the classifier, as pytorchcv has them."""


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_the_published_ones(name):
    network = read_network(name)
    cost = backbone_cost(network, 224, 224)
    channels = tuple(network.feature_info.channels())
    assert (cost.parameters, cost.multiply_adds, channels) == COUNTS[name]
    equal = name == "detnet:59"
    assert network.feature_info.reduction() == ([4, 8, 16, 16, 16] if equal else [4, 8, 16, 32])


def test_all_table_networks_are_counted_here():
    tables = ("proxylessnas", "detnas", "detnet", "fishnet")
    assert set(COUNTS) == {f"{one}:{name}" for one in tables for name in registry("backbones").get(one).names()}


def classifier(name):
    """Parameters of what the classifier alone reads."""
    if name.startswith("fishnet"):
        return 2 * 2112 + 2112 * 1056 + 2 * 1056 + 1056 * 1000 + 1000
    inputs, widened = WIDEST[name.partition(":")[2]]
    return inputs * widened + 2 * widened + widened * 1000 + 1000


@pytest.mark.parametrize("name", WHOLE)
def test_with_the_classifier_they_have_what_pytorchcv_counts(name):
    assert COUNTS[name][0] + classifier(name) == WHOLE[name]


def test_names_say_what_they_cost():
    for name, millions in {"fpn-300m": 300, "retinanet-300m": 300, "fpn-1.3g": 1300, "fpn-3.8g": 3800}.items():
        assert COUNTS[f"detnas:{name}"][1] / 1e6 == pytest.approx(millions, rel=0.05)
    assert (COUNTS["fishnet:201"][0] + classifier("fishnet:201")) / 1e6 == pytest.approx(44.58, abs=0.005)


class TestProxylessNAS(BackboneContract):
    provider = "proxylessnas"
    names = ("cpu", "mobile-1.4")


class TestDetNAS(BackboneContract):
    provider = "detnas"
    names = ("fpn-300m",)


class TestDetNet(BackboneContract):
    provider = "detnet"


class TestFishNet(BackboneContract):
    provider = "fishnet"
    names = ("99",)


def computed(run, module, images):
    """Leaves with tensors in the order in which they are computed."""
    found = []
    leaves = [one for one in module.modules() if isinstance(one, nn.Conv2d | nn.BatchNorm2d)]
    hooks = [one.register_forward_hook(lambda leaf, *_: found.append(leaf)) for one in leaves]
    run(images)
    for hook in hooks:
        hook.remove()
    assert len(found) == len(set(found)) == len(leaves)
    return found


@torch.no_grad()
def uneven(module, seed):
    """Weights and statistics as after a training."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point() and tensor.dim() == 1:
            tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator))
    return module.eval()


@torch.no_grad()
def same_weights(ours, theirs):
    """Copy leaf by leaf, in the order of computation."""
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        one.load_state_dict(other.state_dict())


def padded(images):
    height, width = images.shape[-2:]
    return pad(images, (0, -width % 32, 0, -height % 32))


def pytorchcv(name):
    models = pytest.importorskip("pytorchcv.model_provider", reason="pytorchcv 0.0.74 is the oracle")
    return models.get_model(name, pretrained=False)


def proxyless_levels(network):
    def run(images):
        x, found = images, {}
        for name, part in network.features.named_children():
            if name == "final_block":
                break
            x = part(x)
            found[x.shape[-1]] = x
        return list(found.values())[1:]

    return run


def fish_levels(network):
    def run(images):
        levels, hourglass = [], network.features.hg
        hooks = [
            one.register_forward_pre_hook(lambda _, given: levels.append(given[0]))
            for one in hourglass.down2_seq.children()
        ]
        last = hourglass(network.features.init_block(images))
        for hook in hooks:
            hook.remove()
        return [*levels, last]

    return run


PEERS = {
    "proxylessnas:cpu": ("proxylessnas_cpu", proxyless_levels),
    "proxylessnas:gpu": ("proxylessnas_gpu", proxyless_levels),
    "proxylessnas:mobile": ("proxylessnas_mobile", proxyless_levels),
    "proxylessnas:mobile-1.4": ("proxylessnas_mobile14", proxyless_levels),
    "fishnet:99": ("fishnet99", fish_levels),
    "fishnet:150": ("fishnet150", fish_levels),
}


@torch.no_grad()
@pytest.mark.parametrize("name", PEERS)
def test_outputs_are_pytorchcvs_at_odd_sizes_too(name):
    theirs_name, levels_of = PEERS[name]
    theirs = uneven(pytorchcv(theirs_name), 3)
    assert sum(one.numel() for one in theirs.parameters()) == WHOLE[name]
    theirs.features.final_block = theirs.output = nn.Identity()
    ours = fresh_network(read_network(name), seed=1).eval()
    images = torch.randn(1, 3, 70, 101, generator=torch.Generator().manual_seed(0))
    levels = levels_of(theirs)
    same_weights(computed(ours, ours, images), computed(levels, theirs, padded(images)))
    found, expected = list(ours(images).values()), levels(padded(images))
    assert len(found) == len(expected) == 4
    for level, theirs_level, reduction in zip(found, expected, (4, 8, 16, 32), strict=True):
        cut = theirs_level[..., : math.ceil(70 / reduction), : math.ceil(101 / reduction)]
        assert level.shape == cut.shape
        assert (level - cut).abs().max() <= 1e-5 * max(1.0, float(cut.abs().max()))


@torch.no_grad()
def test_a_3x3_choice_of_detnas_is_torchvisions_shufflenet_with_the_shuffle_in_front():
    theirs = uneven(shufflenetv2.InvertedResidual(40, 40, 1), 1)
    ours = Block(40, 40, 0, 1).eval()
    x = torch.randn(2, 40, 9, 7, generator=torch.Generator().manual_seed(0))
    same_weights(computed(ours, ours, x), computed(theirs.branch2, theirs.branch2, x[:, 20:]))
    shuffled = shufflenetv2.channel_shuffle(x, 2)
    expected = theirs(shuffled)
    assert torch.allclose(shufflenetv2.channel_shuffle(ours(x), 2), expected, atol=1e-5)
    assert torch.equal(ours(x)[:, :20], shuffled[:, :20])


@torch.no_grad()
@pytest.mark.parametrize(("choice", "reach"), [(0, 1), (1, 2), (2, 3), (3, 3)])
def test_choices_of_detnas_reach_as_far_as_their_kernels(choice, reach):
    block = uneven(Block(16, 16, choice, 1), 0)
    x = torch.rand(1, 16, 15, 15, generator=torch.Generator().manual_seed(0))
    other = x.clone()
    other[..., 7, 7] += 1
    changed = (block(x) != block(other)).any(1)[0].nonzero()
    assert (changed.min().item(), changed.max().item()) == (7 - reach, 7 + reach)
    assert Block(16, 40, choice, 2)(x).shape == (1, 40, 8, 8)


@torch.no_grad()
def test_detnet_is_torchvisions_resnet_and_dilated_bottlenecks_behind_it():
    theirs = uneven(resnet.resnet50(weights=None), 2)
    dilated = []
    for _ in range(2):
        projection = nn.Sequential(nn.Conv2d(1024, 1024, 1, bias=False), nn.BatchNorm2d(1024))
        first = resnet.Bottleneck(1024, 256, downsample=projection, dilation=2)
        dilated.append(nn.Sequential(first, *(resnet.Bottleneck(1024, 256, dilation=2) for _ in range(2))))
    whole = uneven(nn.ModuleList([theirs, *dilated]), 4)
    theirs.layer4, theirs.fc = nn.Identity(), nn.Identity()

    def levels(images):
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
        found = []
        for stage in (theirs.layer1, theirs.layer2, theirs.layer3, *dilated):
            x = stage(x)
            found.append(x)
        return found

    ours = fresh_network(read_network("detnet:59"), seed=0).eval()
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    same_weights(computed(ours, ours, images), computed(levels, whole, images))
    found = list(ours(images).values())
    assert [tuple(level.shape[2:]) for level in found] == [(16, 24), (8, 12), (4, 6), (4, 6), (4, 6)]
    for level, expected in zip(found, levels(images), strict=True):
        assert torch.allclose(level, expected, atol=1e-5, rtol=1e-5)


def test_weights_are_read_under_their_own_names(tmp_path):
    network = read_network("detnas:fpn-300m")
    module = fresh_network(network, seed=3)
    torch.save(module.trunk.state_dict(), tmp_path / "own.pth")
    found = read_initial_weights(f"detnas:{tmp_path / 'own.pth'}", network).tensors
    expected = module.state_dict()
    assert found.keys() == {f"backbone.{name}" for name in expected}
    assert all(torch.equal(found[f"backbone.{name}"], tensor) for name, tensor in expected.items())
    with pytest.raises(WeightsError, match=r"detnas:fpn-1\.3g"):
        read_initial_weights(f"detnas:{tmp_path / 'own.pth'}", read_network("detnas:fpn-1.3g"))
