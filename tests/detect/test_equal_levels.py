"""Levels of one size, as DetNet has them: necks fuse them pixel by pixel, and anchors grow all the same."""

from collections import OrderedDict

import pytest
import torch
from commands import done

from spnas_core.backbones import read_network, unchanged
from spnas_core.errors import ConfigError
from spnas_core.networks import FeatureInfo, StageInfo
from spnas_core.plugins import registry
from spnas_detect.detectors import DetectorSettings, build_detector
from spnas_detect.detectors.assembly import pyramid_anchors
from spnas_detect.heads.anchors import Anchors
from spnas_detect.necks import neck_factory

NECKS = sorted(registry("necks").items)
NETWORK = "detnet:59"


def info(*reductions):
    return FeatureInfo([StageInfo(f"s{number}", 4, one) for number, one in enumerate(reductions, 1)])


@torch.no_grad()
@pytest.mark.parametrize("name", NECKS)
def test_what_one_level_says_reaches_the_other_at_its_place(name):
    torch.manual_seed(0)
    neck = neck_factory(name)(info(16, 16), 8).eval()
    features = OrderedDict((f"s{number}", torch.rand(1, 4, 21, 21)) for number in (1, 2))
    for changed, read in (("s1", "s2"), ("s2", "s1")):
        other = OrderedDict(features)
        other[changed] = features[changed].clone()
        other[changed][..., 10, 10] += 5
        before, after = neck(OrderedDict(features))[read], neck(other)[read]
        assert before.shape == (1, 8, 21, 21)
        places = (before != after).any(1)[0].nonzero()
        if name in {"fpn", "dpc"} and changed == "s1":  # which only adds coarser levels to finer ones
            assert not len(places)
            continue
        assert (places.min(0).values + places.max(0).values).tolist() == [20, 20]


@pytest.mark.parametrize("name", NECKS)
def test_nothing_is_pooled_between_levels_of_one_size(name, monkeypatch):
    strides = []
    pool = torch.nn.functional.max_pool2d

    def watched(x, kernel_size, stride=None, *args, **options):
        strides.append(stride or kernel_size)
        return pool(x, kernel_size, stride, *args, **options)

    monkeypatch.setattr(torch.nn.functional, "max_pool2d", watched)
    neck = neck_factory(name)(info(4, 8, 16, 16, 16), 8)
    sizes = ((37, 50), (19, 25), (10, 13), (10, 13), (10, 13))
    features = OrderedDict((f"s{number}", torch.rand(2, 4, *size)) for number, size in enumerate(sizes, 1))
    assert [tuple(level.shape[2:]) for level in neck(features).values()] == list(sizes)
    assert all(stride > 1 for stride in strides)


def test_anchors_grow_over_levels_of_one_stride_and_stand_as_close():
    levels = info(4, 8, 16, 16, 16)
    anchors = pyramid_anchors(levels, DetectorSettings(anchor_scales=(4.0,), aspect_ratios=(1.0,)))
    assert anchors.sizes() == [[16], [32], [64], [128], [256]]
    shapes = [(8, 8), (4, 4), (2, 2), (2, 2), (2, 2)]
    boxes = anchors.grid(shapes, torch.device("cpu")).split(anchors.counts(shapes))
    for level, side in enumerate((16, 32, 64, 128, 256)):
        assert (boxes[level][:, 2] - boxes[level][:, 0] == side).all()
    for level in boxes[2:]:
        centres = (level[:, :2] + level[:, 2:]) / 2
        assert centres.tolist() == [[0, 0], [16, 0], [0, 16], [16, 16]]


def test_sizes_that_are_given_grow_with_nominal_strides_behind_the_last():
    anchors = Anchors([8, 16, 16, 16], (1.0,), (1.0,), sizes=((10,), (24,)), nominal=[8, 16, 32, 64])
    assert anchors.sizes() == [[10], [24], [48], [96]]
    with pytest.raises(ConfigError, match="sizes for 3 levels, and there are 2"):
        Anchors([16, 16], (1.0,), (1.0,), sizes=((1,), (2,), (3,)), nominal=[16, 32])


def test_a_pyramid_of_different_sizes_has_the_anchors_that_it_had():
    settings = DetectorSettings()
    strides = [4, 8, 16, 32]
    expected = Anchors(strides, settings.anchor_scales, settings.aspect_ratios)
    shapes = [(8, 8), (4, 4), (2, 2), (1, 1)]
    found = pyramid_anchors(info(*strides), settings).grid(shapes, torch.device("cpu"))
    assert torch.equal(found, expected.grid(shapes, torch.device("cpu")))


@pytest.mark.parametrize("neck", ["fpn", "bifpn"])
def test_a_detector_stands_on_detnet(neck):
    settings = DetectorSettings(neck=neck, neck_channels=8, head_channels=16)
    detector, _, _ = build_detector(
        unchanged(read_network(NETWORK)), 2, settings, {}, generator=torch.Generator().manual_seed(0)
    )
    found = detector.eval().detect(torch.rand(1, 3, 50, 66))
    assert torch.isfinite(found.boxes).all()


def test_it_is_listed_and_shown():
    listed = done("backbones", "detnet:*")
    assert "256 512 1024 1024 1024" in listed
    assert "17.3 M" in listed
    assert done("show", NETWORK) == listed
