"""Compound scaling of codes, held against torchvision's EfficientNets."""

import math

import pytest
from torchvision.models.efficientnet import MBConvConfig

from spnas_core import Architecture, backbone_cost
from spnas_core.encoding import scale
from spnas_core.errors import CodeError


def scaled(code, phi):
    return str(scale(Architecture.parse(code), phi))


def test_the_documented_example_and_what_stays():
    assert scaled("b_11-211", 1) == "b@72_111-2111"
    assert scaled("r@16+deep_1-2-2_0-1-2s", 2) == "r@24+deep_11-21-21_0-1-2s"
    assert scaled("b@20_11-2", 0) == "b@20_11-2"


@pytest.mark.parametrize("phi", [0.5, 1, 2, 3, 5, 7])
def test_lengths_and_channels_are_rounded_as_in_torchvision(phi):
    for number in range(1, 60):
        found = scale(Architecture("b", ("1" * number,), 8 * number + number % 8), phi)
        assert len(found.digits) == MBConvConfig.adjust_depth(number, 1.2**phi)
        assert found.base == MBConvConfig.adjust_channels(8 * number + number % 8, 1.1**phi)


def test_multiply_adds_double_with_the_image():
    code = Architecture.parse("r_1111-21111-2111111111-21111")
    first = backbone_cost(code, 224, 224).multiply_adds
    for phi in (1, 2, 3):
        side = round(224 * 1.15**phi)
        assert backbone_cost(scale(code, phi), side, side).multiply_adds / first == pytest.approx(2**phi, rel=0.2)


@pytest.mark.parametrize("phi", [-1, math.nan, math.inf])
def test_what_is_no_scale_is_refused(phi):
    with pytest.raises(CodeError, match="must be in 0…30"):
        scale(Architecture.parse("b_1-2"), phi)
