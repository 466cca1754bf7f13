"""Inverted bottlenecks, RegNet's blocks and dilated bottlenecks: names, layers, costs, reach, and what they inherit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.networks import images, trained_looking
from torch.utils.flop_counter import FlopCounterMode

from spnas_core import Architecture, backbone_cost, materialise
from spnas_core.blocks import BlockFamily, ConvLayer, ResidualBlock, block_families, block_spec, block_specs
from spnas_core.errors import CodeError
from spnas_core.inheritance import output_change
from spnas_core.inheritance.channels import ChannelMaps, norm_scales
from spnas_core.inheritance.plan import plan_inheritance, tensor_shapes
from spnas_core.morphisms import AddStage, Expand, Narrow, Swap, Widen
from spnas_core.networks import block_placements
from spnas_core.testing import architectures

CHANNELS = st.integers(1, 80)


@pytest.mark.parametrize("expansion", [1, 3, 6])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("gate", ["", "s"])
def test_inverted_bottlenecks_of_all_sizes_have_names(expansion, kernel, gate):
    name = f"m{expansion}k{kernel}{gate}"
    spec = block_spec(name)
    assert spec.name == name
    assert spec is block_spec(name), "a type is made once"
    assert f"expansion {expansion}, depthwise {kernel}x{kernel}" in spec.summary
    architecture = Architecture.parse(f"{name}@8_1-2")
    assert Architecture.parse(str(architecture)) == architecture


@given(st.integers(1, 300), st.booleans())
def test_groups_of_any_width_have_names(width, squeezes):
    name = f"g{width}{'s' * squeezes}"
    assert block_spec(name).name == name
    assert str(Architecture.parse(f"{name}@{2 * width}_1")).startswith(name)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("m2k3_1", "'m2k3' is an inverted bottleneck of expansion 2 and kernel 3: expansions are 1, 3 and 6"),
        ("m6k4s_1", "of expansion 6 and kernel 4: expansions are 1, 3 and 6, kernels 3, 5 and 7"),
        ("m6_1", "no block type is called 'm6'"),
        ("g0_1", "no block type is called 'g0'"),
        ("g08_1", "no block type is called 'g08'"),
        ("g12_1", "g12@64 has no whole number of groups of 12 channels: the base must be a multiple of 12"),
        ("q_1", r"no block type is called 'q'; known: b, d, g<width>\[s\], m<e>k<k>\[s\], r, x32x4d"),
    ],
)
def test_what_is_no_block_type_is_refused(code, message):
    with pytest.raises(CodeError, match=message):
        Architecture.parse(code)


def test_families_stand_beside_types_of_one_name():
    assert not set(block_specs()) & set(block_families())
    assert {"b", "r", "d"} < set(block_specs())
    for family in block_families().values():
        assert isinstance(family, BlockFamily)
        assert [block_spec(name).name for name in family.examples] == list(family.examples)


@given(CHANNELS, CHANNELS, st.sampled_from([1, 3, 6]), st.sampled_from([3, 5, 7]), st.booleans(), st.integers(1, 2))
def test_an_inverted_bottleneck_has_the_parameters_of_its_row(inputs, outputs, ratio, kernel, squeezes, stride):
    """Tan et al., MnasNet: the row's arithmetic, with a norm behind every convolution on the way."""
    middle, squeezed = ratio * inputs, max(1, round(0.25 * inputs))
    expected = kernel**2 * middle + 2 * middle + middle * outputs + 2 * outputs
    if ratio != 1:
        expected += inputs * middle + 2 * middle
    if squeezes:
        expected += 2 * middle * squeezed + squeezed + middle
    with torch.device("meta"):
        block = block_spec(f"m{ratio}k{kernel}{'s' * squeezes}").build(inputs, outputs, stride)
    assert sum(parameter.numel() for parameter in block.parameters()) == expected


def test_a_gate_squeezes_to_a_quarter_of_what_enters_and_never_of_the_middle():
    for name, middle in (("m6k3s", 240), ("m1k3s", 40), ("g8s", 80)):
        squeeze, excite = (layer for layer in block_spec(name).layers(40, 80, 1) if layer.is_pooled)
        assert (squeeze.in_channels, squeeze.out_channels, excite.out_channels) == (middle, 10, middle)
        assert squeeze.norm is None
        assert squeeze.has_bias


