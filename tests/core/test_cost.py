"""The count from the layers' description is what the built network has, computes and stores."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.networks import convolution_outputs
from torch.utils.flop_counter import FlopCounterMode

from spnas_core import Architecture, Backbone, backbone_cost, build_backbone
from spnas_core.testing import architectures, serial_architectures

SIZES = st.integers(1, 75)


@torch.no_grad()
@settings(max_examples=40)
@given(serial_architectures(), SIZES, SIZES)
def test_cost_is_counted_as_the_built_network_has_it(architecture, width, height):
    backbone = build_backbone(architecture).eval()
    outputs, _ = convolution_outputs(backbone, width, height)
    with FlopCounterMode(display=False) as counter:
        features = backbone(torch.zeros(1, 3, height, width))
    cost = backbone_cost(architecture, width, height)
    assert cost.multiply_adds * 2 == counter.get_total_flops()
    assert cost.parameters == sum(parameter.numel() for parameter in backbone.parameters())
    assert cost.activation_bytes == 4 * sum(outputs)
    assert [stage.name for stage in cost.stages] == ["stem", *features]
    for stage in cost.stages[1:]:
        assert (1, stage.channels, stage.height, stage.width) == tuple(features[stage.name].shape)


@settings(max_examples=40)
@given(architectures().filter(lambda architecture: not architecture.rows))
def test_parameters_of_any_serial_code_are_those_of_its_modules(architecture):
    backbone = Backbone(architecture)
    cost = backbone_cost(architecture, 224, 224)
    assert cost.parameters == sum(parameter.numel() for parameter in backbone.parameters())
    for number, stage in enumerate(cost.stages[1:]):
        blocks = [
            b for b, name in zip(backbone.blocks, stage_of_each_block(architecture), strict=True) if name == number
        ]
        assert stage.blocks == len(blocks)
        assert stage.parameters == sum(parameter.numel() for block in blocks for parameter in block.parameters())


def stage_of_each_block(architecture: Architecture) -> list[int]:
    return [number for number, stage in enumerate(architecture.stages) for _ in stage]


@given(architectures(), SIZES, SIZES)
def test_stages_sum_up_to_the_totals(architecture, width, height):
    cost = backbone_cost(architecture, width, height)
    assert cost.as_dict() == {
        total: sum(getattr(stage, total) for stage in cost.stages)
        for total in ("parameters", "multiply_adds", "activation_bytes")
    }
    assert [stage.blocks for stage in cost.stages] == [0, *map(len, architecture.stages)]


@given(architectures(), SIZES, SIZES)
def test_every_stage_halves_the_feature_size_rounded_up(architecture, width, height):
    stages = backbone_cost(architecture, width, height).stages
    assert (stages[0].width, stages[0].height) == (stages[1].width, stages[1].height)
    assert (stages[0].width, stages[0].height) == (-(-width // 4), -(-height // 4))
    for finer, coarser in pairwise(stages[1:]):
        assert (coarser.width, coarser.height) == (-(-finer.width // 2), -(-finer.height // 2))


def test_cost_of_a_small_network_counted_by_hand():
    cost = backbone_cost(Architecture.parse("b@4+deep_1-2"), 32, 16)
    stem, first, second = cost.stages
    # Two 3x3 of stride 2, 3 → 2 → 4 channels, on 16 x 8 and 8 x 4 pixels.
    assert stem.parameters == (54 + 2 * 2) + (72 + 2 * 4)
    assert stem.multiply_adds == 54 * 128 + 72 * 32
    assert stem.activation_bytes == 4 * (2 * 128 + 4 * 32)
    # Two 3x3 of 4 channels, no projection.
    assert first.parameters == 2 * (144 + 8)
    assert first.multiply_adds == 2 * 144 * 32
    assert first.activation_bytes == 4 * 2 * 4 * 32
    # 3x3 4 → 8, 3x3 8 → 8, projection 1x1 4 → 8, all on 4 x 2 pixels.
    assert second.parameters == (288 + 16) + (576 + 16) + (32 + 16)
    assert second.multiply_adds == (288 + 576 + 32) * 8
    assert second.activation_bytes == 4 * 3 * 8 * 8
    assert (second.width, second.height, second.channels) == (4, 2, 8)


@pytest.mark.parametrize("growth", [2, 3])
def test_multiply_adds_and_activations_grow_with_the_pixels_and_parameters_do_not(growth):
    architecture = Architecture.parse("r@8_1-21-12")
    small, large = backbone_cost(architecture, 64, 32), backbone_cost(architecture, 64 * growth, 32)
    assert large.multiply_adds == growth * small.multiply_adds
    assert large.activation_bytes == growth * small.activation_bytes
    assert large.parameters == small.parameters
