"""Inverted bottlenecks and RegNet's blocks are timm's: parameters, multiply-adds, and outputs of the same weights."""

from functools import partial

import pytest
import torch
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual, SqueezeExcite
from timm.models.regnet import Bottleneck, RegStage
from torch.utils.flop_counter import FlopCounterMode

from spnas_core import Architecture, backbone_cost
from spnas_core.blocks import block_spec
from spnas_core.testing import uneven_backbone

NAMES = {"squeeze": "se.conv_reduce", "excite": "se.conv_expand"}


def inverted(inputs, outputs, ratio, kernel, stride, squeezes):
    gate = partial(SqueezeExcite, rd_ratio=0.25 / ratio) if squeezes else None
    if ratio == 1:
        return DepthwiseSeparableConv(inputs, outputs, kernel, stride, se_layer=gate)
    return InvertedResidual(inputs, outputs, kernel, stride, exp_ratio=ratio, se_layer=gate)


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def uneven(module, seed):
    generator = torch.Generator().manual_seed(seed)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point() and tensor.dim() == 1:
            tensor.uniform_(0.3, 1.2, generator=generator)
        elif tensor.dim() > 1:
            tensor.normal_(0, 0.3, generator=generator)
    return module.eval()


def built(name, *sizes):
    """Our block, with memory."""
    return block_spec(name).build(*sizes).eval()


@pytest.mark.parametrize(
    ("name", "sizes", "count"),
    [("m6k3", (24, 24, 1), 8_832), ("m3k5s", (40, 40, 1), 15_690), ("m6k3", (16, 24, 2), 5_136)],
)
def test_published_parameters(name, sizes, count):
    ratio, kernel = int(name[1]), int(name[3])
    assert parameters(built(name, *sizes)) == count
    inputs, outputs, stride = sizes
    assert parameters(inverted(inputs, outputs, ratio, kernel, stride, "s" in name)) == count


@torch.no_grad()
@pytest.mark.parametrize("name", ["m1k3", "m1k5s", "m3k7", "m6k3", "m6k5s"])
@pytest.mark.parametrize("sizes", [(24, 24, 1), (16, 24, 1), (24, 24, 2), (24, 40, 2)])
def test_an_inverted_bottleneck_is_timms(name, sizes):
    inputs, outputs, stride = sizes
    ratio, kernel = int(name[1]), int(name[3])
    theirs = uneven(inverted(inputs, outputs, ratio, kernel, stride, "s" in name), 3)
    ours = built(name, *sizes)
    convolutions = ["conv_pw", "conv_dw", "conv_pwl"] if ratio > 1 else ["conv_dw", "conv_pw"]
    names = {**NAMES, **{f"conv{at}": theirs_name for at, theirs_name in enumerate(convolutions, 1)}}
    names |= {f"bn{at}": f"bn{at}" for at in range(1, len(convolutions) + 1)}
    state = theirs.state_dict()
    ours.load_state_dict(
        {key: state[f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}"] for key in ours.state_dict()}
    )
    x = torch.randn(2, inputs, 13, 10, generator=torch.Generator().manual_seed(1))
    expected = theirs(x.clone())
    assert (ours(x.clone()) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert expected.min() < 0, "a linear bottleneck"


@torch.no_grad()
@pytest.mark.parametrize(("name", "ratio"), [("g8", 0.0), ("g8s", 0.25), ("g24s", 0.25)])
def test_a_stage_of_regnet_is_timms(name, ratio):
    width = int(name.strip("gs"))
    theirs = uneven(RegStage(3, width * 2, width * 4, 2, 1, block_fn=Bottleneck, group_size=width, se_ratio=ratio), 4)
    architecture = Architecture.parse(f"{name}@{width * 2}_1-211")
    stage = uneven_backbone(architecture, 0).blocks[1:]
    names = {
        "squeeze": "se.fc1",
        "excite": "se.fc2",
        "projection.conv": "downsample.conv",
        "projection.bn": "downsample.bn",
    }
    names |= {f"conv{at}": f"conv{at}.conv" for at in (1, 2, 3)} | {f"bn{at}": f"conv{at}.bn" for at in (1, 2, 3)}
    for ours, block in zip(stage, theirs.children(), strict=True):
        state = block.state_dict()
        ours.load_state_dict(
            {key: state[f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}"] for key in ours.state_dict()}
        )
        assert len(state) == len(ours.state_dict())
    x = torch.rand(2, width * 2, 13, 10, generator=torch.Generator().manual_seed(1))
    expected = theirs(x.clone())
    found = x
    for ours in stage:
        found = ours(found)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    cost = backbone_cost(architecture, 40, 52).stages[2]
    assert cost.parameters == parameters(theirs)
    with FlopCounterMode(display=False) as counter:
        theirs(torch.zeros(1, width * 2, 13, 10))
    assert 2 * cost.multiply_adds == counter.get_total_flops()
