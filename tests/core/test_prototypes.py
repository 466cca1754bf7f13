import copy

import pytest
import torch
from torch import nn

from spnas_core import Architecture, backbone_cost
from spnas_core.blocks import ResidualSpec, block_spec
from spnas_core.errors import PluginError
from spnas_core.networks import build_backbone, prototypes
from spnas_core.networks.prototypes import copy_on_meta, instance
from spnas_core.plugins import registry
from spnas_core.stems import ConvolutionalStem, stem_spec


class Counting:
    """A block type that says how often it was built."""

    name, silent_norm = "counting", None

    def __init__(self):
        self.calls = []

    def layers(self, in_channels, planes, stride):
        return ()

    def build(self, in_channels, planes, stride):
        self.calls.append((in_channels, planes, stride))
        return nn.Conv2d(in_channels, planes, 3, stride)


class Tangled(nn.Module):
    """Everything that a structural copy can get wrong: tied weights, a shared module, modules in a list, a hook."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(2, 2)
        self.other = nn.Linear(2, 2)
        self.other.weight = self.one.weight
        self.again = self.one
        self.order = [self.other, self.one]
        self.options = {"depth": 2}
        self.nothing = None
        self.register_buffer("missing", None)
        self.register_buffer("steps", torch.zeros(3), persistent=False)
        self.one.register_forward_hook(lambda module, inputs, output: output + 1)


@pytest.fixture
def tangled():
    with torch.device("meta"):
        return Tangled()


@pytest.mark.parametrize("spec", [block_spec("b"), block_spec("r"), block_spec("x32x4d")], ids=lambda spec: spec.name)
def test_a_copied_block_is_the_built_one(spec):
    with torch.device("meta"):
        built = spec.build(64, 128, 2)
    copied = instance(spec, 64, 128, 2)
    assert repr(copied) == repr(built)
    assert {n: t.shape for n, t in copied.state_dict().items()} == {n: t.shape for n, t in built.state_dict().items()}
    assert [type(value) for value in vars(copied).values()] == [type(value) for value in vars(built).values()]


def test_a_block_is_built_once_for_each_combination_of_sizes():
    spec = Counting()
    for sizes in [(4, 4, 1), (4, 8, 2), (4, 4, 1), (4, 4, 2), (4, 8, 2)]:
        assert instance(spec, *sizes).stride == (sizes[2], sizes[2])
    assert spec.calls == [(4, 4, 1), (4, 8, 2), (4, 4, 2)]
    instance(Counting(), 4, 4, 1)
    assert len(spec.calls) == 3


def test_a_block_that_was_first_built_in_inference_mode_trains_all_the_same(monkeypatch):
    monkeypatch.setattr(prototypes, "_prototypes", {})
    with torch.inference_mode():
        build_backbone("b@4_1-2")
    backbone = build_backbone("b@4_1-2")
    sum(level.sum() for level in backbone(torch.randn(2, 3, 64, 64)).values()).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_copies_do_not_touch_one_another():
    one, other = instance(stem_spec("deep"), 8), instance(stem_spec("deep"), 8)
    one.half().requires_grad_(requires_grad=False).eval()
    one.conv1.register_forward_hook(lambda module, inputs, output: output)
    one.conv1.register_buffer("extra", torch.zeros(1))
    del one.relu2
    for untouched in (other, instance(stem_spec("deep"), 8)):
        assert {parameter.dtype for parameter in untouched.parameters()} == {torch.float32}
        assert all(parameter.requires_grad for parameter in untouched.parameters())
        assert untouched.training
        assert untouched.conv1.training
        assert not untouched.conv1._forward_hooks
        assert "extra" not in untouched.conv1._buffers
        assert hasattr(untouched, "relu2")


def test_a_copy_keeps_what_is_shared_within_it(tangled):
    copied = copy_on_meta(tangled)
    reference = copy.deepcopy(tangled)
    assert copied.one is copied.again is copied.order[1]
    assert copied.order[0] is copied.other
    assert copied.other.weight is copied.one.weight
    assert copied.one.weight is not tangled.one.weight
    assert copied.options == tangled.options
    assert copied.options is not tangled.options
    assert copied.missing is copied.nothing is None
    assert vars(copied).keys() == vars(reference).keys()
    assert copied.state_dict().keys() == reference.state_dict().keys()
    assert len(copied.one._forward_hooks) == 1
    assert isinstance(copied.one.weight, nn.Parameter)


class OddStem(ConvolutionalStem):
    """Describes or builds what it is told to."""

    def layers(self, base):
        return self.summary if self.name == "described" else super().layers(base)

    def build(self, base):
        return self.summary if self.name == "built" else super().build(base)


@pytest.mark.parametrize("answer", [None, "abc", (3,), 7])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("described", "'described' describes itself by .* at sizes 8: it must be a tuple of ConvLayer"),
        ("built", "no module"),
    ],
)
def test_a_stem_of_a_plugin_is_held_to_its_contract(monkeypatch, name, answer, message):
    monkeypatch.setitem(registry("stems").items, name, OddStem(name, answer, (5, 3), pools=False))
    architecture = Architecture.parse(f"b@8+{name}_1-1")
    with pytest.raises(PluginError, match=message):
        build_backbone(architecture)
    if name == "described":
        with pytest.raises(PluginError, match=message):
            backbone_cost(architecture, 64, 64)


def test_a_block_of_a_plugin_that_describes_nothing_is_named(monkeypatch):
    class Nothing(ResidualSpec):
        def layers(self, in_channels, planes, stride):
            return None

    monkeypatch.setitem(registry("blocks").items, "nothing", Nothing("nothing", "", 2, bottleneck=True))
    with pytest.raises(PluginError, match="'nothing' describes itself by None at sizes 8, 8, 1"):
        backbone_cost(Architecture.parse("nothing@8_1-1"), 64, 64)


def test_modules_in_a_tuple_are_the_copys_own(tangled):
    tangled.pair = (tangled.one, (1, 2), (tangled.other,))
    copied = copy_on_meta(tangled)
    assert copied.pair[0] is copied.one
    assert copied.pair[2][0] is copied.other
    assert copied.pair[1] == (1, 2)
