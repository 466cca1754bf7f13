"""What every registered neck keeps, and what a child takes over from its parent's."""

from collections import OrderedDict
from itertools import permutations
from pathlib import Path

import pytest
import torch
from same_detections import assert_same_detections
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from spnas_core import Architecture
from spnas_core.errors import ConfigError
from spnas_core.morphisms import AddStage, Expand, Rewrite, Swap, identity
from spnas_core.networks import Backbone, FeatureInfo
from spnas_core.networks.features import StageInfo
from spnas_core.plugins import registry
from spnas_detect.detectors import DetectorSettings, build_detector
from spnas_detect.necks import BiFPN, neck_factory
from spnas_detect.necks import bifpn as bifpn_module
from spnas_detect.necks import nas_fpn as nas_fpn_module

NECKS = sorted(registry("necks").items)
STACKED = ["bifpn", "nas-fpn", "merge"]
PAIRS = [pair for pair in permutations(NECKS, 2) if set(pair) != {"nas-fpn", "merge"}]  # the same one, by two names
LATERALS = {
    "fpn": "inner_blocks.{}.0.weight",
    "pafpn": "pyramid.inner_blocks.{}.0.weight",
    "bifpn": "laterals.{}.conv.weight",
    "nas-fpn": "entries.{}.conv.weight",
    "hrfpn": "gathering.{}.conv.weight",
    "dpc": "levels.inner_blocks.{}.0.weight",
}
START = Architecture.parse("b@4_11-21-21")


