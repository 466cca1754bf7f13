"""Backbones in timm's form."""

import pytest
import torch

from spnas_core.backbones import fresh_network, read_network
from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError
from spnas_core.interchange.timm import TimmFeatures
from spnas_core.networks import build_backbone

CODE = "b@8_1-21_0-1"


def test_features_are_the_backbones():
    backbone = build_backbone(Architecture.parse(CODE), generator=torch.Generator().manual_seed(1)).eval()
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    expected = list(backbone(images).values())
    found = TimmFeatures(backbone)(images)
    assert all(torch.equal(here, there) for here, there in zip(expected, found, strict=True))
    last = TimmFeatures(backbone, out_indices=(-1,))
    assert torch.equal(last(images)[0], expected[-1])
    assert last.feature_info.channels() == [16]


def test_a_code_gives_the_same_network_every_time():
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    one, other = (TimmFeatures(CODE).eval()(images) for _ in range(2))
    assert all(torch.equal(here, there) for here, there in zip(one, other, strict=True))


@pytest.mark.parametrize("indices", [(2,), (0, -3)])
def test_a_stage_that_is_not_there_is_refused(indices):
    with pytest.raises(CodeError, match=r"out_indices has -?\d, and b@8_1-21_0-1 returns 2 stages"):
        TimmFeatures(CODE, indices)


@pytest.mark.parametrize("name", ["cb2(b@8_11-21)", "trident(b@8_11-21)"])
def test_networks_that_are_made_of_a_code_have_features_too(name):
    images = torch.zeros(1, 3, 64, 64)
    network = fresh_network(read_network(name), seed=0)
    for features in (TimmFeatures(network), TimmFeatures(name)):
        assert [one.shape[1] for one in features(images)] == features.feature_info.channels()
