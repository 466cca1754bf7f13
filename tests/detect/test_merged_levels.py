"""Levels that are pooled from the backbone's last stage before the neck, which merges them with the others."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from spnas_core import Architecture
from spnas_core.configuration import validate
from spnas_core.errors import ConfigError
from spnas_core.morphisms import AddStage, align, identity
from spnas_core.networks import Backbone, build_backbone
from spnas_detect.detectors import DetectorDescription, DetectorSettings, build_detector
from spnas_detect.detectors.held import _check_levels, made_detector
from spnas_detect.detectors.levels import neck_stages
from spnas_detect.detectors.loading import load_detector
from spnas_detect.detectors.origin import read_origin
from spnas_detect.detectors.pyramid import pyramid
from spnas_detect.heads.extra_levels import ExtraLevels, merged_features
from spnas_detect.necks import FPN, LevelMap
from spnas_detect.necks.nas_fpn import nas_fpn_cell
from spnas_detect.supernets import check_paths, recalibrate
from spnas_detect.training import save_weights

START = Architecture.parse("b@4_11-21-21-21")
FIVE = {"levels": ("s2", "s3", "s4"), "extra_levels": "stage-pool"}
NECKS = ("fpn", "pafpn", "bifpn", "nas-fpn", "hrfpn")


def settings(**values):
    small = {"neck_channels": 8, "head_channels": 16, "rpn_proposals": 20}
    return DetectorSettings(**{**small, **FIVE, **values})


def build(rewrite, parent=None, seed=0, parent_stages=None, **values):
    return build_detector(
        rewrite,
        2,
        settings(**values),
        parent or {},
        generator=torch.Generator().manual_seed(seed),
        parent_stages=parent_stages,
    )


def levels_of(detector, side=128):
    images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    return pyramid(detector.backbone, detector.neck, images, detector.extra)


def test_the_stage_is_pooled_as_a_strided_convolution_would_see_it():
    last = torch.randn(2, 6, 7, 10)
    found = ExtraLevels("stage-pool", 6, 8).before(OrderedDict(s3=torch.zeros(2, 4, 13, 20), s4=last))
    assert list(found) == ["s3", "s4", "s4/2", "s4/2/2"]
    assert [tuple(feature.shape[-2:]) for feature in found.values()] == [(13, 20), (7, 10), (4, 5), (2, 3)]
    pool = nn.MaxPool2d(3, stride=2, padding=1)
    assert torch.equal(found["s4/2"], pool(last))
    assert torch.equal(found["s4/2/2"], pool(pool(last)))


@pytest.mark.parametrize("neck", NECKS)
def test_every_neck_merges_them(neck):
    detector, _, receipt = build(identity(START), neck=neck)
    assert receipt.copied == 0
    assert detector.rpn.anchors.strides == (8, 16, 32, 64, 128)
    levels = levels_of(detector.eval())
    assert [tuple(level.shape[1:]) for level in levels] == [(8, side, side) for side in (16, 8, 4, 2, 1)]
    if neck != "hrfpn":  # whose levels are pooled from the finest one alone
        reads = [name for name, _ in detector.neck.named_parameters() if detector.neck.reads(name) == 3]
        (lateral,) = torch.autograd.grad(levels[0].sum(), [detector.neck.get_parameter(reads[0])])
        assert bool((lateral != 0).any()), "nothing flows from a pooled level to the finest"
    assert not [name for name in detector.state_dict() if name.startswith("extra.")]


def test_the_cell_of_three_stages_is_the_published_one():
    detector, _, _ = build(identity(START), neck="nas-fpn")
    names = {name.split(".")[2] for name in detector.neck.state_dict() if name.startswith("stack.0.")}
    assert names == {merge.name for merge in nas_fpn_cell(5)}


def test_a_child_takes_what_a_level_of_the_same_stride_has():
    assert neck_stages(settings(), START) == (1, 2, 3, 3, 3)
    plain, pooled = (1, 2, 3), (1, 2, 3, 3, 3)
    same = LevelMap(identity(START), pooled, pooled)
    assert [same.nearest(level) for level in range(5)] == [0, 1, 2, 3, 4]
    assert [list(same.laterals(level)) for level in range(5)] == [[0], [1], [2], [3], [4]]
    # A parent without pooled levels has the stage itself; a child without any takes the stage's own.
    assert [LevelMap(identity(START), pooled, plain).nearest(level) for level in range(5)] == [0, 1, 2, 2, 2]
    assert [LevelMap(identity(START), plain, pooled).nearest(level) for level in range(3)] == [0, 1, 2]
    # Of a parent of more stages the pooled levels take what has their strides.
    fewer = align(Architecture.parse("b@4_11-21-21-21-1"), START)
    assert [LevelMap(fewer, pooled, (1, 2, 3, 4, 4, 4)).nearest(level) for level in range(5)] == [0, 1, 2, 3, 4]


def test_a_parent_without_any_of_the_stages_gives_its_neck_nothing():
    shallow = Architecture.parse("b@4_11-21-21")
    tensors = {f"backbone.{name}": tensor for name, tensor in build_backbone(shallow).state_dict().items()}
    for extra in (None, "stage-pool"):
        _, plan, _ = build(align(shallow, START), tensors, levels=("s4",), extra_levels=extra)
        assert not [copied for copied in plan.copies if not copied.target.startswith("backbone.")]


def test_a_detector_that_makes_no_levels_is_refused(monkeypatch):
    def without(*given):
        made = made_detector(*given)
        made.extra = None
        return made

    monkeypatch.setattr("spnas_detect.detectors.building.made_detector", without)
    with pytest.raises(ConfigError, match="detector 'retinanet' makes no extra levels"):
        build(identity(START), detector="retinanet")
    build(identity(START), detector="retinanet", extra_levels="conv")


def test_a_plugins_neck_is_tried_on_as_many_levels_as_there_may_be():
    info = merged_features(Backbone(Architecture.parse("b@4_1-2-2-2-2-2-2")).feature_info, "stage-pool")
    with torch.device("meta"):
        neck = FPN(info, 8)
    _check_levels("neck 'mine'", neck, info, 8)


def test_an_added_stage_and_what_is_pooled_from_it_take_over_what_had_their_strides():
    grown = AddStage().options(START)[0]
    assert grown.child.stage_count == 5
    options = {"levels": ("s2+",), "neck": "bifpn"}
    parent = build(identity(START), **options)[0].state_dict()
    child, _, receipt = build(grown, parent, seed=1, **options)
    state = child.state_dict()
    assert neck_stages(settings(**options), grown.child) == (1, 2, 3, 4, 4, 4)
    for level, source in ((0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 4)):
        node = "neck.cells.0.bottom_up.{}.pointwise.conv.weight" if level else "neck.cells.0.top_down.{}.fusion"
        assert torch.equal(state[node.format(level)], parent[node.format(source)]), level
    assert receipt.copied > receipt.new
    assert all(level.isfinite().all() for level in levels_of(child.eval()))


def test_laterals_of_pooled_levels_follow_the_channels_of_their_stage():
    parent = build(identity(START), neck="bifpn")[0].state_dict()
    child = build(identity(START), parent, seed=1, neck="bifpn")[0].state_dict()
    assert all(torch.equal(child[name], parent[name]) for name in parent)
    before = build(identity(START), neck="bifpn", extra_levels=None)[0].state_dict()
    child = build(identity(START), before, seed=1, parent_stages=(1, 2, 3), neck="bifpn")[0].state_dict()
    for level in (2, 3, 4):
        assert torch.equal(child[f"neck.laterals.{level}.conv.weight"], before["neck.laterals.2.conv.weight"])


def test_a_file_says_which_levels_its_neck_has(tmp_path):
    detector, _, _ = build(identity(START), neck="bifpn")
    path = tmp_path / "weights.safetensors"
    description = DetectorDescription(str(START), ("a", "b"), settings(neck="bifpn"), (128, 128))
    save_weights(detector, path, description.metadata())
    assert read_origin(path).stages == (1, 2, 3, 3, 3)
    loaded, _ = load_detector(path, torch.device("cpu"))
    torch.testing.assert_close(levels_of(loaded.eval()), levels_of(detector.eval()))


def test_parts_of_a_supernet_share_them():
    for neck in ("fpn", "bifpn"):
        check_paths(settings(neck=neck, levels=None), Architecture.parse("b@4_111-1211-2111"))


class OneBatch:
    """A loader of the same images again and again."""

    def epoch(self, _):
        yield self

    def to(self, _):
        return self

    def inputs(self):
        return torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))


def test_norms_of_necks_are_gathered_over_all_levels():
    detector, _, _ = build(identity(START), neck="bifpn")
    before = {
        name: value.clone() for name, value in detector.neck.state_dict().items() if name.endswith("running_mean")
    }
    assert recalibrate(detector, OneBatch(), 1, torch.device("cpu")) > len(before)
    changed = [name for name, value in before.items() if not torch.equal(detector.neck.state_dict()[name], value)]
    assert len(changed) == len(before)


def test_an_unknown_kind_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="stage-pool"):
        validate(DetectorSettings, {"extra_levels": "pool-stage"})