@torch.no_grad()
@pytest.mark.parametrize("name", ["m1k3", "m3k5s", "m6k7", "g8", "g4s", "d"])
@pytest.mark.parametrize("stride", [1, 2])
def test_costs_of_a_block_are_those_of_its_modules(name, stride):
    spec = block_spec(name)
    with torch.device("meta"):
        block = spec.build(24, 32, stride)
    with FlopCounterMode(display=False) as counter:
        found = block(torch.empty(1, 24, 15, 10, device="meta"))
    assert tuple(found.shape[1:]) == (spec.out_channels(32), -(-15 // stride), -(-10 // stride))
    code = f"{name}@24_{'1-1' if stride == 2 else '11'}"
    whole, less = (
        backbone_cost(Architecture.parse(code), 60, 40),
        backbone_cost(Architecture.parse(f"{name}@24_1"), 60, 40),
    )
    with torch.device("meta"):
        inner = spec.build(spec.out_channels(24), 24, stride)
    with FlopCounterMode(display=False) as inner_counter:
        inner(torch.empty(1, spec.out_channels(24), 10, 15, device="meta"))
    assert 2 * (whole.multiply_adds - less.multiply_adds) == inner_counter.get_total_flops()
    assert whole.parameters - less.parameters == sum(parameter.numel() for parameter in inner.parameters())
    assert counter.get_total_flops() > 0


@given(architectures().filter(lambda code: code.block == "r"))
def test_a_dilated_bottleneck_costs_what_a_bottleneck_costs(architecture):
    dilated = Architecture.parse(str(architecture).replace("r", "d", 1))
    assert dilated.block == "d"
    assert backbone_cost(dilated, 97, 60).as_dict() == backbone_cost(architecture, 97, 60).as_dict()


@pytest.mark.parametrize(("name", "reach"), [("r", 1), ("d", 2), ("m3k7", 3), ("g4", 1)])
@pytest.mark.parametrize("blocks", [1, 3])
def test_each_block_reaches_further(name, reach, blocks):
    """By the gradient of one output pixel: so many pixels to each side per block."""
    network = trained_looking(Architecture.parse(f"{name}@8_1{'1' * blocks}"), 0)
    x = torch.rand(1, network.blocks[1:][0].conv1.in_channels, 31, 31, requires_grad=True)
    output = x
    for block in network.blocks[1:]:
        output = block(output)
    output[..., 15, 15].sum().backward()
    touched = x.grad.abs().sum((0, 1)).nonzero()
    assert touched.min(0).values.tolist() == [15 - reach * blocks] * 2
    assert touched.max(0).values.tolist() == [15 + reach * blocks] * 2


@torch.no_grad()
def test_a_gate_reads_the_whole_map():
    network = trained_looking(Architecture.parse("g4s@8_11"), 0)
    network.blocks[1].squeeze.bias.fill_(5)
    x = torch.rand(1, 8, 31, 31)
    other = x.clone()
    other[..., 0, 0] += 10
    assert not torch.equal(network.blocks[1](x)[..., 30, 30], network.blocks[1](other)[..., 30, 30])


def test_shortcuts_are_identities_projections_or_none():
    def shortcuts(code):
        return [block.shortcut for block in block_placements(Architecture.parse(code))]

    assert shortcuts("r@8_11-1-21") == ["projection", "identity", "projection", "projection", "identity"]
    assert shortcuts("m6k3@8_11-1-21") == ["identity", "identity", "none", "none", "identity"]
    for code in ("r@8_11-1-21", "m6k3@8_11-1-21", "g8s@8_2-1-21"):
        network = trained_looking(Architecture.parse(code), 0)
        assert [block.has_shortcut for block in network.blocks] == [one != "none" for one in shortcuts(code)]


@torch.no_grad()
@pytest.mark.parametrize("name", ["m6k5s", "m1k3", "g4s", "d"])
@pytest.mark.parametrize("stage", [0, 1])
def test_an_inserted_block_changes_no_output(name, stage):
    rewrite = Expand().insert(Architecture.parse(f"{name}@8+deep_11-21"), stage, 1)
    parent = trained_looking(rewrite.parent, 3)
    child, _ = materialise(rewrite, parent.state_dict())
    assert max(output_change(parent, child.eval(), images(3)).values()) <= 1e-5


@torch.no_grad()
@pytest.mark.parametrize("code", ["g4s@8+deep_11-12", "g8@8+deep_1-11", "m6k3s@12+deep_11-12", "m1k3s@8+deep_1-111"])
def test_widening_copies_whole_groups_and_gates(code):
    options = [one for one in Widen().options(Architecture.parse(code)) if one.promise is not None]
    assert options
    for rewrite in options:
        parent = trained_looking(rewrite.parent, 5)
        scales = norm_scales(parent.state_dict())
        child, receipt = materialise(rewrite, parent.state_dict(), seed=7)
        maps = ChannelMaps(rewrite, 7, scales)
        assert max(output_change(parent, child.eval(), images(5), maps).values()) <= 1e-5
        assert receipt.new <= sum(p.numel() for name, p in child.named_parameters() if "projection" in name)


def test_a_group_stays_whole_and_in_order():
    rewrite = Widen().double(Architecture.parse("g4@8_1-111"), 2)
    maps = ChannelMaps(rewrite, 1)
    outputs = maps.block_route(2, 2, "conv1.weight").outputs
    assert outputs.count == 8
    groups = outputs.indices.reshape(4, 4)
    assert sorted(group[0] // 4 for group in groups) == [0, 0, 1, 1]
    assert all((group == 4 * (group[0] // 4) + range(4)).all() for group in groups)
    grouped = maps.block_route(2, 2, "conv2.weight")
    assert (grouped.outputs.indices == outputs.indices).all()
    assert grouped.inputs is None


def test_nothing_is_promised_where_a_shortcut_is_lost_or_found():
    code = Architecture.parse("m3k3@8_11-121")
    promises = {one.steps[0].detail: one.promise for one in Widen().options(code)}
    assert promises["block 2 doubles the channels"] is None
    assert promises["block 3 doubles the channels"] == 1e-4
    assert promises["doubling moved from block 4 to 3"] is None
    assert all(one.promise is None for one in (*Swap().options(code), *Narrow().options(code)))


@torch.no_grad()
def test_a_new_block_that_could_pass_nothing_on_starts_as_a_fresh_one():
    (rewrite,) = AddStage().options(Architecture.parse("m3k3@8+deep_1-1"))
    parent = trained_looking(rewrite.parent, 1)
    child, _ = materialise(rewrite, parent.state_dict(), generator=torch.Generator().manual_seed(2))
    features = child.eval()(images(1))
    assert features["s3"].abs().max() > 0
    assert torch.equal(features["s2"], parent(images(1))["s2"])
    plan = plan_inheritance(rewrite, tensor_shapes(child), tensor_shapes(parent))
    assert plan.pass_through_norms == ()
    silent = {fill.target for fill in plan.fills if fill.init.kind == "zeros" and "bias" not in fill.target}
    assert not {name for name in silent if name.endswith("weight")}


@torch.no_grad()
@settings(max_examples=20)
@given(st.integers(0, 2**31 - 1), st.sampled_from(["g4s@16+deep_11-211", "m6k3s@8+deep_1-211-1"]))
def test_narrowing_keeps_the_groups_and_channels_of_the_largest_scale(seed, code):
    options = Narrow().options(Architecture.parse(code))
    rewrite = options[seed % len(options)]
    parent = trained_looking(rewrite.parent, seed)
    child, receipt = materialise(rewrite, parent.state_dict(), seed=seed)
    assert receipt.new == 0 or "projection" in str([name for name, _ in child.named_parameters()])
    for level in child.eval()(images(seed)).values():
        assert torch.isfinite(level).all()
    for old, new in zip(parent.blocks, child.blocks, strict=True):
        if old.bn1.weight.numel() > new.bn1.weight.numel():
            width = 4 if code.startswith("g") else 1
            sums = old.bn1.weight.abs().reshape(-1, width).sum(1)
            kept = sums.topk(new.bn1.weight.numel() // width).values.sum()
            assert torch.isclose(new.bn1.weight.abs().sum(), kept)


def test_layers_say_dilation_bias_norm_and_pooling():
    plain = ConvLayer("conv1", 8, 8, 3, 2, dilation=2)
    assert (plain.padding, plain.norm, [plain.out_size(size) for size in (1, 7, 8)]) == (2, "bn1", [1, 4, 4])
    pooled = ConvLayer("squeeze", 8, 2, 1, has_norm=False, has_bias=True, is_pooled=True)
    assert (pooled.module, pooled.norm, pooled.out_size(50)) == ("squeeze", None, 1)
    block = ResidualBlock((ConvLayer("conv1", 8, 8, 3, dilation=3),))
    assert block.conv1.dilation == (3, 3)
    assert block.conv1.padding == (3, 3)
