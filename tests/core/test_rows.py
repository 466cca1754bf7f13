"""Networks with parallel rows: what they compute, what they weigh, what they cost."""

from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.networks import convolution_outputs, images, trained_looking
from torch.nn import functional

from spnas_core import Architecture, Backbone, backbone_cost, build_backbone
from spnas_core.cost import row_costs
from spnas_core.networks import stage_placements, units
from spnas_core.networks.units import split_name
from spnas_core.testing import architectures, parallel_architectures

EUROCITY = Architecture.parse("r_11121111-21111-112-1111-1111_0-0-2-0-3s")
COCO = Architecture.parse("x32x4d+deep_1111-21111-2111111111111111111111111-211-1_1-0-2-1-2s")


def plainly(backbone: Backbone, x: torch.Tensor) -> "OrderedDict[str, torch.Tensor]":
    """The same network as a loop over names, for rows with weights of their own."""
    architecture = backbone.architecture
    ends = [0, *architecture.borders, len(architecture.digits)]
    before, features = {0: backbone.stem(x)}, OrderedDict()
    for number in range(1, len(architecture.stages) + 1):
        here = {}
        rows = architecture.rows[number - 1] if architecture.rows else 0
        add = torch.zeros_like(before[0])
        for row in range(rows, -1, -1):
            x = before[row if row in before else max(before)] + add
            for position, index in enumerate(range(ends[number - 1], ends[number])):
                name = f"rows.{number}.{row}.{position}" if row else f"blocks.{index}"
                x = backbone.get_submodule(name)(x)
            here[row] = x
            if row:
                fusion = backbone.get_submodule(f"fusions.{number}.{row}")
                add = functional.interpolate(fusion.bn(fusion.conv(x)), size=before[0].shape[-2:])
        before = here
        features[f"s{number}"] = here[0]
    return features


@torch.no_grad()
@settings(max_examples=20)
@given(parallel_architectures(), st.integers(0, 2**31))
def test_rows_are_computed_as_described(architecture, seed):
    own = replace(architecture, shares_rows=False)
    backbone = trained_looking(own, seed)
    expected = plainly(backbone, images(seed))
    for level, features in backbone(images(seed)).items():
        torch.testing.assert_close(features, expected[level], rtol=0, atol=0)


@torch.no_grad()
@settings(max_examples=12)
@given(parallel_architectures(), st.integers(0, 2**31))
def test_shared_rows_compute_what_rows_with_the_same_weights_compute(architecture, seed):
    code, shared = replace(architecture, shares_rows=False), replace(architecture, shares_rows=True)
    sharing, own = trained_looking(shared, seed), build_backbone(code)
    state = own.state_dict()
    first = (0, *code.borders)
    for name, tensor in sharing.state_dict().items():
        state[name].copy_(tensor)
    for name in own.state_dict().keys() - sharing.state_dict().keys():
        unit, inner = split_name(name)
        source = f"fusions.{unit.at[0]}.1" if unit.kind == "fusion" else f"blocks.{first[unit.at[0] - 1] + unit.at[2]}"
        state[name].copy_(sharing.state_dict()[f"{source}.{inner}"])
    for training in (False, True):
        sharing.train(training)
        own.train(training)
        expected = own(images(seed))
        for level, features in sharing(images(seed)).items():
            torch.testing.assert_close(features, expected[level], rtol=1e-5, atol=1e-5)
    # Running statistics have moved apart from the main path's, each as the separate row's own.
    for name, tensor in sharing.state_dict().items():
        torch.testing.assert_close(tensor, own.state_dict()[name], rtol=1e-5, atol=1e-5)


@settings(max_examples=25)
@given(parallel_architectures())
def test_every_tensor_belongs_to_a_unit_and_every_unit_has_tensors(architecture):
    backbone = Backbone(architecture)
    assert {split_name(name)[0] for name in backbone.state_dict()} == set(units(architecture))
    for unit in units(architecture):
        backbone.get_submodule(unit.module)


