"""Transformers by name: features with the channels last, canvases that are not their own, and windows."""

import math

import pytest
import timm
import torch
import torchvision
from torch.nn.functional import pad

from spnas_core.backbones import blank_network, fresh_network, read_network
from spnas_core.cost import backbone_cost
from spnas_core.errors import CodeError
from spnas_core.interchange.initial_weights import read_initial_weights

CHANNELS_LAST = {
    "timm:swin_tiny_patch4_window7_224": {"strict_img_size": False},
    "timm:mambaout_femto": {},
}
"""What makes timm's own extractor take any canvas."""


def images(height, width):
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))


def with_weights(name, whole, folder):
    """Our backbone with the weights of the library's whole network."""
    torch.save(whole.state_dict(), folder / "whole.pth")
    network = read_network(name)
    tensors = read_initial_weights(f"{network.provider}:{folder / 'whole.pth'}", network).tensors
    backbone = fresh_network(network, seed=1).eval()
    backbone.load_state_dict({key.removeprefix("backbone."): tensor for key, tensor in tensors.items()})
    return backbone


def assert_levels(found, expected, height, width):
    """They are the library's, which has the channels last, cut to the image."""
    for level, theirs, reduction in zip(found.values(), expected, (4, 8, 16, 32), strict=True):
        cut = theirs.permute(0, 3, 1, 2)[..., : math.ceil(height / reduction), : math.ceil(width / reduction)]
        torch.testing.assert_close(level, cut, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", CHANNELS_LAST)
def test_outputs_of_timm_at_another_canvas_than_its_own(name, tmp_path):
    theirs = name.removeprefix("timm:")
    backbone = with_weights(name, timm.create_model(theirs), tmp_path)
    oracle = timm.create_model(theirs, features_only=True, **CHANNELS_LAST[name]).eval()
    oracle.load_state_dict({key.removeprefix("trunk.body."): one for key, one in backbone.state_dict().items()})
    found = backbone(images(100, 133))
    assert_levels(found, oracle(pad(images(100, 133), (0, 27, 0, 28))), 100, 133)
    channels = read_network(name).feature_info.channels()
    assert [level.shape[1] for level in found.values()] == channels == oracle.feature_info.channels()


@torch.no_grad()
def test_outputs_of_timm_at_its_own_canvas(tmp_path):
    name = "swin_tiny_patch4_window7_224"
    backbone = with_weights(f"timm:{name}", timm.create_model(name), tmp_path)
    oracle = timm.create_model(name, features_only=True).eval()
    oracle.load_state_dict({key.removeprefix("trunk.body."): one for key, one in backbone.state_dict().items()})
    assert_levels(backbone(images(224, 224)), oracle(images(224, 224)), 224, 224)


@torch.no_grad()
@pytest.mark.parametrize("name", ["swin_t", "swin_v2_t"])
def test_outputs_of_torchvision(name, tmp_path):
    theirs = torchvision.models.get_model(name, weights=None).eval()
    backbone = with_weights(f"torchvision:{name}", theirs, tmp_path)
    expected, x = [], pad(images(100, 133), (0, 27, 0, 28))
    for number, part in enumerate(theirs.features):
        x = part(x)
        expected += [x] if number % 2 else []
    assert_levels(backbone(images(100, 133)), expected, 100, 133)
    classifier = 768 * 1000 + 1000 + 2 * 768
    whole = sum(parameter.numel() for parameter in theirs.parameters())
    assert backbone_cost(read_network(f"torchvision:{name}"), 224, 224).parameters == whole - classifier


@pytest.mark.parametrize(("name", "side"), [("halonet26t", 256), ("mobilevitv2_050", 64)])
def test_windows_are_filled(name, side):
    network = read_network(f"timm:{name}")
    found = blank_network(network).eval()(torch.empty(1, 3, 40, 70, device="meta"))
    assert [tuple(level.shape[-2:]) for level in found.values()] == [(10, 18), (5, 9), (3, 5), (2, 3)]
    one, whole = backbone_cost(network, 3, 2), backbone_cost(network, side, side)
    assert one.as_dict() == whole.as_dict()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("coat_lite_tiny", r"of one of 96x64 pixels it gives no features \(AssertionError: Input height \(64\)"),
        ("nest_tiny", r"of one of 48x32 pixels it gives no features \(AssertionError: Input height \(32\)"),
        (
            "legacy_xception",
            r"of one of 96x64 pixels it gives features \[1, 128, 15, 23\] where it says \[1, 128, 16, 24\]",
        ),
    ],
)
def test_what_takes_one_canvas_alone_or_gives_less_than_it_says_is_refused(name, reason):
    with pytest.raises(CodeError, match=f"timm:{name} cannot be a backbone, which takes images of any size: {reason}"):
        blank_network(read_network(f"timm:{name}"))
