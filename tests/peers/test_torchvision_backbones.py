"""Our codes of the classic networks are torchvision's networks: features, parameters, multiply-adds."""

import pytest
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

import spnas_core
from spnas_core.errors import WeightsError
from spnas_core.interchange import from_torchvision, to_torchvision, torchvision_architecture

NETWORKS = {
    "resnet18": "b_11-21-21-21",
    "resnet50": "r_111-2111-211111-211",
    "resnet101": "r_111-2111-21111111111111111111111-211",
    "resnext50_32x4d": "x32x4d_111-2111-211111-211",
}


@pytest.fixture(params=NETWORKS)
def pair(request):
    """torchvision's network with lively norm layers, and ours with the same weights."""
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, request.param)().eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    architecture = spnas_core.Architecture.parse(NETWORKS[request.param])
    ours = spnas_core.build_backbone(architecture).eval()
    ours.load_state_dict(from_torchvision(architecture, theirs.state_dict()))
    return theirs, ours, architecture


def torchvision_features(network, images):
    x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    features = {}
    for number in range(1, 5):
        x = features[f"s{number}"] = getattr(network, f"layer{number}")(x)
    return features


@torch.no_grad()
@pytest.mark.parametrize("size", [(96, 96), (97, 130)])
def test_features_equal_torchvisions(pair, size):
    theirs, ours, _ = pair
    images = torch.randn(2, 3, *size)
    expected, found = torchvision_features(theirs, images), ours(images)
    assert list(found) == list(expected)
    for level, features in expected.items():
        torch.testing.assert_close(found[level], features, atol=1e-5, rtol=1e-5)


def test_parameter_count_equals_torchvisions_without_classifier(pair):
    theirs, ours, architecture = pair
    expected = sum(p.numel() for name, p in theirs.named_parameters() if not name.startswith("fc."))
    assert sum(p.numel() for p in ours.parameters()) == expected
    assert spnas_core.backbone_cost(architecture, 224, 224).parameters == expected


@torch.no_grad()
@pytest.mark.parametrize("size", [(224, 224), (97, 130)])
def test_multiply_adds_are_half_of_torchs_flop_counter(pair, size):
    _, ours, architecture = pair
    height, width = size
    with FlopCounterMode(display=False) as counter:
        ours(torch.randn(1, 3, height, width))
    assert spnas_core.backbone_cost(architecture, width, height).multiply_adds * 2 == counter.get_total_flops()


def test_weights_return_to_torchvision_unchanged(pair):
    theirs, ours, architecture = pair
    returned = to_torchvision(architecture, ours.state_dict())
    expected = {name: tensor for name, tensor in theirs.state_dict().items() if not name.startswith("fc.")}
    assert returned.keys() == expected.keys()
    assert all(torch.equal(returned[name], tensor) for name, tensor in expected.items())


def test_weights_of_another_network_are_refused():
    state = torchvision.models.resnet34().state_dict()
    with pytest.raises(spnas_core.SpnasError, match="has no place in b_11-21-21-21"):
        from_torchvision(spnas_core.Architecture.parse("b_11-21-21-21"), state)


def test_a_network_is_recognised_by_its_tensors(pair):
    theirs, _, architecture = pair
    state = {name: tensor for name, tensor in theirs.state_dict().items() if not name.startswith("fc.")}
    assert torchvision_architecture(state) == architecture


def test_what_has_no_code_is_refused():
    with torch.device("meta"):
        wide = torchvision.models.wide_resnet50_2().state_dict()
    with pytest.raises(WeightsError, match="a wide ResNet \\(128 channels where 64 are usual\\)"):
        torchvision_architecture(wide)
    with pytest.raises(WeightsError, match="no tensors of a torchvision ResNet"):
        torchvision_architecture({"features.0.weight": torch.zeros(1)})
