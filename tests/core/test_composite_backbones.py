"""Copies of a network that help one another: CBNet."""

import pytest
import torch
from torch.nn import functional

from spnas_core import Architecture
from spnas_core.backbones import CompositeNetwork, blank_network, fresh_network, read_network
from spnas_core.backbones.composite import in_every_copy
from spnas_core.cost import backbone_cost
from spnas_core.errors import CodeError
from spnas_core.testing import uneven_backbone

CODE = "b@8_11-21-2"
COUNTS = {
    "cb2(r_111-2111-211111-211)": (2 * 23_508_032 + 2_772_608, 8_533_934_080),
    "cb2(b_11-21-21-21)": (22_530_176, 3_659_235_328),
    "cb2(b@8_11-21-21-21)": (356_304, None),
}
"""Parameters and multiply-adds at 224×224; each connection has C_l · C_(l-1) + 2 · C_(l-1) parameters."""


def images(height=70, width=101):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def composite(code=CODE, copies=2, *, loud=True):
    """A composite network of which every copy has other weights, and connections that are heard."""
    network = read_network(f"cb{copies}({code})")
    module = fresh_network(network, seed=1).eval()
    for number, copy in enumerate(module.copies):
        copy.load_state_dict(uneven_backbone(network.inner, number).state_dict())
    generator = torch.Generator().manual_seed(2)
    for name, tensor in module.connections.state_dict().items():
        if loud and ".bn." in name and tensor.is_floating_point():
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return module


def test_a_text_names_copies_of_a_code():
    network = read_network(f"cb3({CODE})")
    assert network == CompositeNetwork(Architecture.parse(CODE), 3)
    assert str(network) == f"cb3({CODE})"
    assert network.stage_count == 3
    assert network.feature_info.channels() == [8, 16, 32]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"cb0({CODE})", "has 0 copies: it must have 1 or more"),
        (f"cb2({CODE}", "is no backbone: copies that help one another are written cb2"),
        (f"cb({CODE})", "is no backbone: copies that help one another are written cb2"),
        ("cb2(b_11--1)", "stage 2 of '11--1' is empty"),
        (f"cb2(cb2({CODE}))", "only codes can be composed"),
    ],
)
def test_what_names_none_is_refused(text, message):
    with pytest.raises(CodeError, match=message):
        read_network(text)


def test_a_block_with_parentheses_is_a_code():
    assert read_network("x(32x4d)_1-2") == Architecture.parse("x32x4d_1-2")


@pytest.mark.parametrize("text", COUNTS)
def test_costs_are_the_published_formulas(text):
    parameters, multiply_adds = COUNTS[text]
    cost = backbone_cost(read_network(text), 224, 224)
    assert cost.parameters == parameters
    assert multiply_adds in {None, cost.multiply_adds}


@pytest.mark.parametrize("code", [CODE, "r@4_1-2-1_0-1-2", "b@8+deep_11-2_1-1s"])
def test_stages_hear_the_copy_before(code):
    """The composition by hand: plain convolutions, norms and nearest neighbours between the copies' own stages."""
    module, x = composite(code, 3).double(), images().double()
    features = list(module.copies[0](x).values())
    for connections, backbone in zip(module.connections, list(module.copies)[1:], strict=True):
        heard = []
        for connection, level in zip(connections, features, strict=True):
            bn = connection.bn
            scale = bn.weight / (bn.running_var + bn.eps).sqrt()
            convolved = torch.einsum("oi,nihw->nohw", connection.conv.weight[:, :, 0, 0], level)
            heard.append((convolved - bn.running_mean[:, None, None]) * scale[:, None, None] + bn.bias[:, None, None])
        outputs, features = [backbone.stem(x)], []
        for stage, added in zip(backbone._stages, heard, strict=True):
            outputs[0] = outputs[0] + functional.interpolate(added, outputs[0].shape[-2:], mode="nearest")
            outputs = backbone._run_stage(stage, outputs)
            features.append(outputs[0])
    found = module(x)
    assert list(found) == [f"s{i + 1}" for i in range(len(features))]
    for level, expected in zip(found.values(), features, strict=True):
        torch.testing.assert_close(level, expected, atol=1e-9, rtol=1e-9)


def test_silent_connections_leave_the_last_copy_alone():
    module = composite(loud=False)
    alone = module.copies[1](images())
    for name, level in module(images()).items():
        assert torch.equal(level, alone[name])
    assert not any(torch.equal(level, module.copies[0](images())[name]) for name, level in alone.items())


def test_one_copy_is_the_network_itself():
    module = composite(copies=1)
    plain = uneven_backbone(Architecture.parse(CODE), 0).eval()
    assert all(torch.equal(level, plain(images())[name]) for name, level in module(images()).items())


def test_weights_of_the_network_go_into_every_copy():
    plain = uneven_backbone(Architecture.parse(CODE), 4).eval()
    network = read_network(f"cb2({CODE})")
    module = fresh_network(network, seed=0).eval()
    tensors = in_every_copy(network, plain.state_dict())
    missing, unexpected = module.load_state_dict(tensors, strict=False)
    assert not unexpected
    assert all(name.startswith("connections.") for name in missing)
    assert all(torch.equal(level, plain(images())[name]) for name, level in module(images()).items())
    assert list(in_every_copy(network, {"head.x": plain.stem.conv1.weight}, "backbone.")) == ["head.x"]


def test_chosen_stages_alone_are_computed():
    module = blank_network(read_network(f"cb2({CODE})"), ["s1"])
    assert list(module(torch.empty(1, 3, 64, 64, device="meta"))) == ["s1"]
    assert module.copies[0]._computed == 1
    with pytest.raises(CodeError, match="has no stage 's9'"):
        blank_network(read_network(f"cb2({CODE})"), ["s9"])


def test_first_values_differ_from_copy_to_copy_and_follow_from_the_seed():
    network = read_network(f"cb2({CODE})")
    one, other = (fresh_network(network, seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    weight = "copies.{}.blocks.0.conv1.weight"
    assert not torch.equal(one[weight.format(0)], one[weight.format(1)])
    assert all((one[name] == 0).all() for name in one if name.startswith("connections.") and name.endswith("bn.weight"))


def test_silent_connections_learn():
    module = fresh_network(read_network(f"cb2({CODE})"), seed=3).train()
    sum(level.square().mean() for level in module(images()).values()).backward()
    assert all(layer.bn.weight.grad.abs().sum() > 0 for connections in module.connections for layer in connections)