def pyramid(levels, height=45, width=31):
    info = FeatureInfo([StageInfo(f"s{i}", 3 + i, 4 * 2**i) for i in range(1, levels + 1)])
    features = OrderedDict(
        (stage.name, torch.randn(2, stage.channels, -(-height // 2**i), -(-width // 2**i)))
        for i, stage in enumerate(info.stages)
    )
    return info, features


def build(neck, rewrite=None, parent=None, seed=1, **sizes):
    """A detector with a neck, its plan and its receipt."""
    settings = DetectorSettings(neck=neck, **({"neck_channels": 8, "head_channels": 16} | sizes))
    generator = torch.Generator().manual_seed(seed)
    return build_detector(rewrite or identity(START), 3, settings, parent or {}, generator=generator)


def trained(neck, code=START, **sizes):
    """A detector whose every tensor is random, norms and fusion weights included, as after a training."""
    detector, _, _ = build(neck, identity(code), **sizes)
    torch.manual_seed(0)
    for name, tensor in detector.state_dict().items():
        if tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5) if name.endswith(("weight", "var", "fusion")) else tensor.normal_(0, 0.2)
    return detector


def option(morphism, detail) -> Rewrite:
    return next(o for o in morphism.options(START) if detail in str(o.steps[0]))


def neck_tensors(detector):
    return {name: tensor.clone() for name, tensor in detector.neck.state_dict().items()}


@pytest.mark.parametrize("levels", range(1, 8))
@pytest.mark.parametrize("name", NECKS)
def test_levels_keep_names_order_and_odd_sizes(name, levels):
    info, features = pyramid(levels, *((45, 31) if levels < 6 else (90, 67)))
    neck = neck_factory(name)(info, 8)
    outputs = neck(features)
    assert neck.out_channels == 8
    assert list(outputs) == info.names()
    for key, feature in features.items():
        assert outputs[key].shape == (2, 8, *feature.shape[2:])


@pytest.mark.parametrize("name", NECKS)
def test_levels_fit_features_whose_sizes_do_not_halve(name):
    info, _ = pyramid(4)
    sizes = [(13, 40), (6, 21), (4, 9), (1, 3)]
    features = OrderedDict(
        (stage.name, torch.randn(2, stage.channels, *size)) for stage, size in zip(info.stages, sizes, strict=True)
    )
    outputs = neck_factory(name)(info, 8)(features)
    assert [output.shape[2:] for output in outputs.values()] == sizes


@pytest.mark.parametrize("name", NECKS)
def test_the_features_stay_as_they_are(name):
    info, features = pyramid(4)
    before = {key: feature.clone() for key, feature in features.items()}
    neck_factory(name)(info, 8)(features)
    assert list(features) == info.names()
    assert all(torch.equal(features[key], before[key]) for key in before)


@pytest.mark.parametrize("name", NECKS)
def test_a_neck_is_built_and_traced_on_the_meta_device(name):
    info, features = pyramid(5)
    with torch.device("meta"):
        neck = neck_factory(name)(info, 8)
    assert all(tensor.is_meta for tensor in neck.state_dict().values())
    outputs = neck(OrderedDict((key, feature.to("meta")) for key, feature in features.items()))
    assert [output.shape[2:] for output in outputs.values()] == [feature.shape[2:] for feature in features.values()]


@pytest.mark.parametrize("name", NECKS)
def test_first_values_let_every_level_through(name):
    detector, _, _ = build(name, identity(Architecture.parse("b@8_1-1-1-1-1")))
    for key, tensor in detector.neck.state_dict().items():
        assert torch.isfinite(tensor).all(), key
    for key, module in detector.neck.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert [float(value[0].detach()) for value in module.state_dict().values() if value.ndim] == [1, 0, 0, 1], (
                key
            )
    levels = detector.eval().neck(detector.backbone(torch.randn(2, 3, 128, 96)))
    assert all(0.05 < level.std() < 20 for level in levels.values())


@pytest.mark.parametrize("name", NECKS)
def test_every_parameter_and_every_feature_gets_a_gradient(name):
    info, features = pyramid(5)
    torch.manual_seed(0)
    neck = neck_factory(name)(info, 8)
    for feature in features.values():
        feature.requires_grad_()
    sum((level * torch.randn_like(level)).sum() for level in neck(features).values()).backward()
    for key, tensor in [*neck.named_parameters(), *features.items()]:
        assert tensor.grad is not None, key
        assert torch.isfinite(tensor.grad).all(), key
        assert tensor.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", LATERALS)
def test_every_level_hears_of_every_feature_but_finer_ones_where_there_is_no_way_up(name):
    """One cell of NAS-FPN keeps P5 and P7 from the finest levels; two reach everything."""
    info, features = pyramid(5)
    neck = neck_factory(name)(info, 8, 2 if name in STACKED else None).eval()
    for feature in features.values():
        feature.requires_grad_()
    for out, level in enumerate(neck(features).values()):
        gradients = torch.autograd.grad(
            level.square().sum(), [*features.values()], retain_graph=True, allow_unused=True
        )
        heard = [gradient is not None and bool(gradient.any()) for gradient in gradients]
        assert heard == [name not in {"fpn", "dpc"} or source >= out for source in range(5)]


@pytest.mark.parametrize("name", NECKS)
def test_compile_takes_the_whole_neck(name):
    info, features = pyramid(3)
    neck = neck_factory(name)(info, 8)
    twin = neck_factory(name)(info, 8)
    twin.load_state_dict(neck.state_dict())
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
    levels = compiled(features)
    for ours, theirs in zip(levels.values(), neck(features).values(), strict=True):
        torch.testing.assert_close(ours, theirs)
    sum(level.square().sum() for level in levels.values()).backward()
    assert all(parameter.grad is not None for parameter in twin.parameters())


@pytest.mark.parametrize("name", NECKS)
def test_channels_last_stays_and_changes_nothing(name):
    info, features = pyramid(4)
    neck = neck_factory(name)(info, 8).eval()
    expected = neck(features)
    neck.to(memory_format=torch.channels_last)
    outputs = neck(
        OrderedDict((key, value.contiguous(memory_format=torch.channels_last)) for key, value in features.items())
    )
    for key, output in outputs.items():
        torch.testing.assert_close(output, expected[key], atol=1e-5, rtol=1e-5)
        assert output.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", NECKS)
def test_bfloat16_autocast_stays_near_single_precision(name):
    info, features = pyramid(4)
    torch.manual_seed(0)
    neck = neck_factory(name)(info, 8).eval()
    expected = neck(features)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = neck(features)
    for key, output in outputs.items():
        assert output.dtype == torch.bfloat16
        assert (output.float() - expected[key]).norm() < 0.05 * expected[key].norm()


@pytest.mark.parametrize("name", NECKS)
def test_an_identity_child_has_its_parents_neck(name):
    parent = trained(name)
    child, plan, _ = build(name, identity(START), parent.state_dict())
    assert not plan.fills
    ours, theirs = neck_tensors(child), neck_tensors(parent)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("name", NECKS)
def test_expand_keeps_levels_and_detections(name):
    parent = trained(name).eval()
    images = torch.randn(2, 3, 101, 75)
    for rewrite in Expand().options(START)[::2]:
        child = build(name, rewrite, parent.state_dict())[0].eval()
        with torch.no_grad():
            before, after = (detector.neck(detector.backbone(images)) for detector in (parent, child))
            found, refound = (detector.detect(images) for detector in (parent, child))
        for level in before:
            torch.testing.assert_close(after[level], before[level], atol=1e-5, rtol=1e-5)
        compared = assert_same_detections(refound.images(), found.images(), parent.settings, rtol_scores=1e-5)
        assert compared.shared > 50


@pytest.mark.parametrize("stages", range(1, 6))
@pytest.mark.parametrize("name", LATERALS)
def test_an_added_stage_leaves_the_other_levels_their_tensors(name, stages):
    code = Architecture.parse("b@4_" + "-".join(["1"] * stages))
    parent = trained(name, code)
    rewrite = AddStage().options(code)[0]
    child, plan, receipt = build(name, rewrite, parent.state_dict())
    old, new = neck_tensors(parent), neck_tensors(child)
    assert old.keys() < new.keys()
    for key, tensor in old.items():
        # A node of BiFPN that reads one feature more keeps the weights of the others.
        overlap = tuple(slice(side) for side in tensor.shape)
        assert torch.equal(new[key][overlap], tensor), key
        assert tensor.shape == new[key].shape or (key.endswith("fusion") and bool((new[key][len(tensor) :] == 1).all()))
    # The new stage ends in the channels of the last one, so its lateral starts as that one's.
    assert torch.equal(new[LATERALS[name].format(stages)], old[LATERALS[name].format(stages - 1)])
    assert not [dropped for dropped in receipt.dropped if dropped.startswith("neck.")]
    if stages >= 3:  # every kind of tensor is there already, so the added level starts as a copy of its neighbour
        copied = {copy.target for copy in plan.copies}
        assert not {key for key in new if f"neck.{key}" not in copied}


@pytest.mark.parametrize("name", NECKS)
def test_a_removed_stage_leaves_the_other_levels_their_tensors(name):
    parent = trained(name)
    smaller = Architecture.parse("b@4_11-21")
    child, _, _ = build(name, Rewrite(START, smaller, (0, 1, 2, 3)), parent.state_dict())
    old, new = neck_tensors(parent), neck_tensors(child)
    assert new.keys() < old.keys()
    for key, tensor in new.items():
        assert torch.equal(tensor, old[key][tuple(slice(side) for side in tensor.shape)]), key


@pytest.mark.parametrize("name", LATERALS)
@pytest.mark.parametrize(
    ("detail", "sources"), [("1|2 moved right by 1", (1, 1, 2)), ("2|3 moved right by 1", (0, 2, 2))]
)
def test_swap_moves_laterals_with_their_features_and_nothing_else(name, detail, sources):
    parent = trained(name)
    child, _, _ = build(name, option(Swap(), detail), parent.state_dict())
    old, new = neck_tensors(parent), neck_tensors(child)
    for level, source in enumerate(sources):
        lateral = LATERALS[name]
        assert torch.equal(new[lateral.format(level)], old[lateral.format(source)])
    prefix = LATERALS[name].split("{")[0]
    for key in old.keys() - {key for key in old if key.startswith(prefix)}:
        assert torch.equal(new[key], old[key]), key


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_another_neck_than_the_parents_starts_anew(before, after):
    parent = trained(before)
    rewrite = option(Swap(), "1|2 moved right by 1")
    child, plan, _ = build(after, rewrite, parent.state_dict())
    fresh, _, _ = build(after, rewrite)
    assert not [copy for copy in plan.copies if copy.target.startswith("neck.")]
    assert {f"neck.{name}" for name in neck_tensors(parent)} <= set(plan.dropped)
    assert neck_tensors(child).keys() == neck_tensors(fresh).keys()
    assert all(torch.isfinite(tensor).all() for tensor in neck_tensors(child).values())
    # The heads read levels of equal channels from any neck.
    for name, tensor in parent.state_dict().items():
        if not name.startswith(("neck.", "backbone.")):
            assert torch.equal(child.state_dict()[name], tensor), name


@pytest.mark.parametrize("name", STACKED)
def test_more_cells_than_the_parents_keep_the_first_ones(name):
    parent = trained(name, neck_repeats=2)
    child, _, _ = build(name, identity(START), parent.state_dict(), neck_repeats=3)
    old, new = neck_tensors(parent), neck_tensors(child)
    assert old.keys() < new.keys()
    assert all(torch.equal(new[key], tensor) for key, tensor in old.items())
    assert all(key.split(".")[1] == "2" for key in new.keys() - old.keys())


@pytest.mark.parametrize("name", LATERALS)
def test_other_channels_take_over_the_overlapping_part(name):
    parent = trained(name)
    child, _, receipt = build(name, identity(START), parent.state_dict(), neck_channels=12)
    lateral = LATERALS[name].format(1)
    assert torch.equal(neck_tensors(child)[lateral][:8], neck_tensors(parent)[lateral])
    assert receipt.expanded > 0
    levels = child.eval().neck(child.backbone(torch.randn(1, 3, 64, 64)))
    assert all(level.shape[1] == 12 and torch.isfinite(level).all() for level in levels.values())


@pytest.mark.parametrize("name", STACKED)
@pytest.mark.parametrize("repeats", [1, 4])
def test_repeats_stack_cells(name, repeats):
    detector, _, _ = build(name, neck_repeats=repeats)
    one, _, _ = build(name, neck_repeats=1)
    cells = [
        sum(p.numel() for key, p in d.neck.named_parameters() if key.startswith(("cells.", "stack.")))
        for d in (detector, one)
    ]
    assert cells[0] == repeats * cells[1] > 0


@pytest.mark.parametrize("name", ["fpn", "pafpn", "hrfpn", "dpc"])
def test_a_neck_that_does_not_stack_says_so(name):
    assert neck_tensors(build(name, neck_repeats=1)[0]).keys() == neck_tensors(build(name)[0]).keys()
    with pytest.raises(ConfigError, match=f"neck '{name}' is not stacked, and neck_repeats is 3: leave it out"):
        build(name, neck_repeats=3)


def test_hrnets_neck_has_the_published_number_of_parameters():
    """Of HRNet-W18 at 256 channels, where a fifth level has a 3×3 convolution, too: 3,019,776."""
    info = FeatureInfo([StageInfo(f"s{i + 1}", 18 * 2**i, 4 * 2**i) for i in range(4)])
    with torch.device("meta"):
        neck = neck_factory("hrfpn")(info, 256)
    assert sum(parameter.numel() for parameter in neck.parameters()) + 9 * 256**2 + 256 == 3_019_776


def test_repeats_follow_the_channels_as_published():
    published = {64: 3, 88: 4, 112: 5, 160: 6, 224: 7, 384: 8}  # EfficientDet D0–D4 and D6
    assert {channels: bifpn_module.published_repeats(channels) for channels in published} == published
    assert [bifpn_module.published_repeats(channels) for channels in (1, 40, 48, 4096)] == [1, 1, 2, 8]
    assert [nas_fpn_module.published_repeats(channels) for channels in (48, 256, 384)] == [3, 7, 7]
    assert [nas_fpn_module.published_repeats(channels) for channels in (1, 16, 32)] == [1, 1, 2]
    info, _ = pyramid(3)
    assert [len(BiFPN(info, channels).cells) for channels in (32, 64)] == [1, 3]


def test_norms_are_plain_batch_norms_with_the_papers_numbers():
    info, _ = pyramid(3)
    for name in STACKED:
        norms = [m for m in neck_factory(name)(info, 8).modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
        assert norms
        expected = (1e-3, 0.01) if name == "bifpn" else (1e-5, 0.1)
        assert {(type(norm), norm.eps, norm.momentum) for norm in norms} == {(nn.BatchNorm2d, *expected)}


def test_the_costs_in_the_documentation_are_those_of_the_necks():
    text = (Path(__file__).parents[2] / "docs" / "necks.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line[-3:] in {"M |", "G |"}
    ]
    assert [row[3] for row in rows] == 2 * ["fpn", "pafpn", "bifpn", "nas-fpn", "hrfpn"]
    for code, size, channels, name, cells, parameters, multiply_adds in rows:
        if code:
            backbone = Backbone(Architecture.parse(code))
            width, height = map(int, size.split("×"))
            features = backbone(torch.empty(1, 3, height, width, device="meta"))
            out_channels = int(channels)
        with torch.device("meta"):
            neck = neck_factory(name)(backbone.feature_info, out_channels)
        with FlopCounterMode(display=False) as counter:
            neck(features)
        assert len(getattr(neck, {"bifpn": "cells", "nas-fpn": "stack"}.get(name, ""), [])) == int(cells or 0)
        assert f"{sum(parameter.numel() for parameter in neck.parameters()):,}" == parameters
        unit = {"M": 1e6, "G": 1e9}[multiply_adds[-1]]
        assert f"{counter.get_total_flops() / 2 / unit:.1f}" == multiply_adds[:-2]
