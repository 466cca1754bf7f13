"""Names that mean one thing, and what is said of networks by their tensors, their levels and their necks."""

import math
from dataclasses import replace

import pytest
import torch

from spnas_core import Architecture, Receipt, SearchSpace, build_backbone, materialise
from spnas_core.errors import CodeError, ExportError, WeightsError
from spnas_core.exporting import export_network, exportable_backbone
from spnas_core.inheritance import ChannelMaps, output_change
from spnas_core.interchange import to_torchvision, torchvision_architecture
from spnas_core.morphisms import Widen
from spnas_core.supernets import why_no_part

P = Architecture.parse


def test_a_block_type_has_one_name():
    for text in ("m06k3@8_1-1", "m6k03@8_1-1", "g08@8_1-1", "m６k3@8_1-1"):
        with pytest.raises(CodeError):
            P(text)
    assert P("x(32x4d)_1-1") == P("x32x4d_1-1")
    space = SearchSpace(min_blocks=1, min_stages=1, block_types=("x(32x4d)", "b"))
    assert space.block_types == ("x32x4d", "b")
    assert not space.violations(P("x(32x4d)_1-1"))
    assert space.violations(P("r_1-1"))


@pytest.mark.parametrize("code", ["b@8_11-21", "b@8_21-21", "r@8_11-21", "r@16_21-1-1", "x32x4d_11-21"])
def test_torchvisions_names_lead_there_and_back(code):
    backbone = build_backbone(code)
    assert torchvision_architecture(to_torchvision(backbone.architecture, backbone.state_dict())) == P(code)


@pytest.mark.parametrize("code", ["d@8_11-21", "g8@16_11-21", "m6k3@8_11-21"])
def test_blocks_that_torchvision_has_not_are_refused(code):
    backbone = build_backbone(code)
    with pytest.raises(WeightsError, match="torchvision's ResNets and ResNeXts have b, r and such as x32x4d"):
        to_torchvision(backbone.architecture, backbone.state_dict())


def test_a_neck_is_a_part_of_what_shares_weights():
    start = P("b@8_11-21~fpn")
    assert why_no_part(start, P("b@8_1-21~fpn")) is None
    assert "its neck is pafpn" in why_no_part(start, P("b@8_1-21~pafpn"))


def test_levels_are_compared_by_their_names():
    rewrite = Widen().double(P("b@4_11-21"), 0)
    parent = build_backbone("b@4_11-21", out_stages=["s2"])
    child, _ = materialise(rewrite, build_backbone("b@4_11-21").state_dict())
    change = output_change(parent.eval(), child.eval(), torch.randn(1, 3, 64, 64), ChannelMaps(rewrite))
    assert set(change) == {"s2"}


def test_what_is_no_number_breaks_a_promise_at_whatever_level():
    for change in ({"s1": 0.0, "s2": math.nan}, {"s1": math.nan, "s2": 0.0}):
        assert "nan" in Receipt(1, 0, 0).measured(change, 1e-5).broken_promise
    assert Receipt(1, 0, 0).measured({}, 1e-5).promise is None
    assert not Receipt(1, 0, 0).measured({"s1": 0.0}, 1e-5).broken_promise


@pytest.mark.parametrize("form", ["source", "torch-export"])
def test_an_export_that_is_refused_leaves_what_was_there(tmp_path, form):
    network = exportable_backbone(build_backbone("b@4_1-2"), (64, 64))
    files = export_network(form, network, tmp_path, "backbone")
    assert all(file.parent == tmp_path for file in files)
    before = {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
    other = exportable_backbone(build_backbone("b@4_1-21"), (64, 64))
    with pytest.raises(ExportError):
        export_network(form, replace(other, compare=lambda *_: math.inf), tmp_path, "backbone")
    assert {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()} == before
    assert export_network(form, network, tmp_path, "backbone") == files
