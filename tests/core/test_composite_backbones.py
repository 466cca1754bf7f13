"""Copies of a network that help one another: CBNet."""

import pytest
import torch
from torch.nn import functional

from spnas_core import Architecture
from spnas_core.backbones import CompositeNetwork, blank_network, fresh_network, read_network, without_neck
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
        ("cb2(b_11--1)", "at character 5, what is composed is no code: stage 2 of '11--1' is empty"),
        ("cb2(x)", "at character 5, what is composed is no code: 'x' is no architecture code"),
        (f"cb2(cb2({CODE}))", "at character 5, it composes cb2.*, and only codes can be composed"),
        ("cb2(timm:resnet18)", "at character 5, it composes timm:resnet18, and only codes can be composed"),
        ("cb2(b_11-21", r"at character 4, the \( is not closed"),
        ("cb2(b_1-2))", r"at character 11, '\)' follows the closing \)"),
        ("cb2(b_1-2)x", r"at character 11, 'x' follows the closing \)"),
        ("cb2 (b_1-2)", "at character 4, a blank stands between cb2 and what it composes"),
        ("cb(b_1-2)", "at character 3, cb composes copies, and it names none"),
        ("cb02(b_1-2)", "at character 3, cb composes copies, and '02' is no number of them"),
        (f"cb{'9' * 5000}(b_1-2)", "at character 3, cb composes copies, and '999999999999999999' is no number of them"),
        ("CB2(b_1-2)", "at character 1, CB2 is written cb2"),
        ("Trident(b_1-2)", "at character 1, Trident is written trident"),
        ("foo(b_1-2)", "at character 1, no composition is called 'foo'; copies that help one another are written"),
        ("foo(timm:resnet18)", "at character 1, no composition is called 'foo'"),
        ("(b_1-2)", "at character 1, no composition is called ''"),
        ("cb2[b_1-2]", r"at character 4, '\[' stands where \( must"),
        ("cb2()", "at character 5, nothing is composed"),
        ("cb2( )", "at character 5, nothing is composed"),
        ("cb2(b_1-2~fpn)", r"at character 10, a neck is named inside of cb2\(\): write it behind the \)"),
        ("cb2(b_1-2~merge:m@1=gp(in3,in1);o0@0=in0+m)", "at character 10, a neck is named inside of cb2"),
        ("cb2(b_1-2)~", "at character 11, no neck is named"),
        ("cb2(b_1-2)~a~b", "the neck 'a~b' holds blanks or a ~"),
        ("trident(b_1-2,x)", "at character 15, the stage 'x' is no whole number: write 1 to 2"),
        ("trident(b_1-2, 02)", "at character 16, the stage '02' is no whole number: write 1 to 2"),
        ("trident(b_1-2,)", "at character 15, the stage '' is no whole number: write 1 to 2"),
        ("trident(b_1-2,1,2)", "at character 15, the stage '1,2' is no whole number"),
        ("trident2(b_1-2)", "at character 1, no composition is called 'trident2'"),
        ("cb101(b_1-2)", "has 101 copies and 202 blocks: at most 100 and 10000 are possible"),
        ("cb999999999(b_1-2)", "has 999999999 copies"),
        (f"cb100(b_1-{'1' * 100})", "has 100 copies and 10100 blocks: at most 100 and 10000 are possible"),
        (f"cb2(b_{'-'.join('1' * 61)})", "what is composed is no code: a backbone of 61 stages"),
    ],
)
def test_what_names_none_is_refused(text, message):
    with pytest.raises(CodeError, match=message):
        read_network(text)


@pytest.mark.parametrize("text", [f"cb2({CODE})~hrfpn", f"trident({CODE},1)~merge:m@1=gp(in2,in1);o0@0=in0+m"])
def test_a_neck_stands_behind_the_parenthesis(text):
    network = read_network(text)
    assert str(network) == text
    assert network.neck == text.partition("~")[2]
    assert read_network(str(network)) == network
    assert without_neck(network) == read_network(text.partition("~")[0])


def test_as_many_copies_as_could_be_built_are_read():
    assert read_network("cb100(b_1-2)").copies == 100


@pytest.mark.parametrize("text", ["cb2(b_1-2)", "trident(b_1-2)", "cb2(timm:resnet18)", "foo(b_1-2)", "cb2[b_1-2]"])
def test_no_search_begins_with_a_composition(text):
    with pytest.raises(CodeError, match=r"networks by name and compositions can be trained .* begin it with one"):
        Architecture.parse(text)


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
