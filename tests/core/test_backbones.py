"""Networks that are no codes: their names, their levels at every size, and what they cost."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from spnas_core import Architecture, hookimpl
from spnas_core.backbones import (
    BackboneProvider,
    FixedNetwork,
    Unchanged,
    blank_network,
    fresh_network,
    read_network,
    unchanged,
    without_neck,
)
from spnas_core.backbones.building import fresh_values
from spnas_core.cost import backbone_cost, measure_latency
from spnas_core.errors import CodeError
from spnas_core.inheritance import fill_module, plan_by_name, write_receipt
from spnas_core.inheritance.plan import tensor_shapes
from spnas_core.morphisms import identity
from spnas_core.networks import FeatureInfo, StageInfo, build_backbone
from spnas_core.plugins import plugin_manager, registry

LEVELS = {
    "plain": ([4, 8], [8, 16]),
    "with-stem": ([2, 4, 8, 16], [4, 8, 16, 32]),
    "twice": ([4, 8, 8], [8, 12, 16]),
    "gap": ([4, 16], [8, 16]),
    "coarse": ([16, 16], [8, 8]),
    "fine": ([2], [8]),
}


class Rounding(nn.Module):
    """Levels that are as large as ``floor(H / r)``, with a buffer that no file keeps."""

    def __init__(self, name):
        super().__init__()
        reductions, channels = LEVELS[name]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(3, count, reduction, reduction) for reduction, count in zip(reductions, channels, strict=True)
        )
        self.norm = nn.BatchNorm2d(channels[0])
        self.register_buffer("shift", torch.full((1,), 3.0), persistent=False)
        self.feature_info = SimpleNamespace(channels=lambda: channels, reduction=lambda: reductions)

    def forward(self, images):
        levels = [convolution(images) for convolution in self.convolutions]
        return [self.norm(levels[0]) + self.shift, *levels[1:]]


class Plugin:
    @hookimpl
    def spnas_register_backbones(self, register):
        register("own", BackboneProvider("networks of a test", lambda: tuple(LEVELS), Rounding))
        register(
            "strict",
            BackboneProvider(
                "leaves some out", lambda: ("one",), Rounding, refusal=lambda name: "is flat" if name == "two" else None
            ),
        )
        register("away", BackboneProvider("not there", lambda: ("one",), Rounding, missing=lambda: "pip install it"))


@pytest.fixture(autouse=True)
def provider():
    plugin = Plugin()
    plugin_manager().register(plugin, "test-backbones")
    registry.cache_clear()
    read_network.cache_clear()
    yield
    plugin_manager().unregister(plugin)
    registry.cache_clear()
    read_network.cache_clear()


def test_a_text_is_a_code_or_a_name():
    assert read_network("b@8_1-21") == Architecture.parse("b@8_1-21")
    network = read_network(" own:plain ")
    assert network == FixedNetwork("own", "plain")
    assert str(network) == "own:plain"
    assert network.stage_count == 2
    assert network.feature_info.names() == ["s1", "s2"]
    assert network.feature_info.channels() == [8, 16]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("own:plian", "own has no network 'plian'; did you mean 'plain'"),
        ("strict:two", "^strict:two is flat$"),
        ("strict:on", "strict has no network 'on'; did you mean 'one'"),
        ("own:zzzzzz", "own has no network 'zzzzzz'; spnas backbones 'own:\\*' lists what there is"),
        ("owm:plain", "owm:plain: nobody provides backbones as 'owm'; did you mean 'own'"),
        ("away:one", "away:one needs a library that is not installed: pip install it"),
        ("plain", "'plain' is no architecture code"),
        ("own:plain~", "at character 10, no neck is named behind the ~"),
        ("own:plain~a b", "the neck 'a b' holds blanks or a ~"),
    ],
)
def test_what_nobody_provides_is_refused(text, message):
    with pytest.raises(CodeError, match=message):
        read_network(text)


def test_a_name_may_say_its_neck():
    network = read_network("own:plain~merge:o0@0=in0+in1;o1@1=in1+o0")
    assert network == FixedNetwork("own", "plain", "merge:o0@0=in0+in1;o1@1=in1+o0")
    assert read_network(str(network)) == network
    assert without_neck(network) == read_network("own:plain")
    assert network.feature_info.channels() == [8, 16]


@pytest.mark.parametrize(("name", "have"), [("gap", "4, 16"), ("coarse", "16"), ("fine", "2")])
def test_levels_without_a_pyramid_are_refused(name, have):
    with pytest.raises(CodeError, match=f"own:{name} has features at {have} pixels: a pyramid needs them at 4, 8, …"):
        blank_network(read_network(f"own:{name}"))


class Altered(Rounding):
    """Levels at 4 and 8 pixels, of which the last is as a test has it."""

    def __init__(self, change, *, takes=lambda height, width: True):
        super().__init__("plain")
        self.change, self.takes = change, takes

    def forward(self, images):
        if not self.takes(*images.shape[-2:]):
            raise ValueError("no such canvas")
        first, second = super().forward(images)
        return [first, self.change(second)]


def altered(monkeypatch, change=lambda level: level, **options):
    source = BackboneProvider("of a test", lambda: ("one",), lambda _: Altered(change, **options))
    monkeypatch.setitem(registry("backbones").items, "own", source)
    return read_network("own:one")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda level: level.movedim(1, -1), "1, 2, 3, 16"),
        (lambda level: level.mT, "1, 16, 3, 2"),
        (lambda level: level[:, :8], "1, 8, 2, 3"),
        (lambda level: level[..., 1:], "1, 16, 2, 2"),
        (lambda level: level.repeat(1, 1, 2, 2), "1, 16, 4, 6"),
    ],
)
def test_levels_that_are_not_as_announced_are_refused(change, found, monkeypatch):
    network = altered(monkeypatch, change)
    expected = (
        rf"own:one cannot be .*: of one of 24x16 pixels it gives features \[{found}\] where it says \[1, 16, 2, 3\]"
    )
    for build in (blank_network, lambda one: fresh_network(one, seed=0)):
        with pytest.raises(CodeError, match=expected):
            build(network)


def test_a_level_that_is_missing_is_refused(monkeypatch):
    network = altered(monkeypatch)
    monkeypatch.setattr(Altered, "forward", lambda self, images: Rounding.forward(self, images)[:1])
    with pytest.raises(CodeError, match="of one of 24x16 pixels it gives 1 levels where it says 2"):
        blank_network(network)


def test_a_network_that_takes_one_canvas_alone_is_refused(monkeypatch):
    network = altered(monkeypatch, takes=lambda height, width: (height, width) == (56, 56))
    with pytest.raises(CodeError, match=r"of one of 24x16 pixels it gives no features \(ValueError: no such canvas\)"):
        blank_network(network)


def test_images_are_padded_to_whole_windows(monkeypatch):
    network = altered(monkeypatch, takes=lambda height, width: height % 56 == width % 56 == 0)
    backbone = fresh_network(network, seed=0).eval()
    images = torch.randn(1, 3, 50, 60, generator=torch.Generator().manual_seed(2))
    whole = torch.zeros(1, 3, 56, 112)
    whole[..., :50, :60] = images
    found = backbone(images)
    assert torch.equal(found["s1"], backbone.trunk(whole)[0][..., :13, :15])
    assert torch.equal(found["s2"], backbone.trunk(whole)[1][..., :7, :8])
    assert backbone_cost(network, 60, 50).activation_bytes == 4 * (8 * 14 * 28 + 16 * 7 * 14)


def test_what_is_built_to_be_looked_at_leaves_torchs_generator_alone(monkeypatch):
    network = altered(monkeypatch)
    before = torch.random.get_rng_state()
    assert network.feature_info.channels() == [8, 16]
    assert torch.equal(before, torch.random.get_rng_state())


def test_no_search_begins_with_a_name():
    with pytest.raises(CodeError, match="'own:plain' is no architecture code: networks by name and compositions can"):
        Architecture.parse("own:plain")


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (33, 97), (100, 132), (7, 40)])
@pytest.mark.parametrize("name", ["plain", "with-stem", "twice"])
def test_levels_have_the_promised_size_and_are_those_of_the_padded_image(name, size):
    network = read_network(f"own:{name}")
    backbone = fresh_network(network, seed=1).eval()
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(2))
    found = backbone(images)
    coarsest = max(LEVELS[name][0])
    whole = torch.zeros(2, 3, *(math.ceil(side / coarsest) * coarsest for side in size))
    whole[..., : size[0], : size[1]] = images
    expected = backbone.trunk(whole)
    for stage in network.feature_info.stages:
        place = max(number for number, reduction in enumerate(LEVELS[name][0]) if reduction == stage.reduction)
        height, width = (math.ceil(side / stage.reduction) for side in size)
        assert found[stage.name].shape == (2, stage.channels, height, width)
        assert torch.equal(found[stage.name], expected[place][..., :height, :width])


def test_levels_of_one_size_are_stages_each_where_they_count(monkeypatch):
    source = BackboneProvider("of a test", lambda: tuple(LEVELS), Rounding, has_equal_levels=True)
    monkeypatch.setitem(registry("backbones").items, "own", source)
    network = read_network("own:twice")
    assert network.feature_info.reduction() == [4, 8, 8]
    assert network.feature_info.channels() == [8, 12, 16]
    assert network.feature_info.nominal_strides() == [4, 8, 16]
    found = fresh_network(network, seed=0)(torch.zeros(1, 3, 33, 20))
    assert [tuple(level.shape[1:]) for level in found.values()] == [(8, 9, 5), (12, 5, 3), (16, 5, 3)]
    with pytest.raises(CodeError, match="a pyramid needs them at 4, 8, …"):
        blank_network(read_network("own:coarse"))


@pytest.mark.parametrize(
    ("reductions", "strides"),
    [
        ([4, 8, 16, 32], [4, 8, 16, 32]),
        ([4, 16, 64], [4, 16, 64]),
        ([4, 8, 16, 16, 16, 32], [4, 8, 16, 32, 64, 128]),
        ([16, 16], [16, 32]),
        ([], []),
    ],
)
def test_sizes_of_boxes_grow_over_levels_of_one_size(reductions, strides):
    info = FeatureInfo([StageInfo(f"s{place}", 1, reduction) for place, reduction in enumerate(reductions)])
    assert info.nominal_strides() == strides


def test_chosen_stages_alone_are_returned():
    backbone = blank_network(read_network("own:with-stem"), ["s2"])
    assert backbone.feature_info.channels() == [16]
    assert list(backbone(torch.empty(1, 3, 32, 32, device="meta"))) == ["s2"]
    with pytest.raises(CodeError, match="own:with-stem has no stage 's7'; known: s1, s2, s3"):
        blank_network(read_network("own:with-stem"), ["s7"])


def test_first_values_are_the_modules_own_and_leave_torchs_generator_alone():
    network = read_network("own:plain")
    before = torch.random.get_rng_state()
    values = fresh_values(network, torch.Generator().manual_seed(3))
    assert torch.equal(before, torch.random.get_rng_state())
    again = fresh_values(network, torch.Generator().manual_seed(3))
    other = fresh_values(network, torch.Generator().manual_seed(4))
    assert all(torch.equal(values[name], again[name]) for name in values)
    assert not torch.equal(values["trunk.convolutions.0.weight"], other["trunk.convolutions.0.weight"])
    bound = 1 / math.sqrt(3 * 4 * 4)  # of torch's own convolutions; He normal values go beyond
    assert values["trunk.convolutions.0.weight"].abs().max() <= bound


def test_what_fits_by_name_is_inherited_and_the_rest_has_its_own_values():
    network = read_network("own:plain")
    parent = {name: torch.full_like(t, 7) for name, t in fresh_network(network, seed=0).state_dict().items()}
    parent["trunk.convolutions.1.weight"] = torch.zeros(2, 2)
    parent["elsewhere"] = torch.zeros(1)
    module = blank_network(network)
    plan = plan_by_name(tensor_shapes(module), {name: tensor.shape for name, tensor in parent.items()})
    own = fresh_values(network, torch.Generator().manual_seed(0))
    fill_module(module, plan, parent, own=own)
    assert (module.trunk.convolutions[0].weight == 7).all()
    assert torch.equal(module.trunk.convolutions[1].weight, own["trunk.convolutions.1.weight"])
    assert module.trunk.shift.item() == 3
    assert set(plan.dropped) == {"trunk.convolutions.1.weight", "elsewhere"}
    receipt = write_receipt(module, plan)
    assert receipt.new == own["trunk.convolutions.1.weight"].numel()
    assert receipt.copied + receipt.new == sum(one.numel() for one in module.parameters())


def test_a_network_that_is_no_code_continues_itself():
    code, network = read_network("b@8_1-21"), read_network("own:plain")
    assert unchanged(code) == identity(code)
    assert unchanged(network) == Unchanged(network)
    assert unchanged(network).parent == unchanged(network).child == network


def test_costs_are_counted_by_hand_and_padding_counts():
    network = read_network("own:plain")
    cost = backbone_cost(network, 64, 32)
    assert cost.parameters == (3 * 16 * 8 + 8) + (3 * 64 * 16 + 16) + 2 * 8
    assert cost.multiply_adds == 3 * 16 * 8 * (16 * 8) + 3 * 64 * 16 * (8 * 4)
    assert cost.activation_bytes == 4 * (8 * 16 * 8 + 16 * 8 * 4)
    (whole,) = cost.stages
    assert (whole.name, whole.channels, whole.width, whole.height) == ("trunk", 16, 8, 4)
    assert backbone_cost(network, 57, 25).multiply_adds == cost.multiply_adds


def test_its_latency_is_measured():
    assert measure_latency(read_network("own:plain"), 32, 32, warmup=1, runs=8).median > 0


def test_a_code_is_built_as_ever():
    code = Architecture.parse("b@8_1-21")
    expected = build_backbone(code, generator=torch.Generator().manual_seed(3)).state_dict()
    found = fresh_network(code, seed=3).state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_what_needs_memory_to_be_built_is_built_with_it_and_what_cannot_be_says_why(monkeypatch):
    def looks(name):
        if float(torch.ones(1)) != 1 or name == "fine":  # a value, which the meta device does not have
            raise KeyError("no such thing")
        return Rounding(name)

    monkeypatch.setitem(registry("backbones").items, "own", BackboneProvider("of a test", lambda: tuple(LEVELS), looks))
    assert blank_network(read_network("own:plain")).feature_info.channels() == [8, 16]
    with pytest.raises(CodeError, match="own:fine gives no features: KeyError: 'no such thing'"):
        blank_network(read_network("own:fine"))
