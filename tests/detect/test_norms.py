import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from spnas_core import Architecture
from spnas_core.morphisms import identity
from spnas_detect.detectors import DetectorSettings, build_detector
from spnas_detect.training.norms import MOST_GROUPS, FrozenNorm, SyncNorm, convert_norms, group_count


def network():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Sequential(nn.ReLU(), nn.BatchNorm2d(8)))
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.startswith(("1.", "2.1.")) and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return module


IMAGES = torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(1))


def test_frozen_norms_train_nothing_and_compute_what_batch_norm_evaluates_to():
    module = network()
    expected = copy.deepcopy(module).eval()(IMAGES)
    frozen = convert_norms(module, "frozen").train()
    before = {name: tensor.clone() for name, tensor in frozen.state_dict().items()}
    assert torch.equal(frozen(IMAGES), expected)
    assert all(torch.equal(before[name], tensor) for name, tensor in frozen.state_dict().items())
    trained = [name for name, parameter in frozen.named_parameters() if parameter.requires_grad]
    assert trained == ["0.weight", "0.bias"]
    assert [type(norm) for norm in (frozen[1], frozen[2][1])] == [FrozenNorm, FrozenNorm]


@pytest.mark.parametrize("norm", ["frozen", "sync", "group"])
def test_conversion_keeps_the_very_tensors_under_their_names(norm):
    module = network()
    before = dict(module.named_parameters()) | dict(module.named_buffers())
    convert_norms(module, norm)
    after = dict(module.named_parameters()) | dict(module.named_buffers())
    gone = {
        name for name in before if name.rpartition(".")[2] in {"running_mean", "running_var", "num_batches_tracked"}
    }
    assert after.keys() == (before.keys() - gone if norm == "group" else before.keys())
    assert all(after[name] is before[name] for name in after)


def test_a_lone_process_synchronises_with_itself_to_batch_norm():
    plain, sync = network().train(), convert_norms(network(), "sync").train()
    inputs = [IMAGES.clone().requires_grad_() for _ in range(2)]
    outputs = [module(x) for module, x in zip((plain, sync), inputs, strict=True)]
    torch.testing.assert_close(outputs[0], outputs[1])
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(sync.state_dict()[name], tensor)
    assert isinstance(sync[1], SyncNorm)
    torch.testing.assert_close(sync.eval()(IMAGES), plain.eval()(IMAGES))


@given(st.integers(1, 600))
def test_groups_divide_the_channels_and_are_never_of_one_channel_where_two_fit(channels):
    groups = group_count(channels)
    assert 1 <= groups <= MOST_GROUPS
    assert channels % groups == 0
    assert groups == 1 or channels // groups >= 2
    assert channels % 64 or groups == MOST_GROUPS


def test_weights_of_every_norm_inherit_to_every_norm():
    architecture = Architecture.parse("b@8_1-2")

    def build(norm, parent):
        generator = torch.Generator().manual_seed(0 if parent else 1)
        detector, _, receipt = build_detector(
            identity(architecture), 2, DetectorSettings(), parent, generator=generator
        )
        return convert_norms(detector, norm), receipt

    for before in ("batch", "group"):
        parent = build(before, {})[0].state_dict()
        for after in ("batch", "sync", "group", "frozen"):
            child, receipt = build(after, parent)
            assert receipt.inherited_percent == 100
            shared = [name for name in child.state_dict() if name in parent]
            assert all(torch.equal(child.state_dict()[name], parent[name]) for name in shared)
            statistics = [name for name in child.state_dict() if name.endswith("running_var")]
            assert bool(statistics) == (after != "group")
            if before == "group":
                assert all(bool((child.state_dict()[name] == 1).all()) for name in statistics)