@settings(max_examples=25)
@given(parallel_architectures(), st.integers(40, 90), st.integers(40, 90))
def test_cost_with_rows_is_counted_as_the_built_network_has_it(architecture, width, height):
    backbone = build_backbone(architecture)
    cost = backbone_cost(architecture, width, height)
    assert cost.parameters == sum(parameter.numel() for parameter in backbone.parameters())
    outputs, multiply_adds = convolution_outputs(backbone, width, height)
    assert cost.activation_bytes == 4 * sum(outputs)
    assert cost.multiply_adds == sum(multiply_adds)


@given(architectures())
def test_the_cost_of_one_more_row_is_that_of_its_stage_and_a_fusion(architecture):
    base = backbone_cost(architecture, 64, 48)
    serial = backbone_cost(replace(architecture, rows=()), 64, 48)
    for stage, alone, cost in zip(
        stage_placements(architecture), serial.stages[1:], row_costs(architecture, 64, 48), strict=True
    ):
        pixels = alone.width * alone.height
        fusion = stage.fusion.weights * pixels
        assert cost.multiply_adds - base.multiply_adds == alone.multiply_adds + fusion


def test_the_authors_networks_run_and_weigh_what_is_counted_by_hand():
    """One fusion of a stage has C_out x C_in weights and a norm of 2 C_in numbers; a row of its own the stage besides.

    EuroCity: bottlenecks, so channels 256, 512 | 1024 | 2048 | 2048 | 2048; rows beside stages 3 and 5.
    COCO: channels 256 | 512 | 1024 | 2048 | 2048 behind a stem of 64; rows beside stages 1, 3, 4 and 5.
    """
    fusions = {
        EUROCITY: [(1024, 2048), (2048, 2048)],
        COCO: [(64, 256), (512, 1024), (1024, 2048), (2048, 2048)],
    }
    rows = {EUROCITY: {3: 2, 5: 3}, COCO: {1: 1, 3: 2, 4: 1, 5: 2}}
    for architecture, shapes in fusions.items():
        serial, own = replace(architecture, rows=()), replace(architecture, shares_rows=False)
        alone = backbone_cost(serial, 256, 256)
        added = [inputs * outputs + 2 * inputs for inputs, outputs in shapes]
        assert backbone_cost(architecture, 256, 256).parameters == alone.parameters + sum(added)
        by_row = [
            count * (alone.stages[stage].parameters + fusion)
            for (stage, count), fusion in zip(rows[architecture].items(), added, strict=True)
        ]
        assert backbone_cost(own, 256, 256).parameters == alone.parameters + sum(by_row)
        assert (
            backbone_cost(own, 256, 256).multiply_adds == backbone_cost(architecture, 256, 256).multiply_adds
        )  # sharing saves no computation
    shared = {code: backbone_cost(code, 256, 256).parameters for code in fusions}
    assert shared == {EUROCITY: 67_425_856, COCO: 60_280_480}
    separate = {code: backbone_cost(replace(code, shares_rows=False), 256, 256).parameters for code in fusions}
    assert separate == {EUROCITY: 162_717_248, COCO: 154_066_080}


@pytest.mark.parametrize("architecture", [EUROCITY, COCO], ids=["eurocity", "coco"])
def test_the_authors_networks_run_forward_and_backward(architecture):
    backbone = build_backbone(architecture, generator=torch.Generator().manual_seed(0))
    features = backbone(torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(1)))
    assert [tuple(level.shape[-2:]) for level in features.values()] == [(64 >> i, 64 >> i) for i in range(5)]
    sum(level.square().mean() for level in features.values()).backward()
    missing = [name for name, parameter in backbone.named_parameters() if parameter.grad is None]
    assert not missing


def test_stages_that_are_not_returned_cost_nothing_beside_the_main_path_either():
    architecture = Architecture.parse("b@4_1-1-1_0-0-2")
    backbone = Backbone(architecture, ["s1", "s2"])
    assert list(build_backbone(architecture, out_stages=["s2"])(images(0))) == ["s2"]
    assert [info.name for info in backbone.feature_info.stages] == ["s1", "s2"]
    built = build_backbone(architecture, out_stages=["s1", "s2"])
    for parameter in built.rows.parameters():
        parameter.data.fill_(float("nan"))
    assert all(torch.isfinite(level).all() for level in built(images(0)).values())
