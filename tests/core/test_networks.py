import math
import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spnas_core import Architecture, Backbone, build_backbone
from spnas_core.errors import CodeError
from spnas_core.morphisms import Swap
from spnas_core.networks import block_placements
from spnas_core.testing import architectures, serial_architectures

NORM = torch.nn.BatchNorm2d


def equal_states(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@torch.no_grad()
@settings(max_examples=30)
@given(serial_architectures(), st.integers(1, 2), st.integers(1, 2))
def test_feature_info_describes_the_features(architecture, wide, high):
    backbone = build_backbone(architecture).eval()
    coarsest = backbone.feature_info.reduction()[-1]
    features = backbone(torch.zeros(2, 3, high * coarsest, wide * coarsest))
    info = backbone.feature_info
    assert info.names() == list(features) == [f"s{number}" for number in range(1, len(architecture.stages) + 1)]
    for stage, level in zip(info.stages, features.values(), strict=True):
        size = (high * coarsest // stage.reduction, wide * coarsest // stage.reduction)
        assert tuple(level.shape) == (2, stage.channels, *size)
    assert info.channels() == [level.shape[1] for level in features.values()]


@torch.no_grad()
@settings(max_examples=20)
@given(serial_architectures(), st.integers(1, 70), st.integers(1, 70))
def test_features_of_odd_sizes_round_up_and_are_not_negative_behind_an_activation(architecture, width, height):
    backbone = build_backbone(architecture).eval()
    features = backbone(torch.randn(1, 3, height, width))
    assert {block.activates for block in backbone.blocks} == {not architecture.block.startswith("m")}
    for number, level in enumerate(features.values(), 2):
        assert level.shape[2:] == (math.ceil(height / 2**number), math.ceil(width / 2**number))
        assert level.min() >= 0 or architecture.block.startswith("m")


@settings(max_examples=40)
@given(architectures().filter(lambda architecture: not architecture.rows))
def test_blocks_stand_in_one_flat_list(architecture):
    backbone = Backbone(architecture)
    names = {".".join(name.split(".")[:2]) for name in backbone.state_dict() if not name.startswith("stem.")}
    assert names == {f"blocks.{index}" for index in range(len(architecture.digits))}


@given(architectures())
def test_placements_chain_channels_and_halve_once_per_stage(architecture):
    placements = block_placements(architecture)
    assert [placement.index for placement in placements] == list(range(len(architecture.digits)))
    assert placements[0].in_channels == architecture.base
    assert all(before.out_channels == after.in_channels for before, after in pairwise(placements))
    assert tuple(p.index for p in placements if p.stride == 2) == architecture.borders
    planes = architecture.base
    for placement, digit in zip(placements, architecture.digits, strict=True):
        planes *= int(digit)
        assert placement.planes == planes


@torch.no_grad()
@settings(max_examples=30)
@given(serial_architectures(), st.data())
def test_chosen_stages_are_the_same_tensors_and_later_blocks_are_not_computed(architecture, data):
    names = [f"s{number}" for number in range(1, len(architecture.stages) + 1)]
    wanted = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    whole = build_backbone(architecture).eval()
    part = build_backbone(architecture, out_stages=wanted).eval()
    part.load_state_dict(whole.state_dict())
    computed = []
    for index, block in enumerate(part.blocks):
        block.register_forward_hook(lambda *_, index=index: computed.append(index))
    images = torch.randn(1, 3, 32, 32)
    everything, features = whole(images), part(images)
    assert list(features) == part.feature_info.names() == sorted(wanted)
    assert all(torch.equal(features[name], everything[name]) for name in wanted)
    last = max(int(name[1:]) for name in wanted)
    assert computed == list(range(sum(map(len, architecture.stages[:last]))))


@pytest.mark.parametrize(
    ("name", "hint"), [("s33", "; did you mean 's3'?"), ("layer", "; known: s1, s2, s3"), ("s", "; did you mean 's")]
)
def test_an_unknown_stage_suggests_the_nearest(name, hint):
    with pytest.raises(CodeError) as caught:
        Backbone(Architecture.parse("b@4_1-1-1"), ["s1", name])
    assert str(caught.value).startswith(f"b@4_1-1-1 has no stage {name!r}{hint}")


@settings(max_examples=50)
@given(architectures().filter(lambda architecture: not architecture.rows), st.integers(0, 2**31))
def test_a_swap_renames_and_reshapes_no_tensor_but_projections(architecture, seed):
    options = Swap().options(architecture)
    if not options:
        return
    before = Backbone(architecture).state_dict()
    after = Backbone(options[seed % len(options)].child).state_dict()
    assert all(".projection." in name for name in before.keys() ^ after.keys())
    assert all(before[name].shape == after[name].shape for name in before.keys() & after.keys())


def test_a_backbone_is_reproduced_by_its_generators_seed_and_by_nothing_else():
    def build(seed: int, code: Architecture | str = "r@8+deep_11-21") -> Backbone:
        return build_backbone(code, generator=torch.Generator().manual_seed(seed))

    one = build(5)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    assert equal_states(one, build(5))
    assert equal_states(one, build(5, Architecture.parse("r@8+deep_11-21")))
    assert torch.equal(before, torch.random.get_rng_state())
    assert not equal_states(one, build(6))


def test_without_a_generator_torchs_global_one_decides():
    torch.manual_seed(3)
    one = build_backbone("b@4_1-1")
    assert not equal_states(one, build_backbone("b@4_1-1"))
    torch.manual_seed(3)
    assert equal_states(one, build_backbone("b@4_1-1"))


@pytest.mark.parametrize("code", ["b@24_11-21", "r@24+deep_1-2", "x32x4d@32_1-2"])
def test_fresh_convolutions_are_he_normal_with_fan_out(code):
    backbone = build_backbone(code, generator=torch.Generator().manual_seed(0))
    everything = []
    for name, module in backbone.named_modules():
        if not isinstance(module, torch.nn.Conv2d):
            continue
        assert module.bias is None
        fan_out = module.out_channels * module.kernel_size[0] ** 2
        standard = module.weight.detach().flatten() / math.sqrt(2 / fan_out)
        everything.append(standard)
        count = standard.numel()
        assert abs(standard.mean()) < 5 / math.sqrt(count), name
        assert abs(standard.std() - 1) < 5 / math.sqrt(2 * count), name
    values = torch.cat(everything)
    # A normal has 4.55 % of its values beyond two standard deviations; a uniform one has none.
    assert (values.abs() > 2).float().mean() == pytest.approx(0.0455, abs=0.004)


@settings(max_examples=20)
@given(serial_architectures())
def test_fresh_norms_have_gamma_one_beta_zero_and_no_history(architecture):
    for name, module in build_backbone(architecture).named_modules():
        if isinstance(module, NORM):
            assert torch.equal(module.weight, torch.ones_like(module.weight)), name
            assert torch.equal(module.bias, torch.zeros_like(module.bias)), name
            assert torch.equal(module.running_mean, torch.zeros_like(module.running_mean)), name
            assert torch.equal(module.running_var, torch.ones_like(module.running_var)), name
            assert module.num_batches_tracked == 0, name


NARROW_PROJECTION = """
import torch
from spnas_core.blocks.layers import Convolution

torch.manual_seed(0)
for channels in (4, 8, 12):
    narrow = Convolution(channels, 2 * channels, 1, stride=2, bias=False).to(memory_format=torch.channels_last)
    plain = torch.nn.Conv2d(channels, 2 * channels, 1, stride=2, bias=False)
    with torch.no_grad():
        narrow.weight.copy_(plain.weight)
    for _ in range(10):
        image = torch.randn(8, channels, 60, 80)
        ours = narrow(image.contiguous(memory_format=torch.channels_last))
        theirs = plain(image)
        gradient = torch.randn_like(theirs)
        pairs = [(ours, theirs)]
        pairs += zip(
            torch.autograd.grad(ours, narrow.parameters(), gradient),
            torch.autograd.grad(theirs, plain.parameters(), gradient),
        )
        for one, other in pairs:
            torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)
        others = [torch.randn(size) for size in range(10, 2000, 37)]  # whose memory would be overwritten
"""


def test_narrow_strided_projections_keep_to_their_memory():
    """In a process of its own: oneDNN's own way ends this one by a signal where the processor has AVX-512."""
    done = subprocess.run([sys.executable, "-c", NARROW_PROJECTION], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
